"""The part of the layer solve that never waits for a GPU: factor, sweep and measure, all numbers left on the device."""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from .cholesky import factor_blocks
from .damping import damped_diagonal
from .grid import Grid, QuantizedWeight
from .patterns import Pattern
from .products import Products
from .result import row_forms
from .scales import Scales
from .sweeper import Sweeper


@dataclass(frozen=True)
class Recipe:
    """What is done to a layer, whatever the layer: with its shapes and dtypes, all that decides the launches.

    See solve() for the fields; energy is whether tr(W H W^T) is computed, too.
    """

    pattern: Pattern | None
    grid: Grid | None
    damping: float
    block_size: int = 128
    activation_order: bool = False
    keep_zeros: bool = False
    products: Products = "fp32"
    energy: bool = False


class Factored(NamedTuple):
    """A damped Hessian as R R^T, on its device; all with a batch in front where the Hessian has one.

    upper     [cols, cols], R
    inverses  [blocks, n, n], the inverses of its diagonal blocks, or None
    dead      [cols] bool, inputs that never fired
    added     [] what was added to each live diagonal entry
    failed    [] whether it is not positive definite; the rest is then unspecified
    """

    upper: Tensor
    inverses: Tensor | None
    dead: Tensor
    added: Tensor
    failed: Tensor


class Numbers(NamedTuple):
    """What a solved layer is judged by, as floats.

    damped   the damped loss
    squares  sum of squares of the changes in live columns
    added    what the damping added to each live diagonal entry
    dead     columns that never fired
    zeros    of the solved weight
    failed   1.0 where the Hessian is not positive definite
    solved   sum of the solved weight, finite only if all of it is
    energy   tr(W H W^T), 0.0 where nobody asked for it
    given    sum of the weight and the Hessian that were given, finite only if all of them are
    """

    damped: float
    squares: float
    added: float
    dead: float
    zeros: float
    failed: float
    solved: float
    energy: float = 0.0
    given: float = 0.0


class Outcome(NamedTuple):
    """A layer, or a batch of layers, after the sweep, on its device.

    weight     like the given one, without -0.0
    numbers    [fields of Numbers] or [batch, fields] float64
    quantized  where there is a grid
    """

    weight: Tensor
    numbers: Tensor
    quantized: QuantizedWeight | None


def solve_core(weight: Tensor, hessian: Tensor, recipe: Recipe) -> Outcome:
    """Factor, sweep and measure, without a host sync: on a GPU a CUDA graph can hold all of it.

    weight   [rows, cols] or [batch, rows, cols], any float dtype
    hessian  [cols, cols] or [batch, cols, cols], float32, or float64 where the weight is, too
    Nothing is looked at: numbers that are not finite, and a Hessian that is not positive definite, show in the
    outcome's numbers. A batch has no activation order.
    """
    energy = row_forms(weight.to(hessian.dtype), hessian).sum(-1) if recipe.energy else None
    order = activation_order(hessian) if recipe.activation_order else None
    ordered = hessian if order is None else hessian[order][:, order]
    solved, numbers, quantized = sweep_layer(weight, order, factor_on_device(ordered, recipe), recipe)
    given = weight.sum((-2, -1)).double() + hessian.sum((-2, -1)).double()
    numbers += [torch.zeros_like(given) if energy is None else energy, given]
    return Outcome(solved, torch.stack([number.double() for number in numbers], -1), quantized)


def activation_order(hessian: Tensor) -> Tensor:
    """[cols] int64, the columns by falling diagonal of a Hessian [cols, cols]."""
    return torch.argsort(hessian.diagonal(), descending=True, stable=True)


def factor_on_device(hessian: Tensor, recipe: Recipe) -> Factored:
    """Factor with the damping as it is asked for, and say on the device whether that has sufficed."""
    diagonal, dead, added = damped_diagonal(hessian, recipe.damping)
    upper, inverses, failed = factor_blocks(hessian, diagonal, recipe.products)
    return Factored(upper, inverses, dead, added, failed)


def sweep_layer(
    weight: Tensor, order: Tensor | None, factor: Factored, recipe: Recipe
) -> tuple[Tensor, list[Tensor], QuantizedWeight | None]:
    """Sweep a layer whose Hessian is factored, and measure.

    order    [cols] int64, in which the columns are swept, and in which the factor is; None from left to right
    returns  the solved weight, all but the last two of Numbers, each [] or [batch], and codes and scales
    """
    ordered = weight if order is None else weight[:, order]
    scales = None if recipe.grid is None else Scales(weight, recipe.grid, factor.upper.dtype, order)
    sweeper = Sweeper(
        ordered,
        factor.upper,
        recipe.pattern,
        scales,
        recipe.block_size,
        ordered == 0 if recipe.keep_zeros else None,
        inverses=factor.inverses,
        products=recipe.products,
    )
    sweeper.run()
    solved = sweeper.solved
    if order is not None:
        solved = torch.empty_like(solved)
        solved[:, order] = sweeper.solved
    solved.add_(0.0)  # -0.0 becomes 0.0
    numbers = [
        sweeper.loss.sum(-1),
        _live_squares(sweeper.delta, factor.dead),
        factor.added,
        factor.dead.sum(-1),
        _zeros(solved),
        factor.failed,
        solved.sum((-2, -1)),
    ]
    return solved, numbers, None if scales is None else scales.finished()


def _live_squares(delta: Tensor, dead: Tensor) -> Tensor:
    """Sum of squares over the columns that are not dead; `delta` is not needed afterwards and loses the dead ones."""
    if delta.device.type != "cpu" or dead.any():  # to look costs a CPU nothing, and mostly there are none
        delta.masked_fill_(dead.unsqueeze(-2), 0.0)
    return torch.linalg.vector_norm(delta, dim=-1).double().square().sum(-1)


def _zeros(solved: Tensor) -> Tensor:
    """How many entries are exactly zero, by way of a bool tensor, as in count_zeros()."""
    kept = solved != 0
    count = torch.count_nonzero(kept) if kept.dim() == 2 else kept.flatten(1).sum(1)
    return solved.shape[-2] * solved.shape[-1] - count
