"""DARE: drop entries of every model's change at random and make up for them (Yu et al. 2024)."""

import hashlib
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from .changes import Combine, Keep, elected, merge_changes, summed
from .linear import shares
from .method import Blocks, MergeBlock, TensorSettings

DRAWS = 8  # of 32 bits in a block of Philox4x64


def dare_linear(settings: TensorSettings, blocks: Blocks) -> MergeBlock:
    """The base plus scale times the sum of weight times change, of which each entry stays with probability density.

    What stays is divided by the density. With normalize weights are divided by the sum of all of them.
    """
    return _dropped(settings, shares(settings), summed)


def dare_ties(settings: TensorSettings, blocks: Blocks) -> MergeBlock:
    """The same with the sign election of TIES in the place of the sum. See ties."""
    return _dropped(settings, settings.weights, elected(settings.weights, settings.normalize))


def _dropped(settings: TensorSettings, weights: Sequence[float], combine: Combine) -> MergeBlock:
    densities = settings.densities or (1.0,) * len(weights)
    factors = [weight / density for weight, density in zip(weights, densities, strict=True)]
    return merge_changes(settings, factors, random_keep(settings.seed, settings.name, densities), combine)


def random_keep(seed: int, name: str, densities: Sequence[float]) -> Keep:
    """What stays of every model's change: a function of seed, name of the tensor, place of the model and index."""
    hashes = [hashlib.sha256(f"{seed}\0{name}\0{place}".encode()).digest() for place in range(len(densities))]
    keys = [int.from_bytes(digest[:16], "little") for digest in hashes]

    def keep(place: int, begin: int, base: Tensor, model: Tensor) -> Tensor | None:
        if densities[place] >= 1:
            return None
        drawn = draws(keys[place], begin, len(model))
        return torch.from_numpy(drawn < round(densities[place] * (1 << 32)))

    return keep


def draws(key: int, begin: int, count: int) -> NDArray[np.uint32]:
    """Entries [begin, begin + count) of a sequence of random uint32, wherever it is cut."""
    generator = np.random.Philox(key=key).advance(begin // DRAWS)
    skipped = begin % DRAWS
    words: NDArray[np.uint64] = generator.random_raw(-(-(skipped + count) // 2))
    return words.view(np.uint32)[skipped : skipped + count]
