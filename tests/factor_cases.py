"""Small matrices that every factor_block must factor and invert, checked against float64."""

from collections.abc import Callable

import torch
from packing_cases import shifted
from torch import Tensor

from fmcompress import reference

SIZES = [1, 2, 17, 31, 33, 64, 123, 128]
FACTORED = {torch.float32: 2e-6, torch.float64: 2e-14}  # of the largest entry
Factored = tuple[Tensor, Tensor, Tensor]


def positive(n: int, dtype: torch.dtype, condition: float = 1e3, batch: tuple[int, ...] = ()) -> Tensor:
    """Random matrices with eigenvalues from 1 / condition to 1; below the diagonal is NaN, which nobody may read."""
    source = torch.Generator().manual_seed(n)
    basis = torch.linalg.qr(torch.randn(*batch, n, n, generator=source, dtype=torch.float64)).Q
    values = torch.logspace(0, -torch.log10(torch.tensor(condition)).item(), n, dtype=torch.float64)
    matrix = (basis * values) @ basis.mT
    return matrix.masked_fill(torch.ones(n, n, dtype=torch.bool).tril(-1), float("nan")).to(dtype)


def check_factored(symmetric: Tensor, factored: Factored, what: object) -> None:
    """R R^T is the matrix and X R = 1 as closely as the dtype allows, both with zeros below their diagonals."""
    upper, inverse, failed = factored
    assert (upper.shape, inverse.shape, failed.shape) == (symmetric.shape, symmetric.shape, symmetric.shape[:-2]), what
    assert (upper.dtype, inverse.dtype, failed.dtype) == (symmetric.dtype, symmetric.dtype, torch.int32), what
    assert upper.is_contiguous(), what
    assert inverse.is_contiguous(), what
    assert not failed.any(), what
    assert (upper.diagonal(dim1=-2, dim2=-1) > 0).all(), what
    for part in (upper, inverse):
        assert torch.equal(part, part.triu()), what
    bound, r, x = FACTORED[symmetric.dtype], upper.double(), inverse.double()
    whole = symmetric.double().triu() + symmetric.double().triu(1).mT
    if symmetric.numel():
        assert (r @ r.mT - whole).abs().max() <= bound * whole.abs().max(), what
        # a triangular solve leaves a residual of |X| |R|, entry by entry (Higham, section 14.2)
        assert ((x @ r - torch.eye(r.shape[-1])).abs() <= 10 * bound * (x.abs() @ r.abs())).all(), what


def bad_matrices(dtype: torch.dtype, n: int) -> Tensor:
    """Eight matrices: every other one is good, the others are not positive definite or not finite."""
    matrices = positive(n, dtype, batch=(8,))
    matrices[1, n // 2, n // 2] = -1.0
    matrices[3, 0, 0] = 0.0
    matrices[5, 0, n - 1] = float("nan")
    matrices[7, n - 1, n - 1] = float("inf")
    return matrices


def check_factor_block(
    factor_block: Callable[[Tensor], Factored], sizes: list[int] = SIZES, batched: int = 128, failing: int = 70
) -> None:
    """One matrix, batches, some that fail among others, and the same bits each time.

    batched, failing: sizes of the matrices in the largest batch, and in one where some are not positive definite
    """
    for dtype in FACTORED:
        for n in sizes:
            for condition in (1e1, 1e5):
                matrix = positive(n, dtype, condition)
                factored = factor_block(matrix)
                check_factored(matrix, factored, (dtype, n, condition))
                expected = reference.factor_block(matrix.double())
                rough = 100 * condition * FACTORED[dtype]
                torch.testing.assert_close(factored[0].double(), expected[0], rtol=rough, atol=rough)
        for batch, n in ((0, 9), (1, 40), (3, batched)):
            matrices = positive(n, dtype, batch=(batch,))
            factored = factor_block(matrices)
            check_factored(matrices, factored, (dtype, batch, n))
            for again in (factor_block(matrices), factor_block(shifted(matrices) if batch else matrices)):
                assert all(map(torch.equal, again, factored)), (dtype, batch, n)
        for n in (2, failing):
            matrices = bad_matrices(dtype, n)
            upper, inverse, failed = factor_block(matrices)
            assert failed.tolist() == [0, 1] * 4, (dtype, n, failed)
            good = upper[::2].contiguous(), inverse[::2].contiguous(), failed[::2]
            check_factored(matrices[::2], good, (dtype, n))
            assert all(map(torch.equal, factor_block(matrices[::2].contiguous()), good)), (dtype, n)
