"""Digits in five domains, one to be left out, and other digits for pretraining and auxiliary tasks; no image twice.

MNIST's are cut into parts by the seed: pretraining, auxiliary tasks, and a part for each domain made of them. The
domain "scans" is scikit-learn's digits, of another scanner and other writers. Images are [3, 14, 14] in [0, 1].
"""

import gzip
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

DOMAINS = ("clean", "rotated", "coloured", "noisy", "scans")
SIZE, ROWS = 14, 1000  # of an image's side, and of a domain
VALIDATION = 0.2  # of a domain
COLOUR_TELLS = 0.8  # how often the ground's colour is that of the digit, in "coloured"
# auxiliary task -> what is asked of a digit, and classes
TASKS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "parity": (lambda digit: digit % 2, 2),
    "five-or-more": (lambda digit: (digit >= 5).long(), 2),
    "holes": (lambda digit: torch.tensor([1, 0, 0, 0, 0, 0, 1, 0, 2, 1])[digit], 3),
    "modulo-three": (lambda digit: digit % 3, 3),
}


@dataclass(frozen=True)
class Part:
    """images [rows, 3, 14, 14] float32; labels [rows] int64."""

    images: Tensor
    labels: Tensor

    def rows(self, which: slice | Tensor) -> "Part":
        """Some of them."""
        return Part(self.images[which], self.labels[which])


@dataclass(frozen=True)
class Material:
    """pretraining, whose images are [rows, 14, 14], and auxiliary, by task, are of other images than the domains."""

    pretraining: Part
    auxiliary: dict[str, Part]
    domains: dict[str, Part]


def read_mnist(folder: Path | None) -> tuple[Tensor, Tensor] | None:
    """Grey images [10000, 14, 14] in [0, 1] and digits, of MNIST's test files; None without a folder."""
    if folder is None:
        return None
    with gzip.open(folder / "t10k-images-idx3-ubyte.gz") as file:
        pixels = np.frombuffer(file.read(), np.uint8, offset=16).reshape(-1, 1, 28, 28)
    with gzip.open(folder / "t10k-labels-idx1-ubyte.gz") as file:
        labels = np.frombuffer(file.read(), np.uint8, offset=8)
    images = functional.avg_pool2d(torch.from_numpy(pixels.astype(np.float32) / 255), 2)
    return images[:, 0], torch.from_numpy(labels.astype(np.int64))


def read_scans() -> tuple[Tensor, Tensor]:
    """Grey images [1797, 14, 14] in [0, 1] and digits: scikit-learn's 8 x 8 ones, as large in the frame as MNIST's."""
    from sklearn.datasets import load_digits

    pixels, labels = load_digits(return_X_y=True)
    small = torch.from_numpy(pixels.reshape(-1, 1, 8, 8).astype(np.float32) / 16)
    images = functional.interpolate(small, size=(10, 10), mode="bilinear", align_corners=False)
    return functional.pad(images, (2, 2, 2, 2))[:, 0], torch.from_numpy(labels.astype(np.int64))


def material(
    mnist: tuple[Tensor, Tensor] | None, scans: tuple[Tensor, Tensor], seed: int, rows: int = ROWS
) -> Material:
    """All parts of a seed. Without MNIST everything is cut out of the scans, which then are no domain of their own."""
    generator = torch.Generator().manual_seed(seed)
    images, labels = scans if mnist is None else mnist
    made = DOMAINS[:-1]
    order = torch.randperm(len(images), generator=generator)
    domains, images, labels = {}, images[order], labels[order]
    for number, name in enumerate(made):
        part = slice(number * rows, (number + 1) * rows)
        domains[name] = Part(_styled(name, images[part], labels[part], generator), labels[part])
    if mnist is not None:
        chosen = torch.randperm(len(scans[0]), generator=generator)[:rows]
        domains["scans"] = Part(_grey(scans[0][chosen]), scans[1][chosen])
    images, labels = images[len(made) * rows :], labels[len(made) * rows :]
    half = len(images) // 2
    auxiliary = {}
    for name, (ask, _) in TASKS.items():
        auxiliary[name] = Part(_styled(name, images[half:], labels[half:], generator), ask(labels[half:]))
    return Material(Part(images[:half], labels[:half]), auxiliary, domains)


def _grey(images: Tensor) -> Tensor:
    return images[:, None].expand(-1, 3, -1, -1).contiguous()


def looked_at(grey: Part, generator: torch.Generator) -> Part:
    """Pretraining: digits moved, sized and tilted by 15 degrees at most, in two random shades of grey.

    grey  images [rows, 14, 14]
    """
    rows = len(grey.labels)

    def drawn(*shape: int) -> Tensor:
        return torch.rand(rows, *shape, generator=generator)

    angles, size = (2 * drawn() - 1) * (math.pi / 12), 0.8 + 0.4 * drawn()
    first = torch.stack([size * angles.cos(), -size * angles.sin(), 0.4 * drawn() - 0.2], 1)
    second = torch.stack([size * angles.sin(), size * angles.cos(), 0.4 * drawn() - 0.2], 1)
    images, ink = _mapped(grey.images, torch.stack([first, second], 1)), drawn(1, 1)
    return Part(_grey(drawn(1, 1) * (1 - images) + ink * images), grey.labels)


def _styled(style: str, images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """Images of a domain, or of an auxiliary task, each of which has a look of its own that is none of the domains'."""
    if style == "rotated":
        angles = (torch.rand(len(images), generator=generator) * 35 + 25) * math.pi / 180
        angles *= torch.randint(2, (len(images),), generator=generator) * 2 - 1
        zero = torch.zeros_like(angles)
        rows = [torch.stack([angles.cos(), -angles.sin(), zero], 1), torch.stack([angles.sin(), angles.cos(), zero], 1)]
        return _grey(_mapped(images, torch.stack(rows, 1)))
    if style == "coloured":
        return _coloured(images, labels, generator)
    if style == "noisy":
        noise = torch.randn(len(images), 3, SIZE, SIZE, generator=generator) * 0.35
        return (0.15 + 0.7 * _grey(images) + noise).clamp(0, 1)
    if style == "parity":  # light ground
        return _grey(1 - images)
    if style == "five-or-more":  # blurred
        return _grey(functional.avg_pool2d(images[:, None], 3, 1, 1)[:, 0])
    if style == "holes":  # bold
        return _grey(functional.max_pool2d(images[:, None], 2, 1, 1)[:, 0, :SIZE, :SIZE])
    if style == "modulo-three":  # slanted
        slant = torch.rand(len(images), generator=generator) - 0.5
        one, zero = torch.ones_like(slant), torch.zeros_like(slant)
        rows = [torch.stack([one, slant, zero], 1), torch.stack([zero, one, zero], 1)]
        return _grey(_mapped(images, torch.stack(rows, 1)))
    return _grey(images)


def _mapped(images: Tensor, matrices: Tensor) -> Tensor:
    grid = functional.affine_grid(matrices, [len(images), 1, SIZE, SIZE], align_corners=False)
    return functional.grid_sample(images[:, None], grid, align_corners=False)[:, 0]


def _coloured(images: Tensor, labels: Tensor, generator: torch.Generator) -> Tensor:
    """A light digit of any colour on a ground whose colour mostly is the digit's own."""
    hues = torch.linspace(0, 2 * math.pi, 11)[:10]
    palette = 0.3 + 0.3 * torch.stack([(hues + shift).cos() for shift in (0, 2 * math.pi / 3, -2 * math.pi / 3)], 1)
    free = torch.randint(10, (len(images),), generator=generator)
    tells = torch.rand(len(images), generator=generator) < COLOUR_TELLS
    ground = palette[torch.where(tells, labels, free)][:, :, None, None]
    ink = 0.6 + 0.4 * torch.rand(len(images), 3, 1, 1, generator=generator)
    return ground * (1 - images[:, None]) + ink * images[:, None]
