"""The truth of grids, codes and the joint sweep in float64 NumPy, one weight at a time; Python rounds half to even."""

import math

import numpy as np
from golden.sparsegpt import nm_mask


def level(weight, scale, zero, bits):
    """Steps from zero to the nearest level of the grid."""
    return round(min(max(weight / scale, -zero), 2**bits - 1 - zero))


def quantize(weight, scale, zero, bits):
    """Codes of each segment on its grid."""
    codes = np.zeros(weight.shape, dtype=np.uint8)
    for s, i in np.ndindex(weight.shape):
        codes[s, i] = level(float(weight[s, i]), float(scale[s]), int(zero[s]), bits) + int(zero[s])
    return codes


def dequantize(codes, scale, zero):
    """Weights of each segment's codes."""
    weight = np.zeros(codes.shape)
    for s, i in np.ndindex(codes.shape):
        weight[s, i] = (int(codes[s, i]) - int(zero[s])) * float(scale[s])
    return weight


def search_grid(weight, bits, symmetric, candidates):
    """Scale and zero of each segment: of the first range, from the widest, that has the least squared error."""
    top = 2**bits - 1
    scales, zeros = [], []
    for row in weight.tolist():
        low, high = min(0.0, *row), max(0.0, *row)
        if symmetric:
            high = max(high, -low)
            low = -high
        tried = []
        for candidate in range(candidates):
            shrink = 1 - 0.8 * candidate / candidates
            scale = (high - low) * shrink / top or 1.0
            zero = 2 ** (bits - 1) if symmetric else round(min(max(-low * shrink / scale, 0.0), top))
            error = math.fsum((level(w, scale, zero, bits) * scale - w) ** 2 for w in row)
            tried.append((error, candidate, scale, zero))
        _, _, scale, zero = min(tried)
        scales.append(scale)
        zeros.append(zero)
    return np.array(scales), np.array(zeros, dtype=np.uint8)


def joint_sweep_block(weight, factor, prune, scale, zero, bits, keep=0, group=0):
    """GPTQ's loop with SparseGPT's choice of what goes: (new weight, loss of each row, codes, mask)."""
    weight = np.array(weight, dtype=np.float64)
    rows, cols = weight.shape
    scale, zero = np.broadcast_to(scale, weight.shape), np.broadcast_to(zero, weight.shape)
    mask = np.zeros((rows, cols), dtype=bool) if prune is None else np.array(prune)
    loss, codes = np.zeros(rows), np.zeros((rows, cols), dtype=np.uint8)
    for row, j in np.ndindex(rows, cols):
        if prune is None and group and j % group == 0:
            scores = np.array([(weight[row, k] / factor[k, k]) ** 2 for k in range(j, j + group)])
            mask[row, j : j + group] = nm_mask(scores[None], keep, group)[0]
        steps = 0 if mask[row, j] else level(weight[row, j], scale[row, j], int(zero[row, j]), bits)
        error = (weight[row, j] - steps * scale[row, j]) / factor[j, j]
        for k in range(j + 1, cols):
            weight[row, k] -= error * factor[j, k]
        weight[row, j] = steps * scale[row, j]
        codes[row, j] = steps + int(zero[row, j])
        loss[row] += error**2
    return weight, loss, codes, mask
