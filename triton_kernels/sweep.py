"""sweep_block_ in Triton: one program sweeps a tile of rows that stays in registers."""

import torch
import triton
import triton.language as tl
from torch import Tensor

ROWS = 16


@triton.jit
def divide(a, b):
    """IEEE division: Triton's own of float32 is approximate and would drift through the feedback."""
    if a.dtype == tl.float32:
        a, b = tl.broadcast(a, b)
        return tl.math.div_rn(a, b)
    else:
        return a / b


@triton.jit
def choose_group(w, diagonal, c, begin, group, count):
    """The `count` least salient weights of the columns begin .. begin + group, by counting who goes before each."""
    score = divide(w, diagonal[None, :])
    score *= score
    before = tl.zeros_like(score).to(tl.int32)
    for other in range(begin, begin + group):
        rival = tl.sum(tl.where((c == other)[None, :], score, 0), axis=1)[:, None]
        equal = (rival == score) | ((rival != rival) & (score != score))
        first = (rival < score) | ((score != score) & (rival == rival)) | (equal & (other < c)[None, :])
        before += first.to(tl.int32)
    return ((c >= begin) & (c < begin + group))[None, :] & (before < count)


@triton.jit
def sweep_kernel(
    weight_ptr, factor_ptr, prune_ptr, loss_ptr, rows, cols, group, count, ROWS: tl.constexpr, COLS: tl.constexpr
):
    """Names as in the formula of fmcompress/_ops.py; without a mask, keep:group is chosen at each group's start."""
    r = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    c = tl.arange(0, COLS)
    place = r[:, None] * cols + c[None, :]
    inside = (r < rows)[:, None] & (c < cols)[None, :]
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
            own = (c == j)[None, :]  # registers have no indices: a column is the sum of a tile that is 0 elsewhere
            w_j = tl.sum(tl.where(own, w, 0), axis=1)
            goes = tl.sum(tl.where(own & prune, 1, 0), axis=1) == 1
            e = tl.where(goes, divide(w_j, tl.load(factor_ptr + j * (cols + 1))), 0)
            u = tl.load(factor_ptr + j * cols + c, mask=(c > j) & (c < cols), other=0)
            w = tl.where((c > j)[None, :], w - e[:, None] * u[None, :], w)
            w = tl.where(own & prune, 0, w)
            loss += e * e
    tl.store(weight_ptr + place, w, mask=inside)
    tl.store(loss_ptr + r, loss, mask=r < rows)


def sweep_block_(weight: Tensor, factor: Tensor, prune: Tensor | None, keep: int, group: int) -> Tensor:
    """See fmcompress.ops.sweep_block_."""
    rows, cols = weight.shape
    loss = weight.new_zeros(rows)
    if weight.numel() == 0:
        return loss
    step = group if prune is None else cols  # with a mask there is nothing to choose: one group
    flags = None if prune is None else prune.view(torch.uint8)
    padded = max(triton.next_power_of_2(cols), 16)
    with torch.cuda.device_of(weight):
        sweep_kernel[(triton.cdiv(rows, ROWS),)](
            weight, factor, flags, loss, rows, cols, step, group - keep, ROWS=ROWS, COLS=padded
        )
    return loss
