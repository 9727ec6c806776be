"""Which examples a training may see: none of the test split, and smaller shares within larger ones."""

from collections.abc import Sequence

import numpy as np

from ..errors import CalibrationError
from .examples import Example

FRACTION = 1  # what the seed is used for


def training_examples(examples: Sequence[Example], fraction: float = 1.0, seed: int = 0) -> list[Example]:
    """Those of "train" and of no split, or a share of them, in their order.

    fraction  more than 0, at most 1; equal seeds give shares of which each holds all smaller ones

    Raises CalibrationError if there are none.
    """
    some = [example for example in examples if example.split in (None, "train")]
    if not some:
        raise CalibrationError('split: no example is of "train", or of none. Mark those to train on.')
    order = np.random.default_rng([seed, FRACTION]).permutation(len(some))
    return [some[place] for place in sorted(order[: max(1, round(fraction * len(some)))].tolist())]


def validation_examples(examples: Sequence[Example]) -> list[Example]:
    """Those of "valid" with a label."""
    return [example for example in examples if example.split == "valid" and example.label is not None]
