"""The truth of CocktailSGD's ops; tensors are float32 arrays that hold what their dtype can."""

import numpy as np

from .cocktail import ZERO, compress, decode, sampled_elements, stored


def compress_gradient(gradient, residual, scale, layout, dtype="float32"):
    """(payload, new residual)."""
    with np.errstate(over="ignore", invalid="ignore"):
        s = gradient * np.float32(scale)
        a = s if residual is None else s + residual
        if not np.isfinite(s).all():
            return compress(a, layout, finite=False)[0], residual
        payload, decoded = compress(a, layout)
        return payload, None if residual is None else stored(a - decoded, dtype)


def compress_delta(local, shared, layout, dtype="float32"):
    """(payload, new local)."""
    place = sampled_elements(len(local), layout)
    with np.errstate(over="ignore", invalid="ignore"):
        a = np.where(place, local - shared, ZERO)
    if not np.isfinite(a).all():
        return compress(a, layout, finite=False)[0], local
    payload, decoded = compress(a, layout)
    return payload, np.where(place, stored(local - decoded, dtype), local)


def mean(payloads, numel, layout):
    total = np.zeros(numel, dtype=np.float32)
    for payload in payloads:
        total = total + decode(payload, numel, layout)[0]
    return total / np.float32(len(payloads))


def compress_mean(payloads, residual, numel, layout, dtype="float32"):
    """(payload, new residual)."""
    average = mean(payloads, numel, layout)
    a = np.where(sampled_elements(numel, layout), average if residual is None else average + residual, ZERO)
    if any(payload[5] & 1 for payload in payloads):
        return compress(a, layout, finite=False)[0], residual
    payload, decoded = compress(a, layout)
    place = sampled_elements(numel, layout)
    return payload, None if residual is None else np.where(place, stored(a - decoded, dtype), residual)


def add_payload(payload, out, scale, layout, dtype="float32"):
    values, kept = decode(payload, len(out), layout)
    if payload[5] & 1:
        return values
    return np.where(kept, stored(out + np.float32(scale) * values, dtype), out)
