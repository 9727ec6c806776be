"""The truth of rounding in float64 NumPy: the column loop of GPTQ (arXiv 2210.17323), which may also prune as it goes."""

import numpy as np

from .sparsegpt import damped, nm_mask, select_smallest, zeros_of


def search_grid(weights, bits, symmetric=True, candidates=1):
    """Scale and zero-point of one group: the clipped range of least squared error, the widest of equals."""
    top = 2**bits - 1
    low, high = min(0.0, weights.min(initial=0.0)), max(0.0, weights.max(initial=0.0))
    if symmetric:
        low, high = min(low, -high), max(high, -low)
    best = None
    for candidate in range(candidates):
        shrink = 1 - 0.8 * candidate / candidates
        scale = (high - low) * shrink / top or 1.0
        zero = 2 ** (bits - 1) if symmetric else int(np.rint(min(max(-low * shrink / scale, 0), top)))
        difference = (round_to(weights, scale, zero, bits) - zero) * scale - weights
        if best is None or difference @ difference < best[0]:
            best = difference @ difference, scale, zero
    return best[1:]


def round_to(weights, scale, zero, bits, follow=None):
    """Codes of the nearest levels, half to even.

    follow  codes to take over where they are as near as any, but for the last bits. On a symmetric grid that is no
            rare case: the lowest weight of a group lies in the middle between two levels
    """
    exact = np.clip(weights / scale, -zero, 2**bits - 1 - zero)
    codes = np.rint(exact) + zero
    if follow is None:
        return codes
    return np.where(np.abs(follow - zero - exact) < 0.5 + 1e-6, follow, codes)


def rtn(weight, bits, group_size=None, symmetric=True, candidates=1, follow=None):
    """Every weight to its nearest level: (codes, scale, zero)."""
    rows, cols = weight.shape
    width = min(group_size or cols, cols)
    scale, zero = np.empty((rows, -(-cols // width))), np.empty((rows, -(-cols // width)))
    codes = np.empty((rows, cols))
    for row in range(rows):
        for group, begin in enumerate(range(0, cols, width)):
            here = slice(begin, begin + width)
            step, offset = search_grid(weight[row, here], bits, symmetric, candidates)
            near = None if follow is None else follow[row, here]
            codes[row, here] = round_to(weight[row, here], step, offset, bits, near)
            scale[row, group], zero[row, group] = step, offset
    return codes, scale, zero


def gptq(
    weight, hessian, damping, bits, group_size=None, symmetric=True, candidates=1, ordered=False,
    sparsity=None, scope="block", nm=None, block_size=128, follow=None, keep_zeros=False,
):  # fmt: skip
    """Round column by column, each error absorbed by the columns that follow: (weight, codes, scale, zero, mask, loss).

    Groups of up to 128 columns get their scale when the loop reaches them, over the weights that will be kept; others,
    and all of them where columns go by falling Hessian diagonal (`ordered`), have the scales of the original weights.
    With `keep_zeros` the mask is where the weight is 0. `loss` is the damped one; `follow` as in round_to.
    """
    weight, hessian = np.array(weight, dtype=np.float64), np.asarray(hessian, dtype=np.float64)
    rows, cols = weight.shape
    width = min(group_size or cols, cols)
    refreshed = not ordered and group_size is not None and group_size <= 128
    _, scale, zero = rtn(weight, bits, group_size, symmetric, candidates)
    order = np.argsort(-np.diagonal(hessian), kind="stable") if ordered else np.arange(cols)
    weight, groups = weight[:, order], order // width
    factor = np.linalg.cholesky(np.linalg.inv(damped(hessian, damping)[order][:, order])).T
    diagonal = np.diagonal(factor)
    codes, mask, loss = np.empty((rows, cols)), np.zeros((rows, cols), dtype=bool), 0.0
    if scope == "layer" and sparsity is not None:
        count = zeros_of(sparsity, rows * cols)
        mask = select_smallest(((weight / diagonal) ** 2).reshape(1, -1), count).reshape(rows, cols)
    if keep_zeros:
        mask = weight == 0
    for j in range(cols):
        if sparsity is not None and scope != "layer" and j % block_size == 0:
            block = slice(j, min(cols, j + block_size))
            scores = (weight[:, block] / diagonal[block]) ** 2
            if scope == "block":
                count = zeros_of(sparsity, rows * block.stop) - zeros_of(sparsity, rows * j)
                mask[:, block] = select_smallest(scores.reshape(1, -1), count).reshape(scores.shape)
            else:
                mask[:, block] = select_smallest(scores, zeros_of(sparsity, block.stop) - zeros_of(sparsity, j))
        if refreshed and j % width == 0:
            here = slice(j, min(cols, j + width))
            doomed = mask[:, here]
            if nm is not None:  # as far as one can know before the loop
                doomed = nm_mask((weight[:, here] / diagonal[here]) ** 2, *nm)
            for row, kept in enumerate(np.where(doomed, 0.0, weight[:, here])):
                scale[row, j // width], zero[row, j // width] = search_grid(kept, bits, symmetric, candidates)
        if nm is not None and j % nm[1] == 0:
            members = slice(j, j + nm[1])
            mask[:, members] = nm_mask((weight[:, members] / diagonal[members]) ** 2, *nm)
        step, offset = scale[:, groups[j]], zero[:, groups[j]]
        near = None if follow is None else follow[:, order[j]]
        codes[:, j] = np.where(mask[:, j], offset, round_to(weight[:, j], step, offset, bits, near))
        solved = (codes[:, j] - offset) * step
        error = (weight[:, j] - solved) / diagonal[j]
        weight[:, j + 1 :] -= error[:, None] * factor[j, j + 1 :]
        weight[:, j] = solved
        loss += float(error @ error)
    back = np.argsort(order)
    return weight[:, back], codes[:, back], scale, zero, mask[:, back], loss
