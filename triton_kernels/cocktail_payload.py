"""A sampled block written to a payload and read from it, by one program that holds the block in registers.

What is kept of it goes through memory to change places; a barrier between writing and reading it is enough, for no
other program has a part in it.
"""

import triton
import triton.language as tl

from .cocktail_arithmetic import (
    INFINITY,
    decode,
    encode,
    float_of,
    key_of,
    largest,
    mean_scale,
    up_to_scale,
    weighted,
)


@triton.jit
def put_mask(body_ptr, mask, BLOCK: tl.constexpr):
    bit = tl.reshape(mask.to(tl.uint32), [BLOCK // 32, 32]) << tl.arange(0, 32)[None, :].to(tl.uint32)
    tl.store(body_ptr + tl.arange(0, BLOCK // 32), tl.sum(bit, axis=1).to(tl.int32, bitcast=True))


@triton.jit
def put_scales(
    scales_ptr, moved_ptr, kept, group,
    BITS: tl.constexpr, SYMMETRIC: tl.constexpr, GROUP: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """The scales of all groups from the magnitudes, as many groups at once as make a block."""
    # of a group; what a function returns is no constant in Triton 3.6
    SCALES: tl.constexpr = 1 if SYMMETRIC or BITS == 1 else 2
    GROUPS: tl.constexpr = BLOCK // GROUP if BLOCK // GROUP > 2 else 2
    groups = (kept + group - 1) // group
    for begin in range(0, groups, GROUPS):
        g = begin + tl.arange(0, GROUPS)
        t = tl.arange(0, GROUP)
        slot = g[:, None] * group + t[None, :]
        inside = (t < group)[None, :] & (slot < kept)
        key = tl.load(moved_ptr + slot, mask=inside, other=0)
        high = tl.max(key, axis=1)
        if BITS == 1:
            scale = mean_scale(key, high, tl.minimum(kept - g * group, group))
        else:
            scale = up_to_scale(high)
        if SCALES == 2:
            low = tl.min(tl.where(inside, key, INFINITY), axis=1) >> 16
            low = tl.where(high > INFINITY, 0x7FC0, low)  # what has a NaN decodes to NaN
            tl.store(scales_ptr + g, low | (scale << 16), mask=g < groups)
        else:
            halves = tl.reshape(tl.where(g < groups, scale, 0), [GROUPS // 2, 2])
            word = tl.sum(halves << (tl.arange(0, 2) * 16)[None, :], axis=1)
            index = begin // 2 + tl.arange(0, GROUPS // 2)
            tl.store(scales_ptr + index, word, mask=index * 2 < groups)


@triton.jit
def put_codes(codes_ptr, moved_ptr, kept, BITS: tl.constexpr, BLOCK: tl.constexpr):
    """Each word adds up the codes, at most REACH, that lie in it, wholly or in part."""
    REACH: tl.constexpr = 32 if BITS == 1 else 16 if BITS < 4 else 8 if BITS < 8 else 4
    WORDS: tl.constexpr = BLOCK // REACH
    words = (kept * BITS + 31) // 32
    for begin in range(0, words, WORDS):
        index = begin + tl.arange(0, WORDS)
        c = (index * 32 // BITS)[:, None] + tl.arange(0, REACH)[None, :]
        shift = c * BITS - index[:, None] * 32
        code = tl.load(moved_ptr + c, mask=(c < kept) & (shift < 32), other=0).to(tl.uint32)
        left, right = tl.maximum(tl.minimum(shift, 31), 0), tl.maximum(-shift, 0)
        part = (code << left.to(tl.uint32)) >> right.to(tl.uint32)
        tl.store(codes_ptr + index, tl.sum(part, axis=1).to(tl.int32, bitcast=True), mask=index < words)


@triton.jit
def scales_at(scales_ptr, slot, group, inside, BITS: tl.constexpr, SYMMETRIC: tl.constexpr):
    """The lowest and the highest magnitude of the group of each slot, as floats."""
    g = slot // group
    if BITS > 1 and not SYMMETRIC:
        both = tl.load(scales_ptr + g, mask=inside, other=0).to(tl.uint32, bitcast=True)
        return float_of(both << 16), float_of(both & 0xFFFF0000)
    else:
        pair = tl.load(scales_ptr + (g >> 1), mask=inside, other=0).to(tl.uint32, bitcast=True)
        high = float_of(pair >> ((g & 1) * 16).to(tl.uint32) << 16)
        return tl.zeros_like(high), high


@triton.jit
def put_block(
    value, body_ptr, moved_ptr, kept, group,
    BITS: tl.constexpr, SYMMETRIC: tl.constexpr, GROUP: tl.constexpr, FULL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write a block, with room for what is kept in moved_ptr, and return what it decodes to."""
    index = tl.arange(0, BLOCK)
    if FULL:
        mask = index < BLOCK
        slot = index
    else:
        mask = largest(key_of(value), kept)
        slot = tl.cumsum(mask.to(tl.int32), 0) - mask.to(tl.int32)
        put_mask(body_ptr, mask, BLOCK)
    MASK: tl.constexpr = 0 if FULL else BLOCK // 32
    if BITS == 32:
        tl.store(body_ptr + MASK + slot, value.to(tl.int32, bitcast=True), mask=mask)
        return tl.where(mask, value, 0.0)
    else:
        tl.store(moved_ptr + slot, key_of(value), mask=mask)
        tl.debug_barrier()
        scales_ptr = body_ptr + MASK + (kept * BITS + 31) // 32
        put_scales(scales_ptr, moved_ptr, kept, group, BITS, SYMMETRIC, GROUP, BLOCK)
        tl.debug_barrier()
        low, high = scales_at(scales_ptr, slot, group, mask, BITS, SYMMETRIC)
        code = encode(value, low, high, BITS, SYMMETRIC)
        tl.store(moved_ptr + slot, code, mask=mask)
        tl.debug_barrier()
        put_codes(body_ptr + MASK, moved_ptr, kept, BITS, BLOCK)
        return tl.where(mask, decode(code, low, high, BITS, SYMMETRIC), 0.0)


@triton.jit
def checksum_of_block(body_ptr, first, words, TILE: tl.constexpr):
    """What the words of a block, whose first one is number `first` of the payload, add to the sum."""
    added = tl.zeros([TILE], tl.uint64)
    for begin in range(0, words, TILE):
        index = begin + tl.arange(0, TILE)
        word = tl.load(body_ptr + index, mask=index < words, other=0)
        added += weighted(word, first + index)
    return tl.sum(added, 0)


@triton.jit
def code_at(codes_ptr, slot, inside, BITS: tl.constexpr):
    bit = slot * BITS
    shift = (bit & 31).to(tl.uint32)
    code = tl.load(codes_ptr + (bit >> 5), mask=inside, other=0).to(tl.uint32, bitcast=True) >> shift
    if 32 % BITS != 0:
        straddles = inside & (shift + BITS > 32)
        rest = tl.load(codes_ptr + (bit >> 5) + 1, mask=straddles, other=0).to(tl.uint32, bitcast=True)
        code |= tl.where(straddles, rest << ((32 - shift) & 31), 0)
    return (code & ((1 << BITS) - 1)).to(tl.int32)


@triton.jit
def get_block(
    body_ptr, kept, group, BITS: tl.constexpr, SYMMETRIC: tl.constexpr, FULL: tl.constexpr, BLOCK: tl.constexpr
):
    """What a block decodes to, and where it has elements; those that its mask has too many of are left out."""
    index = tl.arange(0, BLOCK)
    if FULL:
        slot = index
        has = index < BLOCK
    else:
        bit = (tl.load(body_ptr + (index >> 5)) >> (index & 31)) & 1
        slot = tl.cumsum(bit, 0) - bit
        has = (bit == 1) & (slot < kept)
    MASK: tl.constexpr = 0 if FULL else BLOCK // 32
    if BITS == 32:
        return float_of(tl.load(body_ptr + MASK + slot, mask=has, other=0)), has
    else:
        place = MASK + (kept * BITS + 31) // 32
        low, high = scales_at(body_ptr + place, slot, group, has, BITS, SYMMETRIC)
        return decode(code_at(body_ptr + MASK, slot, has, BITS), low, high, BITS, SYMMETRIC), has
