"""One token's attention in a Triton kernel: the cache is cut into parts, and of a key head's programs the last to end
joins them; see runtime/one_token.py."""

import triton
import triton.language as tl

from .cocktail_arithmetic import narrowed, widened

PROGRAMS = 264  # at most: two for each of the 132 multiprocessors of an H100
WARPS = 8
NUMBERS = 2048  # of keys that a program looks at at a time, at most: 16 bytes of halves a thread
SUMS = 8192  # that it adds to at a time, at most: 32 in a thread's registers
STAGES = 4  # tiles that are on their way or at work
LOWEST = tl.constexpr(-3.0e38)  # below any score, and no infinity, whose difference from itself is NaN


def positions_at_a_time(sharing: int, head_dim: int) -> int:
    """That a program looks at, a power of two: fewer where more heads share a key, or are wider."""
    most = min(NUMBERS, SUMS // triton.next_power_of_2(sharing))
    return max(1, most // triton.next_power_of_2(head_dim))


def parts_of(width: int, key_heads: int, positions: int) -> int:
    """Into how many parts a cache is cut, a power of two: no more than it has tiles of so many positions.

    Of a long cache programs are more than half of PROGRAMS and at most all of them, or one to a key head.
    """
    wanted = 1 << max(1, PROGRAMS // key_heads).bit_length() - 1
    return min(wanted, triton.next_power_of_2(triton.cdiv(width, positions)))


@triton.jit
def rounded(value, DTYPE: tl.constexpr):
    """As a tensor of that dtype would hold it, in float32."""
    return widened(narrowed(value, DTYPE))


@triton.jit
def turned(
    x_ptr, cos_ptr, sin_ptr, heads, HEAD_DIM: tl.constexpr, HEADS: tl.constexpr, DIM: tl.constexpr, DTYPE: tl.constexpr
):
    """Heads after the rotary embedding, [HEADS, DIM], each product rounded; zeros beyond their number and size."""
    head, i = tl.arange(0, HEADS)[:, None], tl.arange(0, DIM)[None, :]
    inside = i < HEAD_DIM
    both, low = (head < heads) & inside, i < HEAD_DIM // 2
    cos = widened(tl.load(cos_ptr + i, mask=inside, other=0))
    sin = widened(tl.load(sin_ptr + i, mask=inside, other=0))
    x = widened(tl.load(x_ptr + head * HEAD_DIM + i, mask=both, other=0))
    other = tl.where(low, i + HEAD_DIM // 2, i - HEAD_DIM // 2)  # the number of the other half
    other = widened(tl.load(x_ptr + head * HEAD_DIM + other, mask=both, other=0))
    return rounded(rounded(x * cos, DTYPE) + rounded(tl.where(low, -other, other) * sin, DTYPE), DTYPE)


@triton.jit
def nothing(HEADS: tl.constexpr, SLOTS: tl.constexpr, DIM: tl.constexpr):
    """What sums begin with: the largest score of [heads, slots], the sum of exp(score), and of values by that.

    Both sums are relative to exp of the largest score. Slots are kept apart, so that nothing is exchanged between
    warps before all is summed.
    """
    total = tl.zeros([HEADS, SLOTS], tl.float32)
    return total + LOWEST, total, tl.zeros([HEADS, SLOTS, DIM], tl.float32)


@triton.jit
def joined(peak, total, sums, new_peak, new_total, new_sums):
    """Sums of both, slot by slot."""
    most = tl.maximum(peak, new_peak)
    shrunk, share = tl.exp(peak - most), tl.exp(new_peak - most)
    sums = sums * shrunk[:, :, None] + new_sums * share[:, :, None]
    return most, total * shrunk + new_total * share, sums


@triton.jit
def settled(peak, total, sums):
    """Sums over all slots."""
    most = tl.max(peak, 1)
    share = tl.exp(peak - most[:, None])
    return most, tl.sum(total * share, 1), tl.sum(sums * share[:, :, None], 1)


@triton.jit
def of_positions(
    q, keys_ptr, values_ptr, begin, end, scaling,
    HEAD_DIM: tl.constexpr, HEADS: tl.constexpr, DIM: tl.constexpr, POSITIONS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """The sums of positions from `begin` to before `end`."""
    slot, i = tl.arange(0, POSITIONS)[None, :, None], tl.arange(0, DIM)[None, None, :]
    peak, total, sums = nothing(HEADS, POSITIONS, DIM)
    for first in tl.range(begin, end, POSITIONS, num_stages=STAGES):
        places, there = (first + slot) * HEAD_DIM + i, (first + slot < end) & (i < HEAD_DIM)
        key = widened(tl.load(keys_ptr + places, mask=there, other=0))
        value = widened(tl.load(values_ptr + places, mask=there, other=0))
        score = tl.sum(q[:, None, :] * key, 2) * scaling
        score = tl.where(first + tl.arange(0, POSITIONS)[None, :] < end, score, float("-inf"))
        peak, total, sums = joined(peak, total, sums, score, 1.0, value)
    return settled(peak, total, sums)


@triton.jit
def of_parts(
    peaks_ptr, totals_ptr, sums_ptr, parts, sharing,
    HEAD_DIM: tl.constexpr, HEADS: tl.constexpr, DIM: tl.constexpr, AT_A_TIME: tl.constexpr,
):  # fmt: skip
    """The sums of a key head's parts."""
    head, slot, i = tl.arange(0, HEADS)[:, None], tl.arange(0, AT_A_TIME)[None, :], tl.arange(0, DIM)[None, None, :]
    peak, total, sums = nothing(HEADS, AT_A_TIME, DIM)
    for first in range(0, parts, AT_A_TIME):
        row, there = (first + slot) * sharing + head, (first + slot < parts) & (head < sharing)
        its_peak = tl.load(peaks_ptr + row, mask=there, other=LOWEST)
        its_total = tl.load(totals_ptr + row, mask=there, other=0)
        places, inside = row[:, :, None] * HEAD_DIM + i, there[:, :, None] & (i < HEAD_DIM)
        its_sums = tl.load(sums_ptr + places, mask=inside, other=0)
        peak, total, sums = joined(peak, total, sums, its_peak, its_total, its_sums)
    return settled(peak, total, sums)


@triton.jit
def attend_kernel(
    q_ptr, k_ptr, v_ptr, cos_ptr, sin_ptr, keys_ptr, values_ptr, position_ptr, out_ptr,
    peaks_ptr, totals_ptr, sums_ptr, done_ptr, width, sharing, scaling, PARTS: tl.constexpr,
    HEAD_DIM: tl.constexpr, HEADS: tl.constexpr, DIM: tl.constexpr, POSITIONS: tl.constexpr, STAGES: tl.constexpr,
):  # fmt: skip
    """A program to a key head and a part of its positions, for all heads that share the key: it is read once.

    Parts are whole tiles, of a number that follows the position, so that programs have as much to do as one another.
    """
    DTYPE: tl.constexpr = out_ptr.dtype.element_ty
    own, part = tl.program_id(0), tl.program_id(1)
    position = tl.load(position_ptr).to(tl.int32)
    span = (position // (PARTS * POSITIONS) + 1) * POSITIONS
    last = position // span
    if part > last:
        return
    head, i = tl.arange(0, HEADS), tl.arange(0, DIM)
    inside = i < HEAD_DIM
    keys_ptr += own.to(tl.int64) * width * HEAD_DIM
    values_ptr += own.to(tl.int64) * width * HEAD_DIM
    if part == last:
        place = position * HEAD_DIM + i
        k = turned(k_ptr + own * HEAD_DIM, cos_ptr, sin_ptr, 1, HEAD_DIM, 1, DIM, DTYPE)
        tl.store(keys_ptr + place[None, :], narrowed(k, DTYPE), mask=inside[None, :])
        tl.store(values_ptr + place, tl.load(v_ptr + own * HEAD_DIM + i, mask=inside), mask=inside)
        tl.debug_barrier()  # other threads of this program read them
    first = own * sharing
    q = turned(q_ptr + first * HEAD_DIM, cos_ptr, sin_ptr, sharing, HEAD_DIM, HEADS, DIM, DTYPE)
    begin = part * span
    end = tl.minimum(begin + span, position + 1)
    peak, total, sums = of_positions(
        q, keys_ptr, values_ptr, begin, end, scaling, HEAD_DIM, HEADS, DIM, POSITIONS, STAGES
    )
    shared, numbers = head < sharing, (head < sharing)[:, None] & inside[None, :]
    peaks_ptr += first * PARTS
    totals_ptr += first * PARTS
    sums_ptr += first * PARTS * HEAD_DIM
    row = part * sharing + head
    tl.store(peaks_ptr + row, peak, mask=shared)
    tl.store(totals_ptr + row, total, mask=shared)
    tl.store(sums_ptr + row[:, None] * HEAD_DIM + i[None, :], sums, mask=numbers)
    tl.debug_barrier()  # the atomic is one thread's, and releases what all of them have stored
    if tl.atomic_add(done_ptr + own, 1, sem="acq_rel") < last:
        return
    tl.store(done_ptr + own, 0)  # for the next launch
    peak, total, sums = of_parts(peaks_ptr, totals_ptr, sums_ptr, last + 1, sharing, HEAD_DIM, HEADS, DIM, POSITIONS)
    place = (first + head)[:, None] * HEAD_DIM + i[None, :]
    tl.store(out_ptr + place, narrowed(sums / total[:, None], DTYPE), mask=numbers)
