"""Swap moves: a pruned weight comes back and a kept one goes, wherever that lowers the layer's error (the idea of
DSnoT, Zhang et al. 2024, arXiv 2310.08915, with the exact change of the error instead of its heuristics)."""

import torch
from torch import Tensor

from ..errors import ConfigError
from ..layerwise import (
    NM,
    Clock,
    LayerResult,
    Pattern,
    check_layer,
    count_zeros,
    finished,
    quadratic_form,
)

LEAST_GAIN = 1e-6  # of a row's error: smaller ones are rounding


@torch.no_grad()
def swap(
    weight: Tensor, pruned: Tensor, hessian: Tensor, pattern: Pattern | None, *, steps: int = 100, name: str = "layer"
) -> LayerResult:
    """Exchange pruned weights for kept ones, at most one pair of each row a step.

    weight   [rows, cols] the original, any float dtype
    pruned   [rows, cols] what a method has made of it; best after a refit, whose gradient leaves only swaps to gain by
    hessian  [cols, cols] sum or mean of x x^T over the inputs x
    pattern  of NM a pair lies in one group; otherwise every row keeps as many weights as it has
    steps    at most, of some passes over [rows, cols] each; it ends when no row gains
    returns  LayerResult, the weight in the dtype of `pruned`, in float32 or, where all three are, float64

    With D = pruned - weight and G = D H, putting p at its best value where q is removed changes a row's error by
    w_q^2 H_qq - 2 w_q G_q - (G_p - w_q H_pq)^2 / H_pp: p is the one of a group that would gain most alone, q the best
    for it, and of all groups of a row the best pair is exchanged.
    The other weights stay, so a refit should follow. The error never rises. Raises ConfigError for shapes that do not
    fit, CalibrationError for non-finite input.
    """
    check_layer(weight, hessian, pattern, name)
    check_layer(pruned, None, None, name)
    if pruned.shape != weight.shape:
        raise ConfigError(f"pruned: expected {list(weight.shape)} as the weight, got {list(pruned.shape)}.")
    if steps < 0:
        raise ConfigError(f"swap: expected at least 0 steps, got {steps}.")
    clock = Clock()
    double = weight.dtype == pruned.dtype == hessian.dtype == torch.float64
    dtype = torch.float64 if double else torch.float32
    original, hessian = weight.to(dtype), hessian.to(dtype)
    solved = pruned.to(dtype, copy=True)
    group = pattern.group if isinstance(pattern, NM) else weight.shape[1]
    if solved.numel():
        _swap_(solved, (solved - original) @ hessian, hessian, group, steps)
    result = finished(solved, pruned.dtype, name)
    clock.lap("swap")
    loss, energy = (quadratic_form(form, hessian) for form in (result.to(dtype) - original, original))
    dead = int((hessian.diagonal() <= 0).sum())
    return LayerResult(result, loss, loss / (energy or 1.0), count_zeros(result), 0.0, dead, seconds=clock.laps)


def _swap_(solved: Tensor, gradient: Tensor, hessian: Tensor, group: int, steps: int) -> None:
    """Swap in place, within groups of neighbours; the gradient (solved - original) H follows."""
    rows, cols = solved.shape
    diagonal = hessian.diagonal().clamp(min=0)
    inverse = torch.where(diagonal > 0, 1 / diagonal, 0.0)
    first = torch.arange(0, cols, group, device=solved.device)  # of each group
    within = hessian.view(cols // group, group, cols // group, group).diagonal(dim1=0, dim2=2).permute(2, 0, 1)
    least = LEAST_GAIN * (gradient.square() * inverse).sum(1)
    each = torch.arange(rows, device=solved.device)
    for _ in range(steps):
        value, slope = (matrix.view(rows, -1, group) for matrix in (solved, gradient))
        gain = (gradient.square() * inverse).view(value.shape).masked_fill(value != 0, -1.0)
        p = gain.argmax(2, keepdim=True)
        # H_pq: of a whole row by rows of H, of small groups by their own blocks
        coupling = within[0][p[:, 0, 0]][:, None] if group == cols else _rows_of(within, p)
        back = slope.gather(2, p) - value * coupling
        change = value.square() * diagonal.view(-1, group) - 2 * value * slope
        change -= back.square() * inverse[first[:, None] + p.squeeze(2)[..., None]]
        change = change.masked_fill((value == 0) | (gain.gather(2, p) < 0), torch.inf).view(rows, cols)
        q = change.argmin(1)
        better = change[each, q] < -least
        if not better.any():
            return
        chosen, q = each[better], q[better]
        p = (first + p.squeeze(2))[chosen, q // group]
        back = back.reshape(rows, cols)[chosen, q] * inverse[p]
        removed = solved[chosen, q]
        solved[chosen, q] = 0.0
        solved[chosen, p] = -back
        gradient[chosen] -= back[:, None] * hessian[p] + removed[:, None] * hessian[q]


def _rows_of(blocks: Tensor, index: Tensor) -> Tensor:
    """blocks [groups, group, group], index [rows, groups, 1] -> [rows, groups, group]"""
    numbers = torch.arange(len(blocks), device=blocks.device)
    return blocks[numbers, index.squeeze(2)]
