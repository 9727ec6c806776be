"""The layer solve on a GPU against the eager loop on the same GPU, and what its time goes into.

Each solve is measured as solve() runs, as a CUDA graph, and with TF32 products in place of float32's. Weights are
float32. Floors: a Cholesky and the left-looking products, and weight, Hessian and result through memory once.
Ends with 1 if a solve is not bit-stable, or finds another error than the eager loop or the CPU.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from eager import eager_gptq, eager_sparsegpt
from gpu import Row, Rows, arguments, once, seconds
from torch import Tensor

from fmcompress import NM, Unstructured, ops
from fmcompress.layerwise import Grid, LayerResult, Pattern, captured_solves, solve
from fmcompress.layerwise.core import Recipe, factor_on_device

HALF, PAIRS, GRID = Unstructured(0.5), NM(2, 4), Grid(4, 128)
Method = tuple[Pattern | None, Grid | None]
METHODS: dict[str, Method] = {
    "50 %": (HALF, None),
    "2:4": (PAIRS, None),
    "4-bit g128": (None, GRID),
    "50 % + 4-bit g128": (HALF, GRID),
}
PRUNING = ("50 %", "2:4")
BLOCK = 128
LOSS_TOLERANCE, MASK_TOLERANCE = 1e-2, 1e-2  # float32 in another order: near ties fall the other way


@dataclass(frozen=True)
class Shape:
    """A layer, what is measured of it, and the targets that hold for it."""

    rows: int
    cols: int
    methods: tuple[str, ...] = PRUNING
    eager_rounds: int = 0
    most_s: float | None = None
    least_speedup: float | None = None


SHAPES = [
    Shape(4096, 4096, tuple(METHODS), eager_rounds=3, most_s=0.010, least_speedup=25.0),
    Shape(1024, 4096),
    Shape(14336, 4096),
    Shape(4096, 14336, eager_rounds=1, most_s=0.120),
]
SMALL = [Shape(96, 256, tuple(METHODS), eager_rounds=1), Shape(32, 384)]


def layer(rows: int, cols: int, device: torch.device, seed: int = 0) -> tuple[Tensor, Tensor]:
    """A weight [rows, cols] and the Hessian of inputs whose neighbours are correlated and whose scales differ."""
    generator = torch.Generator(device).manual_seed(seed)
    scales = torch.logspace(-1, 1, cols, device=device)[torch.randperm(cols, generator=generator, device=device)]
    hessian = torch.zeros(cols, cols, device=device)
    for _ in range(4):
        inputs = torch.randn(max(cols // 2, 1), cols, generator=generator, device=device) * scales
        inputs += 0.5 * inputs.roll(1, 1)
        hessian.addmm_(inputs.T, inputs)
    weight = torch.randn(rows, cols, generator=generator, device=device)
    return weight, hessian.div_(2 * cols)


def solver(weight: Tensor, hessian: Tensor, method: str, **rest: Any) -> Callable[[], LayerResult]:
    """Our solve; what a pipeline knows already, the output's energy, is given."""
    pattern, grid = METHODS[method]
    return partial(
        solve, weight, hessian, pattern, grid,
        damping=0.01, block_size=BLOCK, activation_order=False, output_energy=1.0, name=method, **rest,
    )  # fmt: skip


def eager(weight: Tensor, hessian: Tensor, method: str) -> Callable[[], tuple[Tensor, float]] | None:
    """The loop that people run, or None where there is none."""
    pattern, grid = METHODS[method]
    if grid is None:
        assert pattern is not None
        return lambda: eager_sparsegpt(weight, hessian, pattern)
    return (lambda: eager_gptq(weight, hessian, grid)) if pattern is None else None


def apart(result: LayerResult, weight: Tensor, hessian: Tensor, other: Tensor) -> dict[str, float]:
    """How far our error and zeros are from those of another solution."""
    delta = other - weight
    loss = float(((delta @ hessian) * delta).sum(dtype=torch.float64))
    zeros = (result.weight == 0) != (other == 0)
    return {"loss_difference": abs(result.loss - loss) / loss, "masks_differ": float(zeros.float().mean())}


def split_of_time(weight: Tensor, hessian: Tensor, method: str, rounds: int) -> dict[str, float]:
    """Seconds of the factor, and of all calls of the ops that select and sweep; the rest are products and copies."""
    pattern, grid = METHODS[method]
    rows, cols = weight.shape
    blocks = cols // BLOCK
    block, inverse = weight[:, :BLOCK].clone(), torch.eye(BLOCK, device=weight.device)
    scores = block.clone().view(1, -1)  # which the sweeps leave alone
    keep = {"keep": 2, "group": 4} if isinstance(pattern, NM) else {}

    def select() -> Tensor:
        return ops.select_smallest(scores, scores.numel() // 2, by_magnitude=True)

    prune = select().view(block.shape) if pattern is HALF else None

    def all_selections() -> None:
        for _ in range(blocks if pattern is HALF else 0):
            select()

    def all_sweeps() -> None:
        for _ in range(blocks):
            if grid is None:
                ops.sweep_block_(block, inverse, prune, **keep)
            else:
                ops.joint_sweep_block_(block, inverse, scale, zero, grid.bits, prune, **keep)

    if grid is not None:
        scale, zero = (part.view(rows, 1) for part in ops.search_grid(block, grid.bits))
    recipe = Recipe(pattern, grid, 0.01)
    parts = {
        "factor_s": lambda: factor_on_device(hessian, recipe),
        "select_s": all_selections,
        "sweep_s": all_sweeps,
    }
    return {name: seconds(part, weight.device, rounds) for name, part in parts.items()}


def floors(rows: int, cols: int) -> dict[str, float]:
    """What no solve of this kind can go below."""
    return {"flops": cols**3 / 3 + float(rows) * cols**2, "bytes": 4.0 * (2 * rows * cols + cols**2)}


def same_bits(one: LayerResult, other: LayerResult) -> bool:
    return torch.equal(one.weight, other.weight) and one.loss == other.loss


def measure(shape: Shape, method: str, given: tuple[Tensor, Tensor], rows: Rows, rounds: int) -> list[str]:
    """Add the rows of one layer and method. Returns what is wrong with the results."""
    weight, hessian = given
    wrong, device = [], rows.device
    plain = solver(weight, hessian, method)
    expected, loop = plain(), eager(weight, hessian, method) if shape.eager_rounds else None
    baseline_s, agreement = None, {}
    if loop is not None:
        baseline_s, (solved, _) = once(loop, device)
        agreement = apart(expected, weight, hessian, solved)
        if shape.eager_rounds > 1:
            baseline_s = seconds(loop, device, shape.eager_rounds)
    if agreement and (
        agreement["loss_difference"] > LOSS_TOLERANCE
        or (agreement["masks_differ"] > MASK_TOLERANCE and method in PRUNING)
    ):
        wrong.append(f"{shape.rows} x {shape.cols}, {method}: not as the eager loop, {agreement}")
    shared = split_of_time(weight, hessian, method, rounds)
    for form in ("plain", "captured", "tf32x3", "captured tf32x3"):
        notes: list[str] = []
        run = solver(weight, hessian, method, products="tf32x3" if "tf32x3" in form else "fp32")
        with captured_solves(notes.append) if "captured" in form else nullcontext():
            first = run()
            run()  # captures
            took = seconds(run, device, rounds)
            stable = same_bits(first, run())
        wrong += [f"{shape.rows} x {shape.cols}, {method}, {form}: {note}" for note in notes]
        if not stable or ("tf32x3" not in form and not same_bits(first, expected)):
            wrong.append(f"{shape.rows} x {shape.cols}, {method}, {form}: other bits in another run")
        loss = abs(first.loss - expected.loss) / expected.loss
        if loss > LOSS_TOLERANCE:
            wrong.append(f"{shape.rows} x {shape.cols}, {method}, {form}: loss is {loss:.2g} off that of plain")
        facts = {"form": form, "bit_stable": stable, "loss_to_plain": loss, **agreement}
        if form == "plain":
            facts |= shared
        rows.add(
            Row(
                "layer solve",
                f"{shape.rows} x {shape.cols}, {method}, {form}",
                took,
                None if baseline_s is None else "eager loop",
                baseline_s,
                **floors(shape.rows, shape.cols),
                most_s=shape.most_s,
                least_speedup=None if baseline_s is None else shape.least_speedup,
                facts=facts,
            )
        )
    return wrong


def against_cpu(device: torch.device) -> list[str]:
    """Whether a small layer is solved as on the CPU. Returns what is wrong."""
    wrong = []
    weight, hessian = layer(256, 640, torch.device("cpu"), seed=1)
    for method in METHODS:
        expected = solver(weight, hessian, method)()
        result = solver(weight.to(device), hessian.to(device), method)()
        loss = abs(result.loss - expected.loss) / expected.loss
        masks = float(((result.weight.cpu() == 0) != (expected.weight == 0)).float().mean())
        print(
            f"256 x 640, {method}: loss is {loss:.2g} off the CPU's, {100 * masks:.3g} % of the zeros differ",
            flush=True,
        )
        if loss > LOSS_TOLERANCE or masks > MASK_TOLERANCE:
            wrong.append(f"256 x 640, {method}: not as on the CPU")
    return wrong


def main() -> None:
    options = arguments(__doc__).parse_args()
    device = torch.device(options.device)
    rows = Rows(device, small=options.small, path=options.json)
    with torch.no_grad():
        rows.failed += against_cpu(device)
        for shape in SMALL if options.small else SHAPES:
            given = layer(shape.rows, shape.cols, device)
            rounds = 2 if options.small else 5 if shape.cols > 4096 else 10
            for method in shape.methods:
                with rows.case():
                    rows.failed += measure(shape, method, given, rows, rounds)
    rows.end()


if __name__ == "__main__":
    main()
