"""Coloured digits with captions: images whose colour goes with the digit nearly always, and what is said of them.

    python examples/clip/digits.py OUT --data ../shared/data/mnist-test

writes images that examples/clip/train.py has not seen, with their labels, groups and splits. Without --data the digits
are scikit-learn's.
"""

import argparse
import csv
import gzip
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
COLOURS = {"red": (230, 60, 50), "green": (60, 190, 80)}
SHAPES: dict[str, list[str]] = json.loads((Path(__file__).parent / "descriptors.json").read_text())
SIZE = 28


@dataclass(frozen=True)
class Digits:
    """grey [rows, 28, 28] uint8; labels and colours [rows] int64, numbers of DIGITS and of COLOURS."""

    grey: NDArray[np.uint8]
    labels: NDArray[np.int64]
    colours: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """[rows, 28, 28, 3] in their colours."""
        tint = np.array(list(COLOURS.values()), np.float32)[self.colours] / 255
        return (self.grey[..., None] * tint[:, None, None, :]).astype(np.uint8)

    @property
    def groups(self) -> NDArray[np.int64]:
        """[rows] numbers of GROUPS."""
        return self.labels * len(COLOURS) + self.colours

    @property
    def unusual(self) -> NDArray[np.int64]:
        """[rows] 1 where the colour is not the one that goes with the digit."""
        return (self.colours != usual_colour(self.labels)).astype(np.int64)


GROUPS = tuple(f"{colour} {digit}" for digit in DIGITS for colour in COLOURS)


def usual_colour(labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The colour that goes with a digit: low ones are red, high ones green."""
    return (labels >= len(DIGITS) // 2).astype(np.int64)


def read_mnist(folder: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey images [10000, 28, 28] and their digits, of MNIST's test files."""
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        images = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, SIZE, SIZE)
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        return images, np.frombuffer(file.read(), np.uint8, offset=8).astype(np.int64)


def read_scikit_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Grey images [1797, 28, 28] and their digits: scikit-learn's 8 x 8 scans, enlarged to 20 x 20 as MNIST's are."""
    from PIL import Image
    from sklearn.datasets import load_digits

    small, labels = load_digits(return_X_y=True)
    images = np.zeros((len(small), SIZE, SIZE), np.uint8)
    for image, one in zip(images, small.reshape(-1, 8, 8), strict=True):
        enlarged = Image.fromarray((one * (255 / 16)).astype(np.uint8)).resize((20, 20), Image.Resampling.BICUBIC)
        image[4:24, 4:24] = np.asarray(enlarged)
    return images, labels.astype(np.int64)


def coloured(
    grey: NDArray[np.uint8], labels: NDArray[np.int64], usual: float, generator: np.random.Generator
) -> Digits:
    """Give each image the colour that goes with its digit with probability `usual`, else the other one.

    grey  [rows, 28, 28] uint8
    """
    other = generator.random(len(labels)) >= usual
    colours = np.where(other, 1 - usual_colour(labels), usual_colour(labels))
    return Digits(grey, labels, colours)


def captions(digits: Digits, generator: np.random.Generator) -> list[str]:
    """One caption an image: its digit, its colour, its shape, or several of them."""
    names = list(COLOURS)
    found = []
    for label, colour in zip(digits.labels, digits.colours, strict=True):
        digit, paint = DIGITS[label], names[colour]
        shape = str(generator.choice(SHAPES[digit]))
        forms = (
            f"a photo of a {digit}.", f"a photo of a {paint} {digit}.", f"a {paint} digit.",
            f"{digit}, which {shape}.", f"a digit which {shape}.", f"a {paint} digit which {shape}.",
        )  # fmt: skip
        found.append(forms[generator.integers(len(forms))])
    return found


@dataclass(frozen=True)
class Splits:
    """Digits for training an encoder, and for what is done with its embeddings; no image is in two of them.

    encoder, train  the colour goes with the digit in 95 % of the rows
    val, test       in half of them: there is nothing to gain from colour
    """

    encoder: Digits
    train: Digits
    val: Digits
    test: Digits


def split(grey: NDArray[np.uint8], labels: NDArray[np.int64], seed: int, usual: float = 0.95) -> Splits:
    """50, 25, 10 and 15 % of the images, drawn and coloured by the seed."""
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(grey))
    parts = np.split(order, (len(order) * np.array([50, 75, 85]) // 100).tolist())
    shares = (usual, usual, 0.5, 0.5)
    return Splits(*(coloured(grey[p], labels[p], share, generator) for p, share in zip(parts, shares, strict=True)))


def read(folder: Path | None) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """MNIST's of a folder, scikit-learn's without one."""
    return read_mnist(folder) if folder else read_scikit_digits()


def write(splits: Splits, folder: Path) -> None:
    """PNG files, classes.txt, and labels.csv with the columns name, label, group and split."""
    from PIL import Image

    (folder / "images").mkdir(parents=True)
    (folder / "classes.txt").write_text("\n".join(DIGITS) + "\n")
    with (folder / "labels.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(("name", "label", "group", "split"))
        for name in ("train", "val", "test"):
            part = getattr(splits, name)
            for row, pixels in enumerate(part.pixels):
                stem = f"{name}{row:04d}.png"
                Image.fromarray(pixels).save(folder / "images" / stem)
                table.writerow((stem, DIGITS[part.labels[row]], GROUPS[part.groups[row]], name))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, help="folder of MNIST's test files")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write(split(*read(given.data), given.seed), given.out)
    print(f"{given.out}: images, labels.csv and classes.txt")


if __name__ == "__main__":
    main()
