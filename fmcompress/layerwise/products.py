"""The matrix products of the solve: in float32, or on a GPU as three TF32 products of factors in two parts."""

import contextlib
from collections.abc import Iterator
from typing import Literal, NamedTuple

import torch
from torch import Tensor

Products = Literal["fp32", "tf32x3"]
PRODUCTS: tuple[Products, ...] = ("fp32", "tf32x3")
LOST_BITS = 13  # of a float32's 23 explicit bits, TF32 keeps 10


class Split(NamedTuple):
    """A float32 matrix as high + low, exactly; high is its nearest number of TF32, low has at most 12 bits."""

    high: Tensor
    low: Tensor

    @property
    def mT(self) -> "Split":
        """With rows and columns exchanged, as a view."""
        return Split(self.high.mT, self.low.mT)


def split(matrix: Tensor, into: Split | None = None) -> Split:
    """Both parts of a float32 matrix of any strides, in new memory or written to `into`.

    Numbers within half a TF32 step of float32's largest become infinite; what is not finite stays so.
    """
    half = 1 << (LOST_BITS - 1)  # ties go away from zero; a carry goes on into the exponent, to the next number
    high = (matrix.view(torch.int32) + half).bitwise_and_(-1 << LOST_BITS).view(torch.float32)
    if into is None:
        return Split(high, matrix - high)
    into.high.copy_(high)
    torch.sub(matrix, high, out=into.low)
    return into


def split_bytes(rows: int, cols: int) -> int:
    """Of both parts of all that the solve of a layer keeps split: its factor [cols, cols], its change [rows, cols]."""
    return 2 * 4 * (cols * cols + rows * cols)


def plus_product(base: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """base + left @ right, of matrices or of batches of matrices."""
    return torch.addmm(base, left, right) if base.dim() == 2 else torch.baddbmm(base, left, right)


def add_product_(base: Tensor, left: Tensor | Split, right: Tensor | Split, sign: float = 1.0) -> Tensor:
    """base += sign * left @ right in place, of matrices or of batches of matrices; both factors split, or neither."""
    if isinstance(left, Split) and isinstance(right, Split):
        with _tensor_cores(base):
            for one, other in _pairs(left, right):
                add_product_(base, one, other, sign)
        return base
    assert isinstance(left, Tensor)
    assert isinstance(right, Tensor)
    return (base.addmm_ if base.dim() == 2 else base.baddbmm_)(left, right, alpha=sign)


def product(left: Tensor | Split, right: Tensor | Split) -> Tensor:
    """left @ right in new memory; both factors split, or neither."""
    if isinstance(left, Split) and isinstance(right, Split):
        with _tensor_cores(left.high):
            (one, other), *rest = _pairs(left, right)
            made = one @ other
            for one, other in rest:
                add_product_(made, one, other)
        return made
    assert isinstance(left, Tensor)
    assert isinstance(right, Tensor)
    return left @ right


def _pairs(left: Split, right: Split) -> list[tuple[Tensor, Tensor]]:
    """The small products first; low @ low is below the last bit of the sum."""
    return [(left.low, right.high), (left.high, right.low), (left.high, right.high)]


def is_split(products: Products, like: Tensor) -> bool:
    """Whether products of such tensors are computed as three: tf32x3 is for float32 on a GPU and is plain elsewhere."""
    return products == "tf32x3" and like.dtype == torch.float32 and like.device.type == "cuda"


class Growing:
    """A matrix whose panels of columns settle one after the other, as a factor of wide products: each is split once.

    matrix  [rows, cols] or [batch, rows, cols], written by others
    """

    def __init__(self, matrix: Tensor, products: Products) -> None:
        self.matrix = matrix
        self.parts = None
        if is_split(products, matrix):
            self.parts = Split(torch.empty_like(matrix), torch.empty_like(matrix))

    def settle(self, rows: slice, cols: slice) -> None:
        """This panel stands from now on."""
        if self.parts is not None:
            here = (..., rows, cols)
            split(self.matrix[here], Split(self.parts.high[here], self.parts.low[here]))

    def part(self, rows: slice, cols: slice) -> Tensor | Split:
        """A settled panel, or several of them, as views."""
        here = (..., rows, cols)
        return self.matrix[here] if self.parts is None else Split(self.parts.high[here], self.parts.low[here])


def _tensor_cores(like: Tensor) -> contextlib.AbstractContextManager[None]:
    return tf32_allowed() if like.device.type == "cuda" else contextlib.nullcontext()


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
