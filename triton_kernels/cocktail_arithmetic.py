"""What compressed gradients are made of: sampling, selection, scales, codes, checksum; docs/wire-format.md in Triton.

To be launched without fused multiply-adds: each operation is rounded. Halves of floats are integers here, because the
interpreter neither rounds to bfloat16 nor knows its denormals.
"""

import triton
import triton.language as tl

from .arithmetic import divide

INFINITY = tl.constexpr(0x7F800000)
LARGEST_SCALE = tl.constexpr(0x7F7F)  # the largest finite bfloat16


@triton.jit
def key_of(value):
    """Integers in the order of the magnitudes of floats, whose bits they are."""
    return value.to(tl.int32, bitcast=True) & 0x7FFFFFFF


@triton.jit
def float_of(bits):
    return bits.to(tl.float32, bitcast=True)


@triton.jit
def widened(value):
    """float32 from any of the dtypes of a tensor."""
    if value.dtype == tl.bfloat16:
        return (value.to(tl.uint16, bitcast=True).to(tl.uint32) << 16).to(tl.float32, bitcast=True)
    else:
        return value.to(tl.float32)


@triton.jit
def bfloat16_bits(value):
    """The nearest bfloat16, half to even, as an integer."""
    bits = value.to(tl.uint32, bitcast=True)
    rounded = (bits + (0x7FFF + ((bits >> 16) & 1))) >> 16
    return tl.where(value != value, 0x7FC0, rounded)


@triton.jit
def narrowed(value, DTYPE: tl.constexpr):
    if tl.bfloat16 == DTYPE:
        return bfloat16_bits(value).to(tl.uint16).to(tl.bfloat16, bitcast=True)
    else:
        return value.to(DTYPE)


@triton.jit
def not_finite(value):
    """Whether any of them is an infinity or NaN; 0 or 1."""
    return tl.max((key_of(value) >= INFINITY).to(tl.int32), 0)


@triton.jit
def finite_quotient(top, below):
    """A number over each float, 0 where that is not finite."""
    factor = divide(tl.full(below.shape, top, tl.float32), below)
    return tl.where(key_of(factor) < INFINITY, factor, 0.0)


@triton.jit
def sampled_block(stratum, blocks, sampled, seed, step, stream):
    """Which block of a stratum is sampled in a step; all int64."""
    zero = tl.full([], 0, tl.int64)  # Triton makes a constant of a 1, and 32 bits of what fits into them
    begin = stratum * blocks // sampled
    size = (stratum + 1) * blocks // sampled - begin
    epoch = (zero + step) // size
    upper = (epoch >> 32).to(tl.uint32)
    counter = stratum.to(tl.uint32), (zero + stream).to(tl.uint32), epoch.to(tl.uint32)
    word, _, _, _ = tl.philox(zero + seed, counter[0], counter[1], counter[2], upper)
    return begin + ((word.to(tl.int64) * size >> 32) + (zero + step) % size) % size


@triton.jit
def weighted(word, index):
    """What words of 32 bits add to the sum: each times output index + 1 of splitmix64 seeded with 0."""
    z = (index.to(tl.uint64) + 1) * 0x9E3779B97F4A7C15
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB
    return word.to(tl.uint32, bitcast=True).to(tl.uint64) * (z ^ (z >> 31))


@triton.jit
def largest(key, kept):
    """Mark the `kept` largest keys, earlier ones first among equals: settle the least of them bit by bit."""
    least = tl.full([], 0, tl.int32)
    for done in range(31):
        higher = least | (1 << (30 - done))
        count = tl.sum((key >= higher).to(tl.int32), 0)
        least = tl.where(count >= kept, higher, least)
    above = (key > least).to(tl.int32)
    equal = (key == least).to(tl.int32)
    room = kept - tl.sum(above, 0)
    return (above == 1) | ((equal == 1) & (tl.cumsum(equal, 0) <= room))


@triton.jit
def up_to_scale(key):
    """Bits of the bfloat16 at or above a magnitude."""
    return tl.minimum((key + 0xFFFF) >> 16, LARGEST_SCALE)


@triton.jit
def mean_scale(key, high, count):
    """Bits of the bfloat16 mean of each row of magnitudes, given the largest and how many they are; others are 0."""
    top = float_of(high)
    unit = finite_quotient(65535.0, top)
    units = tl.sum((float_of(key) * unit[:, None] + 0.5).to(tl.int32), 1)
    mean = divide(units.to(tl.float32), (count * 65535).to(tl.float32)) * top
    return bfloat16_bits(mean).to(tl.int32)


@triton.jit
def encode(value, low, high, BITS: tl.constexpr, SYMMETRIC: tl.constexpr):
    """Codes of 1 to 8 bits; low and high are the scales as floats."""
    negative = (value < 0).to(tl.int32)
    if BITS == 1:
        return negative
    else:
        LEVELS: tl.constexpr = (1 << (BITS - 1)) - 1
        steps = (tl.abs(value) - low) * finite_quotient(LEVELS, high - low)
        steps = tl.where(steps == steps, steps, 0.0)  # NaN where a sum overflowed
        code = tl.minimum(steps + 0.5, LEVELS).to(tl.int32)  # the floor, for nothing is below 0
        if SYMMETRIC:
            return tl.where(negative == 1, -code, code) + (1 << (BITS - 1))
        else:
            return code | (negative << (BITS - 1))


@triton.jit
def decode(code, low, high, BITS: tl.constexpr, SYMMETRIC: tl.constexpr):
    """The values that codes stand for."""
    MIDDLE: tl.constexpr = 1 << (BITS - 1)
    if BITS == 1:
        return high * tl.where(code == 1, -1.0, 1.0)  # Triton's -x is 0 - x, which is never -0
    else:
        step = divide(high - low, tl.full(high.shape, MIDDLE - 1, tl.float32))
        if SYMMETRIC:
            return (code - MIDDLE).to(tl.float32) * step
        else:
            magnitude = low + (code & (MIDDLE - 1)).to(tl.float32) * step
            return magnitude * tl.where(code >= MIDDLE, -1.0, 1.0)
