"""Coloured digits that lie or move, and what is said of them: images, videos of 8 frames, captions and labels.

    python examples/omnivl/moving_digits.py OUT --data ../shared/data/mnist-test

writes pictures, videos and the manifests train.jsonl and test.jsonl for `fmcompress omnivl`. Without --data the digits
are scikit-learn's.
"""

import argparse
import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

sys.path.append(str(Path(__file__).resolve().parents[1] / "clip"))
from digits import DIGITS, read

COLOURS = {
    "red": (240, 50, 50), "green": (50, 190, 70), "blue": (70, 100, 250), "yellow": (230, 220, 50),
    "purple": (160, 60, 200), "orange": (250, 140, 30), "white": (240, 240, 240), "brown": (130, 80, 40),
}  # fmt: skip
DIRECTIONS = {"left": (0, -1), "right": (0, 1), "up": (-1, 0), "down": (1, 0)}
PLACES = ("top", "middle", "bottom"), ("left", "centre", "right")  # of rows and of columns
SIZE, INK, FRAMES = 32, 16, 8  # pixels of a picture and of the digit in it, pictures of a video
ROOM = SIZE - INK
SHARES = (60, 75)  # percent of the digits for training, and for training and choosing options


@dataclass(frozen=True)
class Scenes:
    """Digits and what is to be said of them.

    ink         [rows, 16, 16] uint8
    digits      [rows] int64, as are
    colours     and
    directions  numbers of COLOURS and DIRECTIONS
    places      [rows, 2] int64 numbers of PLACES; those of a video across its way
    """

    ink: NDArray[np.uint8]
    digits: NDArray[np.int64]
    colours: NDArray[np.int64]
    directions: NDArray[np.int64]
    places: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.digits)

    def take(self, rows: NDArray[np.int64]) -> "Scenes":
        """Some of the rows."""
        return Scenes(*(getattr(self, name)[rows] for name in self.__dataclass_fields__))

    @property
    def vertical(self) -> NDArray[np.bool_]:
        """[rows] whether the way of a video is."""
        return np.array([steps[0] != 0 for steps in DIRECTIONS.values()])[self.directions]

    def images(self, generator: np.random.Generator) -> NDArray[np.uint8]:
        """[rows, 32, 32, 3]: each digit at its place, but for a pixel."""
        return self._drawn(self._corners(generator)[:, None])[:, 0]

    def videos(self, generator: np.random.Generator) -> NDArray[np.uint8]:
        """[rows, 8, 32, 32, 3]: each digit moves in its direction by 8 to 16 pixels."""
        steps = np.array(list(DIRECTIONS.values()))[self.directions]  # [rows, 2]
        length = generator.integers(ROOM // 2, ROOM + 1, len(self))
        begin = generator.integers(0, ROOM - length + 1)
        way = begin[:, None] + np.rint(np.linspace(0, 1, FRAMES)[None] * length[:, None]).astype(np.int64)
        along = np.where(steps.sum(axis=1)[:, None] > 0, way, ROOM - way)  # [rows, frames]
        corners = np.repeat(self._corners(generator)[:, None], FRAMES, axis=1)
        corners[np.arange(len(self)), :, np.where(self.vertical, 0, 1)] = along
        return self._drawn(corners)

    def _corners(self, generator: np.random.Generator) -> NDArray[np.int64]:
        near = self.places * (ROOM // 2) + generator.integers(-1, 2, (len(self), 2))
        return near.clip(0, ROOM)

    def _drawn(self, corners: NDArray[np.int64]) -> NDArray[np.uint8]:
        """[rows, frames, 32, 32, 3], from the upper left corners [rows, frames, 2] of the digits."""
        tint = np.array(list(COLOURS.values()), np.float32)[self.colours] / 255
        ink = (self.ink[..., None] * tint[:, None, None]).astype(np.uint8)
        rows, frames = corners.shape[:2]
        drawn = np.zeros((rows, frames, SIZE, SIZE, 3), np.uint8)
        for row in range(rows):
            for frame, (top, left) in enumerate(corners[row]):
                drawn[row, frame, top : top + INK, left : left + INK] = ink[row]
        return drawn


def scenes(data: Path | None, seed: int) -> dict[str, Scenes]:
    """Scenes for "train", "val" and "test", of other digits each; what else they have is drawn by the seed."""
    from PIL import Image

    grey, digits = read(data)
    generator = np.random.default_rng(seed)
    border = (grey.shape[1] - 20) // 2  # MNIST's ink is within 20 x 20 pixels
    cut = (Image.fromarray(one[border:-border, border:-border]) for one in grey)
    ink = np.stack([np.asarray(one.resize((INK, INK), Image.Resampling.BILINEAR)) for one in cut])
    order = generator.permutation(len(ink))
    drawn = (generator.integers(0, len(names), len(ink)) for names in (COLOURS, DIRECTIONS))
    every = Scenes(ink, digits, *drawn, generator.integers(0, 3, (len(ink), 2)))
    parts = np.split(order, [len(order) * share // 100 for share in SHARES])
    return {name: every.take(part) for name, part in zip(("train", "val", "test"), parts, strict=True)}


def said_of_images(given: Scenes) -> list[str]:
    """A caption each: colour, digit and place."""
    return [
        f"{thing} at the {PLACES[0][row]} {PLACES[1][col]}"
        for thing, (row, col) in zip(_things(given), given.places, strict=True)
    ]


def said_of_videos(given: Scenes) -> list[str]:
    """A caption each: colour, digit, direction and place across the way."""
    ways = list(DIRECTIONS)
    where = [
        PLACES[1][col] if upright else PLACES[0][row]
        for upright, (row, col) in zip(given.vertical, given.places, strict=True)
    ]
    return [
        f"{thing} moves {ways[way]} along the {place}"
        for thing, way, place in zip(_things(given), given.directions, where, strict=True)
    ]


def _things(given: Scenes) -> list[str]:
    paints = list(COLOURS)
    return [f"a {paints[c]} {DIGITS[d]}" for c, d in zip(given.colours, given.digits, strict=True)]


def write(parts: dict[str, Scenes], folder: Path, *, images: int, videos: int, seed: int) -> None:
    """Pictures as PNG, videos as .npy, and a manifest for training and one for testing, of so many each at most."""
    from PIL import Image

    (folder / "media").mkdir(parents=True)
    for part in ("train", "test"):
        generator = np.random.default_rng(seed)
        still, moving = parts[part].take(np.arange(min(images, len(parts[part])))), parts[part]
        moving = moving.take(np.arange(len(moving))[::-1][:videos])  # other digits, as long as there are enough
        lines = []
        for row, (pixels, text) in enumerate(zip(still.images(generator), said_of_images(still), strict=True)):
            Image.fromarray(pixels).save(folder / "media" / f"{part}{row:05d}.png")
            lines.append({"image": f"media/{part}{row:05d}.png", "text": text})
        for row, (frames, text) in enumerate(zip(moving.videos(generator), said_of_videos(moving), strict=True)):
            np.save(folder / "media" / f"{part}{row:05d}.npy", frames)
            lines.append({"video": f"media/{part}{row:05d}.npy", "text": text})
        (folder / f"{part}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, help="folder of MNIST's test files; without it scikit-learn's digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--videos", type=int, default=2000)
    given = parser.parse_args()
    write(scenes(given.data, given.seed), given.out, images=given.images, videos=given.videos, seed=given.seed)
    print(f"{given.out}: train.jsonl, test.jsonl")


if __name__ == "__main__":
    main()
