"""The truth of docs/wire-format.md, from the document alone: which blocks, which elements, which bits, and back."""

import numpy as np

from . import packing

HALF, ZERO = np.float32(0.5), np.float32(0)
WORD = (1 << 32) - 1


def stored(values, dtype):
    """The float32 values as a tensor of this dtype holds them, to nearest even."""
    values = np.asarray(values, dtype=np.float32)
    with np.errstate(over="ignore"):
        if dtype == "float16":
            return values.astype(np.float16).astype(np.float32)
    if dtype == "bfloat16":
        bits = values.view(np.uint32).astype(np.uint64)
        rounded = (bits + 0x7FFF + (bits >> 16 & 1)) >> 16 << 16
        return np.where(np.isnan(values), values, rounded.astype(np.uint32).view(np.float32))
    assert dtype == "float32"
    return values


# which blocks


def philox(key, counter):
    """The first word of Philox4x32-10."""
    (k0, k1), (c0, c1, c2, c3) = key, counter
    for _ in range(10):
        first, second = 0xD2511F53 * c0, 0xCD9E8D57 * c2
        c0, c1, c2, c3 = second >> 32 ^ c1 ^ k0, second & WORD, first >> 32 ^ c3 ^ k1, first & WORD
        k0, k1 = (k0 + 0x9E3779B9) & WORD, (k1 + 0xBB67AE85) & WORD
    return c0


def sampled_blocks(numel, layout):
    blocks = -(-numel // layout.block)
    chosen = []
    for j in range(layout.sampled):
        first, end = j * blocks // layout.sampled, (j + 1) * blocks // layout.sampled
        size = end - first
        epoch = layout.step // size
        r = philox((layout.seed & WORD, layout.seed >> 32), (j, layout.stream, epoch & WORD, epoch >> 32))
        chosen.append(first + ((r * size >> 32) + layout.step) % size)
    return chosen


# numbers


def bfloat16_below(value):
    """The bits of a positive float32, rounded down to bfloat16."""
    return int(np.float32(value).view(np.uint32)) >> 16


def bfloat16_above(value):
    """Rounded up, to the largest finite one at most."""
    return min(int(np.float32(value).view(np.uint32)) + 0xFFFF >> 16, 0x7F7F)


def bfloat16_nearest(value):
    """To nearest even, to the largest finite one at most."""
    return min(int(stored(value, "bfloat16").view(np.uint32)) >> 16, 0x7F7F)


def to_float(bfloat16):
    return np.uint32(bfloat16 << 16).view(np.float32)


def factor(dividend, divisor):
    """Their quotient, or 0 where that is not finite."""
    with np.errstate(over="ignore", divide="ignore"):
        quotient = np.float32(dividend) / divisor
    return quotient if np.isfinite(quotient) else ZERO


def mean_magnitude(m):
    """The bits of the scale of 1 bit: a mean of integers, so that the order of the sum is no matter."""
    hi = m.max()
    u = factor(65535, hi)
    t = sum(int(np.floor(value * u + HALF)) for value in m)
    return bfloat16_nearest(np.float32(t) / np.float32(65535 * len(m)) * hi)


def encode_group(values, bits, symmetric):
    """(codes, bits of the scales) of the kept elements of one group."""
    m, negative = np.abs(values), values < 0
    lo, hi = bfloat16_below(m.min()), bfloat16_above(m.max())
    if bits == 1:
        return [int(sign) for sign in negative], [mean_magnitude(m)]
    largest, middle = 2 ** (bits - 1) - 1, 2 ** (bits - 1)
    base = ZERO if symmetric else to_float(lo)
    by = factor(largest, to_float(hi) - base)
    with np.errstate(over="ignore"):
        q = [min(int(np.floor((value - base) * by + HALF)), largest) for value in m]
    if symmetric:
        return [middle + (-one if sign else one) for one, sign in zip(q, negative, strict=True)], [hi]
    return [one + (middle if sign else 0) for one, sign in zip(q, negative, strict=True)], [lo, hi]


def decode_code(code, scales, bits, symmetric):
    if bits == 1:
        return -scales[0] if code else scales[0]
    largest, middle = np.float32(2 ** (bits - 1) - 1), 2 ** (bits - 1)
    if symmetric:
        return np.float32(code - middle) * (scales[0] / largest)
    lo, hi = scales
    magnitude = lo + np.float32(code % middle) * ((hi - lo) / largest)
    return -magnitude if code >= middle else magnitude


# bytes


def header(numel, layout, flags):
    fields = [(0x47434D46, 4), (1, 1), (flags, 1), (layout.bits, 1), (0 if layout.symmetric else 1, 1)]
    fields += [(numel, 8), (layout.seed, 8), (layout.step, 8), (layout.stream, 4), (layout.block, 4)]
    fields += [(layout.sampled, 4), (layout.kept, 4), (layout.group, 4), (0, 8), (0, 4)]
    return b"".join(value.to_bytes(size, "little") for value, size in fields)


def checksum(payload):
    """Of the payload, whatever stands in the place of its checksum."""
    words, total = np.frombuffer(bytes(payload), dtype="<u4"), 0
    for i, word in enumerate(words):
        z = (i + 1) * 0x9E3779B97F4A7C15 % 2**64
        z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        total += (0 if i == 15 else int(word)) * (z ^ z >> 31)
    return total % 2**64 >> 32


def to_words(data):
    return data + bytes(-len(data) % 4)


def block_of(values, block, layout):
    """The elements of a block, filled up with zeros."""
    part = values[block * layout.block : (block + 1) * layout.block]
    return np.concatenate([part, np.zeros(layout.block - len(part), dtype=np.float32)])


def encode_block(values, layout):
    order = sorted(range(layout.block), key=lambda i: (-abs(values[i]), i))
    mask = np.zeros((1, layout.block), dtype=bool)
    mask[0, order[: layout.kept]] = True
    bitmask, kept = packing.pack_bitmask(values[None], mask)
    data = b"" if layout.kept == layout.block else bitmask.tobytes()
    if layout.bits == 32:
        return data + kept.astype("<f4").tobytes()
    codes, scales = [], []
    for start in range(0, layout.kept, layout.group):
        ours, theirs = encode_group(kept[start : start + layout.group], layout.bits, layout.symmetric)
        codes, scales = codes + ours, scales + theirs
    data += packing.pack_codes(np.array([codes]), layout.bits).tobytes()
    return data + to_words(b"".join(scale.to_bytes(2, "little") for scale in scales))


def decode_block(data, layout):
    """(values, which of them are kept, the bytes after the block)."""
    mask = np.ones(layout.block, dtype=bool)
    if layout.kept < layout.block:
        bitmask, data = np.frombuffer(data[: layout.block // 8], dtype=np.uint8), data[layout.block // 8 :]
        mask = packing.unpack_bitmask(bitmask[None], np.ones(layout.kept, dtype=bool), layout.block)[0]
    assert mask.sum() == layout.kept
    size = -(-layout.kept * layout.bits // 32) * 4
    code_bytes, data = data[:size], data[size:]
    values = np.zeros(layout.block, dtype=np.float32)
    if layout.bits == 32:
        values[mask] = np.frombuffer(code_bytes, dtype="<f4")
        return values, mask, data
    codes = packing.unpack_codes(np.frombuffer(code_bytes, dtype=np.uint8)[None], layout.bits, layout.kept)[0]
    each = 1 if layout.symmetric or layout.bits == 1 else 2
    count = -(-layout.kept // layout.group) * each
    scales = [to_float(int(bits)) for bits in np.frombuffer(data[: 2 * count], dtype="<u2")]
    groups = [scales[i : i + each] for i in range(0, count, each)]
    values[mask] = [
        decode_code(int(code), groups[i // layout.group], layout.bits, layout.symmetric) for i, code in enumerate(codes)
    ]
    return values, mask, data[-(-2 * count // 4) * 4 :]


def compress(values, layout, finite=True):
    """(payload, what it decodes to) of float32 values."""
    head, bodies = header(len(values), layout, 0 if finite else 1), []
    for block in sampled_blocks(len(values), layout):
        body = encode_block(block_of(values if finite else np.zeros_like(values), block, layout), layout)
        bodies.append(body if finite else bytes(len(body)))
    payload = head + b"".join(bodies)
    payload = payload[:60] + checksum(payload).to_bytes(4, "little") + payload[64:]
    return np.frombuffer(payload, dtype=np.uint8), decode(payload, len(values), layout)[0]


def decode(payload, numel, layout):
    """(what the payload decodes to, which elements are kept)."""
    if payload[5] & 1:
        return np.full(numel, np.nan, dtype=np.float32), np.ones(numel, dtype=bool)
    blocks = -(-numel // layout.block)
    values, kept = np.zeros(blocks * layout.block, dtype=np.float32), np.zeros(blocks * layout.block, dtype=bool)
    data = bytes(payload[64:])
    for block in sampled_blocks(numel, layout):
        place = slice(block * layout.block, (block + 1) * layout.block)
        values[place], kept[place], data = decode_block(data, layout)
    assert not data
    return values[:numel], kept[:numel]


def sampled_elements(numel, layout):
    place = np.zeros(numel, dtype=bool)
    for block in sampled_blocks(numel, layout):
        place[block * layout.block : (block + 1) * layout.block] = True
    return place
