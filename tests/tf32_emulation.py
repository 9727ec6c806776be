"""What TF32 tensor cores multiply, on a CPU: both factors lose 13 bits, the sums are float32's."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fmcompress.layerwise import products, sweeper

aten = torch.ops.aten
FACTORS = {
    aten.mm.default: (0, 1),
    aten.bmm.default: (0, 1),
    aten.addmm_.default: (1, 2),
    aten.baddbmm_.default: (1, 2),
}


def truncated(matrix: Tensor) -> Tensor:
    """The numbers that tensor cores see: the low bits are not looked at."""
    return (matrix.contiguous().view(torch.int32) & (-1 << products.LOST_BITS)).view(torch.float32)


class _TensorCores(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        places = FACTORS.get(func, ())
        args = tuple(truncated(part) if place in places else part for place, part in enumerate(args))
        return func(*args, **(kwargs or {}))


def tf32_product(left: Tensor, right: Tensor) -> Tensor:
    """One product of the nearest TF32 numbers, as a GPU does where allow_tf32 is set."""
    return products.split(left).high @ products.split(right).high


@contextlib.contextmanager
def emulated_tensor_cores() -> Iterator[None]:
    """On a CPU tf32x3 then does what it does on a GPU, but for the order of sums and how the cores round them."""
    kept = products._tensor_cores, products.is_split
    products._tensor_cores = lambda like: _TensorCores()
    products.is_split = sweeper.is_split = lambda kind, like: kind == "tf32x3" and like.dtype == torch.float32
    try:
        yield
    finally:
        products._tensor_cores, products.is_split = kept
        sweeper.is_split = products.is_split
