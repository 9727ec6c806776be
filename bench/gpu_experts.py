"""Experts of a mixture, each pruned from its own Hessian: solved together against one by one.

Both in float32, by the same sweep. Before a shape is timed, the zeros of every expert must be as many both ways, or,
where it is quantized, to a share of them, and its loss the same to a share of it.
"""

import math
import sys
from dataclasses import dataclass

import torch
from gpu import Row, Rows, arguments, seconds
from torch import Tensor

from fmcompress.layer_batches import needed_bytes
from fmcompress.layerwise import NM, Grid, LayerResult, Pattern, Unstructured, solve, solve_batch

LOSS_TOLERANCE, ZEROS_TOLERANCE = 0.01, 0.01
DAMPING, BLOCK_COLS = 0.01, 128


@dataclass(frozen=True)
class Shape:
    """Experts of a block, and how many of them there are."""

    experts: int
    rows: int
    cols: int


# the narrow experts of a fine-grained mixture by every method, and the wide ones of Mixtral 8x7B by the first
SHAPES = [Shape(64, 1408, 2048), Shape(64, 2048, 1408), Shape(8, 14336, 4096), Shape(8, 4096, 14336)]
SMALL = [Shape(4, 24, 32)]
METHODS: dict[str, tuple[Pattern | None, Grid | None]] = {
    "50 %": (Unstructured(0.5), None),
    "2:4": (NM(2, 4), None),
    "50 % + 4 bits": (Unstructured(0.5), Grid(4, 128)),
}


def inputs(shape: Shape, device: torch.device) -> tuple[Tensor, Tensor]:
    """Weights [experts, rows, cols] bfloat16 and Hessians [experts, cols, cols] of correlated inputs."""
    generator = torch.Generator(device).manual_seed(0)
    weights = torch.randn(shape.experts, shape.rows, shape.cols, generator=generator, device=device).bfloat16()
    hessians = torch.empty(shape.experts, shape.cols, shape.cols, device=device)
    for hessian in hessians:
        tokens = torch.randn(2 * shape.cols, shape.cols, generator=generator, device=device)
        tokens += torch.randn(2 * shape.cols, 1, generator=generator, device=device)  # what all inputs share
        torch.mm(tokens.mT, tokens, out=hessian).div_(len(tokens))
    return weights, hessians


def together(weights: Tensor, hessians: Tensor, pattern: Pattern | None, grid: Grid | None) -> list[LayerResult]:
    names = [str(index) for index in range(len(weights))]
    options = {"damping": DAMPING, "block_size": BLOCK_COLS}
    return solve_batch(weights, hessians, pattern, grid, output_energies=[1.0] * len(names), names=names, **options)


def one_by_one(weights: Tensor, hessians: Tensor, pattern: Pattern | None, grid: Grid | None) -> list[LayerResult]:
    options = {"damping": DAMPING, "block_size": BLOCK_COLS, "activation_order": False, "output_energy": 1.0}
    pairs = zip(weights, hessians, strict=True)
    return [solve(weight, hessian, pattern, grid, name="expert", **options) for weight, hessian in pairs]


def check(found: list[LayerResult], expected: list[LayerResult]) -> None:
    """Raise SystemExit unless both ways are as good."""
    for index, (one, other) in enumerate(zip(found, expected, strict=True)):
        # of kept weights near the middle of two levels, one of which is 0, some are rounded the other way
        more = 0.0 if one.quantized is None else ZEROS_TOLERANCE * other.zeros
        if abs(one.zeros - other.zeros) > more or not math.isclose(one.loss, other.loss, rel_tol=LOSS_TOLERANCE):
            sys.exit(
                f"expert {index}: {one.zeros} zeros and loss {one.loss}, by itself {other.zeros} and {other.loss}."
            )


def fits(shape: Shape, device: torch.device) -> bool:
    """Whether the experts and what a batch of them needs are less than what is free."""
    if device.type != "cuda":
        return True
    given = 4 * shape.cols * shape.cols + 2 * shape.rows * shape.cols
    return shape.experts * (given + needed_bytes(shape.rows, shape.cols)) < torch.cuda.mem_get_info(device)[0]


def floors(shape: Shape) -> dict[str, float]:
    """Of all experts: a Hessian read; a weight read and written; a Cholesky, and the product of the errors with it."""
    matrix, square = shape.rows * shape.cols, shape.cols * shape.cols
    return {
        "bytes": shape.experts * (4 * square + 2 * 2 * matrix),
        "flops": shape.experts * (square * shape.cols / 3 + matrix * shape.cols),
    }


def measure(rows: Rows, shape: Shape, method: str) -> None:
    pattern, grid = METHODS[method]
    if rows.small and grid is not None:
        grid = Grid(grid.bits, 16)
    given = (*inputs(shape, rows.device), pattern, grid)
    check(together(*given), one_by_one(*given))
    rounds = 2 if rows.small else 3
    alone = seconds(lambda: one_by_one(*given), rows.device, rounds)
    row = Row(
        group="experts",
        case=f"{shape.experts} of {shape.rows} x {shape.cols}, {method}",
        seconds=seconds(lambda: together(*given), rows.device, rounds),
        baseline="one by one",
        baseline_s=alone,
        facts={"needed_bytes": shape.experts * needed_bytes(shape.rows, shape.cols)},
        **floors(shape),
    )
    rows.add(row)


def main() -> None:
    """Measure all shapes that fit."""
    options = arguments(__doc__).parse_args()
    rows = Rows(torch.device(options.device), small=options.small, path=options.json)
    for shape in SMALL if options.small else SHAPES:
        if not fits(shape, rows.device):
            print(f"experts: {shape} does not fit and is left out", flush=True)
            continue
        for method in list(METHODS)[: None if shape.experts > 8 or rows.small else 1]:
            with rows.case():
                measure(rows, shape, method)
    rows.end()


if __name__ == "__main__":
    main()
