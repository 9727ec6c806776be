"""What a way of merging is: a pass over a tensor where it needs one, then a function of every block of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

# of one tensor: (index of the first entry, a multiple of 4096, [models, count] in the dtype that they are stored in, or
# the narrowest that holds all of theirs); the buffer is used again for the next block. With a base its row comes first.
Blocks = Callable[[], Iterator[tuple[int, Tensor]]]
# (index of the first entry, sources [models, count], out [count]) -> [] int64, how many of out are infinite or NaN
MergeBlock = Callable[[int, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class TensorSettings:
    """How one tensor is merged.

    name       of the tensor
    size       entries of the tensor
    weights    one a model, the base not among them, as given
    densities  share of each model's change that is kept, in (0, 1] (TIES, DARE)
    normalize  whether weights are divided by their sum
    scale      of the whole change (mergekit's lambda)
    t          0 is the first model and 1 the second (SLERP)
    based      whether the first row of a block is a base
    seed       of what is drawn at random (DARE)
    sum_dtype  of sums of what is stored narrower: float64 or float32
    """

    name: str
    size: int
    weights: tuple[float, ...]
    densities: tuple[float, ...] = ()
    normalize: bool = True
    scale: float = 1.0
    t: float = 0.5
    based: bool = False
    seed: int = 0
    sum_dtype: torch.dtype = torch.float64


class Method(Protocol):
    """A way of merging. Its memory is a few blocks, whatever the size of the tensor; its bits do not depend on how a
    tensor is cut into blocks."""

    def __call__(self, settings: TensorSettings, blocks: Blocks) -> MergeBlock:
        """Look at the tensor where that is needed, and return what merges a block of it."""
