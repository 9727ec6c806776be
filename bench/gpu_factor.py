"""The Cholesky of a Hessian on a GPU against torch's, whole, in batches, and of the single block.

What a factor is compared with is one torch.linalg.cholesky, and SparseGPT's three factorisations that end in the same
numbers: cholesky, cholesky_inverse and the cholesky of that. Each factor is checked in float64 first. A block is timed
inside a CUDA graph, as the layer solve runs it; torch's two calls cannot be captured and are timed one by one.
"""

import sys
from collections.abc import Callable
from functools import partial

import torch
from gpu import Row, Rows, arguments, graphed, seconds
from torch import Tensor

from fmcompress import ops
from fmcompress.layerwise import factor_hessian
from fmcompress.layerwise.cholesky import factor_blocks
from fmcompress.layerwise.damping import damped_diagonal

COLS, EXPERTS = (4096, 14336), (64, 2048)  # of one Hessian; a batch of Hessians and their columns
SMALL_COLS, SMALL_EXPERTS = (200, 700), (3, 150)
BATCHES, REPEATS = (1, 64), 20  # of single blocks, and how many calls a graph holds
RESIDUAL = 1e-5  # |R R^T - H| / |H| in float32
DAMPING = 0.01


def hessian_of(cols: int, device: torch.device) -> Tensor:
    """Of inputs whose neighbours are correlated and whose scales differ a hundredfold."""
    generator = torch.Generator(device).manual_seed(cols)
    inputs = torch.randn(2 * cols, cols, generator=generator, device=device)
    inputs *= torch.logspace(-1, 1, cols, device=device)[torch.randperm(cols, generator=generator, device=device)]
    inputs += 0.5 * inputs.roll(1, 1)
    return (inputs.mT @ inputs).div_(2 * cols)


def damped(hessian: Tensor, added: float) -> Tensor:
    """What is factored."""
    return hessian + added * torch.eye(hessian.shape[-1], device=hessian.device)


def as_sparsegpt(hessian: Tensor) -> Tensor:
    """The factor of the inverse, as the authors compute it."""
    return torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)), upper=True)


def check(what: str, upper: Tensor, hessian: Tensor) -> float:
    """The residual in float64; the case ends where it is too large."""
    wide = upper.double()
    off = float((wide @ wide.mT - hessian.double()).norm() / hessian.double().norm())
    if not off <= RESIDUAL:  # NaN, too
        sys.exit(f"{what}: R R^T is off by {off:.3g} of the Hessian. It was not measured.")
    return off


def measure_hessian(rows: Rows, cols: int) -> None:
    """Two rows: against one Cholesky, and against SparseGPT's three."""
    hessian = hessian_of(cols, rows.device)
    factor = factor_hessian(hessian, DAMPING)
    matrix = damped(hessian, factor.added)
    off = check(f"{cols} columns", factor.upper, matrix)
    del factor
    rounds = 3 if cols > 8192 else 10
    ours = seconds(lambda: factor_hessian(hessian, DAMPING), rows.device, rounds)
    targets = {"least_speedup": 1.0} if rows.device.type == "cuda" and not rows.small else {}
    baselines: dict[str, Callable[[Tensor], Tensor]] = {
        "torch.linalg.cholesky": torch.linalg.cholesky,
        "SparseGPT's three factorisations": as_sparsegpt,
    }
    for name, baseline in baselines.items():
        theirs = seconds(lambda run=baseline: run(matrix), rows.device, rounds)
        facts = {"residual": off}
        case = f"{cols} columns, beside {name}"
        rows.add(Row("factor", case, ours, name, theirs, 8 * cols**2, cols**3 / 3, facts=facts, **targets))


def measure_batch(rows: Rows, batch: int, cols: int) -> None:
    """Hessians of as many experts together."""
    hessians = hessian_of(cols, rows.device).expand(batch, cols, cols).contiguous()

    def factored() -> tuple[Tensor, Tensor, Tensor]:
        return factor_blocks(hessians, damped_diagonal(hessians, DAMPING)[0])

    added = damped_diagonal(hessians, DAMPING)[2].tolist()
    matrices = torch.stack([damped(hessian, amount) for hessian, amount in zip(hessians, added, strict=True)])
    pairs = zip(factored()[0], matrices, strict=True)
    off = max(check(f"expert {index}", *pair) for index, pair in enumerate(pairs))
    ours = seconds(factored, rows.device, 5)
    theirs = seconds(lambda: torch.linalg.cholesky(matrices), rows.device, 5)
    case, floor = f"{batch} of {cols} columns", batch * cols**3 / 3
    facts = {"residual": off}
    rows.add(Row("factor", case, ours, "torch.linalg.cholesky", theirs, 8 * batch * cols**2, floor, facts=facts))


def torch_block(matrices: Tensor) -> Tensor:
    """R and its inverse in torch; the caller reverses rows and columns once, for free."""
    lower = torch.linalg.cholesky_ex(matrices).L
    identity = torch.eye(matrices.shape[-1], device=matrices.device).expand_as(matrices)
    return torch.linalg.solve_triangular(lower, identity, upper=False)


def measure_blocks(rows: Rows, batch: int) -> None:
    """The widest block, alone and many at once."""
    n, device = ops.MAX_BLOCK_COLS, rows.device
    matrices = damped(hessian_of(n, device), 1.0).expand(batch, n, n).contiguous()
    upper, inverse, failed = ops.factor_block(matrices)
    off = max(check("block", one, matrix) for one, matrix in zip(upper[:2], matrices[:2], strict=True))
    if failed.any() or not torch.allclose(inverse[0] @ upper[0], torch.eye(n, device=device), atol=1e-3):
        sys.exit("factor_block: the inverse is wrong. It was not measured.")
    many = graphed([lambda: ops.factor_block(matrices)] * REPEATS, device)
    ours = seconds(many, device) / REPEATS
    alone = seconds(lambda: ops.factor_block(matrices), device)
    theirs = seconds(lambda: torch_block(matrices), device)
    targets = {"least_speedup": 2.0} if device.type == "cuda" and not rows.small else {}
    case, name = f"factor_block, {batch} of {n} columns", "cholesky_ex + solve_triangular"
    bytes_moved, flops = 12 * batch * n**2, batch * 2 * n**3 / 3
    facts = {"residual": off, "called_alone_s": alone}
    rows.add(Row("factor", case, ours, name, theirs, bytes_moved, flops, facts=facts, **targets))


def main() -> None:
    """Measure all of them."""
    options = arguments(__doc__).parse_args()
    rows = Rows(torch.device(options.device), small=options.small, path=options.json)
    wide = SMALL_COLS if rows.small else COLS
    cases = [partial(measure_blocks, rows, batch) for batch in BATCHES]
    cases += [partial(measure_hessian, rows, cols) for cols in wide]
    cases.append(partial(measure_batch, rows, *(SMALL_EXPERTS if rows.small else EXPERTS)))
    with torch.no_grad():
        for case in cases:
            with rows.case():
                case()
    rows.end()


if __name__ == "__main__":
    main()
