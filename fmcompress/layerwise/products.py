"""The matrix products of the solve, in float32 or, on a GPU, as three TF32 products of split factors."""

import contextlib
from collections.abc import Iterator
from typing import Literal

import torch
from torch import Tensor

Products = Literal["fp32", "tf32x3"]
PRODUCTS: tuple[Products, ...] = ("fp32", "tf32x3")
LOST_BITS = 13  # of a float32's 23 explicit bits, TF32 keeps 10


def plus_product(base: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """base + left @ right, of matrices or of batches of matrices."""
    return torch.addmm(base, left, right) if base.dim() == 2 else torch.baddbmm(base, left, right)


def add_product_(base: Tensor, left: Tensor, right: Tensor, sign: float = 1.0) -> Tensor:
    """base += sign * left @ right in place, of matrices or of batches of matrices."""
    if base.dim() == 2:
        return base.addmm_(left, right, alpha=sign)
    return base.baddbmm_(left, right, alpha=sign)


def split(matrix: Tensor, high: Tensor | None = None, low: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """high + low = matrix exactly, where high is the nearest number of TF32.

    matrix    any shape, float32, below 3.4e38 in magnitude; any strides
    high, low where the parts go; None makes them
    returns   both, float32; low has at most 12 significant bits, of which TF32 drops the last one
    """
    half = 1 << (LOST_BITS - 1)  # ties go away from zero, a carry goes on into the exponent: the next number
    rounded = (matrix.view(torch.int32) + half).bitwise_and_(-1 << LOST_BITS).view(torch.float32)
    high = rounded if high is None else high.copy_(rounded)
    return high, torch.sub(matrix, rounded, out=low)


def add_split_product_(base: Tensor, left: tuple[Tensor, Tensor], right: tuple[Tensor, Tensor], sign: float) -> Tensor:
    """base += sign * left @ right in place, the factors given as high and low; low @ low is below float32's last bit.

    On a GPU the three products run on TF32 tensor cores, which multiply `high` exactly and add in float32; elsewhere
    in float32. The small ones go first.
    """
    with tf32_allowed() if base.device.type == "cuda" else contextlib.nullcontext():
        add_product_(base, left[1], right[0], sign)
        add_product_(base, left[0], right[1], sign)
        return add_product_(base, left[0], right[0], sign)


def subtract_product_(base: Tensor, left: Tensor, right: Tensor, products: Products = "fp32") -> Tensor:
    """base -= left @ right in place, as `products` says, of matrices or of batches of matrices."""
    if not is_split(products, base):
        return add_product_(base, left, right, -1.0)
    return add_split_product_(base, split(left), split(right), -1.0)


def is_split(products: Products, like: Tensor) -> bool:
    """Whether products of such tensors are computed as three: tf32x3 is for float32 on a GPU and is plain elsewhere."""
    return products == "tf32x3" and like.dtype == torch.float32 and like.device.type == "cuda"


@contextlib.contextmanager
def tf32_allowed() -> Iterator[None]:
    """float32 products of cuBLAS in TF32 inside, afterwards as before. The switch is one for all threads."""
    matmul = torch.backends.cuda.matmul
    before = matmul.fp32_precision
    matmul.fp32_precision = "tf32"
    try:
        yield
    finally:
        matmul.fp32_precision = before


class CarriedErrors:
    """What the columns swept so far leave for those to the right: delta @ R, a superblock at a time.

    delta   [rows, cols] or [batch, rows, cols], filled from left to right
    upper   [cols, cols] or [batch, cols, cols], R
    """

    def __init__(self, delta: Tensor, upper: Tensor, products: Products = "fp32") -> None:
        self.delta, self.upper = delta, upper
        self.split = is_split(products, delta)
        if self.split:  # each column of delta is split once, and used by all superblocks to its right
            self.high, self.low = torch.empty_like(delta), torch.empty_like(delta)
            self.done = 0

    def at(self, begin: int, end: int) -> Tensor:
        """delta[:, :begin] @ R[:begin, begin:end], new memory. delta must stand up to `begin`."""
        panel = self.upper[..., :begin, begin:end]
        if not self.split or begin == 0:
            return self.delta[..., :begin] @ panel
        new = slice(self.done, begin)
        split(self.delta[..., new], self.high[..., new], self.low[..., new])
        self.done = begin
        carried = self.delta.new_zeros(*self.delta.shape[:-1], end - begin)
        return add_split_product_(carried, (self.high[..., :begin], self.low[..., :begin]), split(panel), 1.0)
