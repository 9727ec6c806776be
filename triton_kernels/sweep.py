"""sweep_block_ and joint_sweep_block_ in Triton: one program sweeps a tile of rows that stays in registers."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .arithmetic import code_of, divide, nearest_level, value_of

ROWS = 16


@triton.jit
def choose_group(w, diagonal, c, begin, group, count):
    """The `count` least salient weights of the columns begin .. begin + group, by counting who goes before each."""
    score = divide(w, diagonal[None, :])
    score *= score
    before = tl.zeros_like(score).to(tl.int32)
    for other in range(begin, begin + group):
        rival = column(score, c, other)[:, None]
        equal = (rival == score) | ((rival != rival) & (score != score))
        first = (rival < score) | ((score != score) & (rival == rival)) | (equal & (other < c)[None, :])
        before += first.to(tl.int32)
    return ((c >= begin) & (c < begin + group))[None, :] & (before < count)


@triton.jit
def program_rows(factor_ptr, rows, cols, ROWS: tl.constexpr):
    """The program's rows among those of all matrices, which of them there are, and the factor of their matrix."""
    tiles = tl.cdiv(rows, ROWS)  # of a matrix; all along one axis of the grid, since another would end at 65535
    matrix = (tl.program_id(0) // tiles).to(tl.int64)
    r = (tl.program_id(0) % tiles).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    return matrix * rows + r, r < rows, factor_ptr + matrix * cols * cols


@triton.jit
def column(tile, c, j):
    """Registers have no indices: a column is the sum of a tile that is 0 elsewhere."""
    return tl.sum(tl.where((c == j)[None, :], tile, 0), axis=1)


@triton.jit
def absorb(w, e, factor_ptr, c, j, cols):
    """The tile after the columns behind j have absorbed its error."""
    u = tl.load(factor_ptr + j * cols + c, mask=(c > j) & (c < cols), other=0)
    return tl.where((c > j)[None, :], w - e[:, None] * u[None, :], w)


@triton.jit
def sweep_kernel(
    weight_ptr, factor_ptr, prune_ptr, loss_ptr, rows, cols, group, count, ROWS: tl.constexpr, COLS: tl.constexpr
):
    """Names as in the formula in _ops/pruning.py; without a mask, keep:group is chosen at each group's start."""
    r, present, factor_ptr = program_rows(factor_ptr, rows, cols, ROWS)
    c = tl.arange(0, COLS)
    place = r[:, None] * cols + c[None, :]
    inside = present[:, None] & (c < cols)[None, :]
    w = tl.load(weight_ptr + place, mask=inside, other=0)
    diagonal = tl.load(factor_ptr + c * (cols + 1), mask=c < cols, other=1)
    loss = tl.zeros([ROWS], w.dtype)
    prune = place < 0  # none yet
    if prune_ptr is not None:
        prune = tl.load(prune_ptr + place, mask=inside, other=0) != 0
    for begin in range(0, cols, group):
        if prune_ptr is None:
            prune = prune | choose_group(w, diagonal, c, begin, group, count)
        for j in range(begin, begin + group):
            goes = column(prune.to(tl.int32), c, j) == 1
            e = tl.where(goes, divide(column(w, c, j), tl.load(factor_ptr + j * (cols + 1))), 0)
            w = absorb(w, e, factor_ptr, c, j, cols)
            w = tl.where((c == j)[None, :] & prune, 0, w)
            loss += e * e
    tl.store(weight_ptr + place, w, mask=inside)
    tl.store(loss_ptr + r, loss, mask=present)


@triton.jit
def joint_sweep_kernel(
    weight_ptr, factor_ptr, prune_ptr, scale_ptr, zero_ptr, loss_ptr, codes_ptr, rows, cols, grids, group, count,
    TOP: tl.constexpr, CHOOSES: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Names as in the formula in _ops/quantization.py; `grids` of a row are 1 or its columns.

    A column that is done holds its levels, which spares a second tile for the codes.
    """
    r, present, factor_ptr = program_rows(factor_ptr, rows, cols, ROWS)
    c = tl.arange(0, COLS)
    place = r[:, None] * cols + c[None, :]
    inside = present[:, None] & (c < cols)[None, :]
    w = tl.load(weight_ptr + place, mask=inside, other=0)
    diagonal = tl.load(factor_ptr + c * (cols + 1), mask=c < cols, other=1)
    loss = tl.zeros([ROWS], w.dtype)
    prune = place < 0  # none yet
    if prune_ptr is not None:
        prune = tl.load(prune_ptr + place, mask=inside, other=0) != 0
    for begin in range(0, cols, group):
        if CHOOSES:
            prune = prune | choose_group(w, diagonal, c, begin, group, count)
        for j in range(begin, begin + group):
            grid = r * grids + tl.minimum(j, grids - 1)
            scale = tl.load(scale_ptr + grid, mask=present, other=1)
            zero = tl.load(zero_ptr + grid, mask=present, other=0).to(w.dtype)
            w_j = column(w, c, j)
            goes = column(prune.to(tl.int32), c, j) == 1
            level = tl.where(goes, 0, nearest_level(w_j, scale, zero, TOP))
            e = divide(w_j - value_of(level, scale), tl.load(factor_ptr + j * (cols + 1)))
            w = absorb(w, e, factor_ptr, c, j, cols)
            w = tl.where((c == j)[None, :], level[:, None], w)
            loss += e * e
    grid = r[:, None] * grids + tl.minimum(c, grids - 1)[None, :]
    scale = tl.load(scale_ptr + grid, mask=inside, other=1)
    zero = tl.load(zero_ptr + grid, mask=inside, other=0).to(w.dtype)
    tl.store(weight_ptr + place, value_of(w, scale), mask=inside)
    tl.store(codes_ptr + place, code_of(w, zero), mask=inside)
    tl.store(loss_ptr + r, loss, mask=present)


def _sweep(kernel, weight: Tensor, rest: tuple[Tensor | None, ...], numbers: tuple[int, ...], **meta: int) -> None:
    rows, cols = weight.shape[-2:]
    tiles = weight.shape[:-2].numel() * triton.cdiv(rows, ROWS)
    padded = max(triton.next_power_of_2(cols), 16)
    with torch.cuda.device_of(weight):
        kernel[(tiles,)](weight, *rest, rows, cols, *numbers, ROWS=ROWS, COLS=padded, **meta)


def sweep_block_(weight: Tensor, factor: Tensor, prune: Tensor | None, keep: int, group: int) -> Tensor:
    """See fmcompress.ops.sweep_block_."""
    loss = weight.new_zeros(weight.shape[:-1])
    if weight.numel() == 0:
        return loss
    flags = None if prune is None else prune.view(torch.uint8)
    step = group if prune is None else weight.shape[-1]  # with a mask there is nothing to choose: one group
    _sweep(sweep_kernel, weight, (factor, flags, loss), (step, group - keep))
    return loss


def joint_sweep_block_(
    weight: Tensor, factor: Tensor, prune: Tensor | None, scale: Tensor, zero: Tensor, bits: int, keep: int, group: int
) -> tuple[Tensor, Tensor]:
    """See fmcompress.ops.joint_sweep_block_."""
    loss, codes = weight.new_zeros(weight.shape[:-1]), torch.empty_like(weight, dtype=torch.uint8)
    if weight.numel() == 0:
        return loss, codes
    flags = None if prune is None else prune.view(torch.uint8)
    chooses = prune is None and group > 0
    numbers = (scale.shape[-1], group if chooses else weight.shape[-1], group - keep)
    tensors = (factor, flags, scale, zero, loss, codes)
    _sweep(joint_sweep_kernel, weight, tensors, numbers, TOP=2**bits - 1, CHOOSES=chooses)
    return loss, codes
