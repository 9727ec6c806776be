"""select_smallest and nm_mask in Triton: counting for short segments, radix selection for long ones."""

import torch
import triton
import triton.language as tl
from torch import Tensor

DIGIT_BITS = 11
# where one route gives way to the next: estimates, not yet measured on a GPU
LONGEST_COUNTED = 128
LONGEST_IN_PROGRAM = 1 << 16
SEGMENTS_TO_FILL_GPU = 128
MAX_PIECES = 1024
BLOCK = 2048


@triton.jit
def order_keys(scores_ptr, index, end, KEY: tl.constexpr):
    """Unsigned integers in the order of the scores: -0 equals +0 and every NaN is the largest, as in csrc/order.h."""
    TOP: tl.constexpr = KEY.primitive_bitwidth - 1
    ONES: tl.constexpr = (1 << TOP) * 2 - 1
    score = tl.load(scores_ptr + index, mask=index < end, other=0)
    bits = score.to(KEY, bitcast=True)
    key = tl.where((bits >> TOP) == 1, bits ^ ONES, bits | (1 << TOP))
    key = tl.where(score == 0, 1 << TOP, key)
    return tl.where(score != score, ONES, key)


@triton.jit
def digit_shift(done, KEY: tl.constexpr, BITS: tl.constexpr):
    """How far down the next digit lies, after `done` digits from the top; the last overlaps the one before it."""
    return tl.maximum(KEY.primitive_bitwidth - BITS * (done + 1), 0)


@triton.jit
def digit_histogram(scores_ptr, begin, end, prefix, done, KEY: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr):
    """Count the next digit of the keys that share the `done` digits found so far."""
    known = KEY.primitive_bitwidth - BITS * done  # the bits from this one up are settled
    shift = digit_shift(done, KEY, BITS)
    histogram = tl.zeros([1 << BITS], tl.int32)
    for start in range(begin, end, BLOCK):
        index = start + tl.arange(0, BLOCK)
        key = order_keys(scores_ptr, index, end, KEY)
        differs = (key ^ prefix) >> (known - 1) >> 1  # in two steps: a shift by the full width is undefined
        digit = ((key >> shift) & ((1 << BITS) - 1)).to(tl.int32)
        histogram += tl.histogram(digit, 1 << BITS, mask=(differs == 0) & (index < end))
    return histogram


@triton.jit
def settle_digit(histogram, prefix, rank, done, KEY: tl.constexpr, BITS: tl.constexpr):
    """The key of the 1-based rank with one more digit, and the rank among the keys that share it."""
    up_to = tl.cumsum(histogram, 0)
    digit = tl.sum((up_to < rank).to(tl.int32), 0)
    below = tl.max(tl.where(up_to < rank, up_to, 0), 0)
    return prefix | (digit.to(KEY) << digit_shift(done, KEY, BITS)), rank - below


@triton.jit
def write_mask(scores_ptr, mask_ptr, begin, end, threshold, equal_taken, seen, KEY: tl.constexpr, BLOCK: tl.constexpr):
    """Mark the keys below the threshold, and of those equal to it as many, by index, as are to be taken."""
    for start in range(begin, end, BLOCK):
        index = start + tl.arange(0, BLOCK)
        key = order_keys(scores_ptr, index, end, KEY)
        equal = ((key == threshold) & (index < end)).to(tl.int64)
        taken = (equal == 1) & (seen + tl.cumsum(equal, 0) <= equal_taken)
        tl.store(mask_ptr + index, ((key < threshold) | taken).to(tl.uint8), mask=index < end)
        seen += tl.sum(equal, 0)


@triton.jit
def counting_kernel(scores_ptr, mask_ptr, segments, length, count, SEGMENTS: tl.constexpr, LENGTH: tl.constexpr):
    """Short segments: for each score, count who goes before it. The padding, NaN at the end, goes after all."""
    s = tl.program_id(0).to(tl.int64) * SEGMENTS + tl.arange(0, SEGMENTS)
    i = tl.arange(0, LENGTH)
    place = s[:, None] * length + i[None, :]
    inside = (s < segments)[:, None] & (i < length)[None, :]
    score = tl.load(scores_ptr + place, mask=inside, other=float("nan"))
    own, other = score[:, :, None], score[:, None, :]
    equal = (own == other) | ((own != own) & (other != other))
    earlier = (i[None, :] < i[:, None])[None, :, :]
    first = (other < own) | ((own != own) & (other == other)) | (equal & earlier)
    before = tl.sum(first.to(tl.int32), axis=2)
    tl.store(mask_ptr + place, (before < count).to(tl.uint8), mask=inside)


@triton.jit
def segment_kernel(
    scores_ptr, mask_ptr, length, count,
    PASSES: tl.constexpr, KEY: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """One program selects in one segment."""
    offset = tl.program_id(0).to(tl.int64) * length
    prefix = tl.full([], 0, KEY)
    rank = tl.full([], 0, tl.int64) + count
    for done in range(PASSES):
        histogram = digit_histogram(scores_ptr + offset, 0, length, prefix, done, KEY, BITS, BLOCK)
        prefix, rank = settle_digit(histogram, prefix, rank, done, KEY, BITS)
    seen = tl.full([], 0, tl.int64)
    write_mask(scores_ptr + offset, mask_ptr + offset, 0, length, prefix, rank, seen, KEY, BLOCK)


@triton.jit
def resume(histograms_ptr, segment, count, passes, PASSES: tl.constexpr, KEY: tl.constexpr, BITS: tl.constexpr):
    """The state of a search after some passes, from their histograms in global memory."""
    prefix = tl.full([], 0, KEY)
    rank = tl.full([], 0, tl.int64) + count
    bins = tl.arange(0, 1 << BITS)
    for done in range(passes):
        histogram = tl.load(histograms_ptr + ((segment * PASSES + done) << BITS) + bins)
        prefix, rank = settle_digit(histogram, prefix, rank, done, KEY, BITS)
    return prefix, rank


@triton.jit(do_not_specialize=["done"])
def digit_kernel(
    scores_ptr, histograms_ptr, length, piece, count, done,
    PASSES: tl.constexpr, KEY: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Add one piece of a segment to the histogram of the next digit."""
    segment = tl.program_id(1).to(tl.int64)
    prefix, _ = resume(histograms_ptr, segment, count, done, PASSES, KEY, BITS)
    begin = tl.program_id(0).to(tl.int64) * piece
    end = tl.minimum(begin + piece, length)
    histogram = digit_histogram(scores_ptr + segment * length, begin, end, prefix, done, KEY, BITS, BLOCK)
    place = ((segment * PASSES + done) << BITS) + tl.arange(0, 1 << BITS)
    tl.atomic_add(histograms_ptr + place, histogram.to(tl.int64), mask=histogram > 0)


@triton.jit
def equal_kernel(
    scores_ptr, histograms_ptr, equal_ptr, length, piece, count,
    PASSES: tl.constexpr, KEY: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Count the scores of one piece that equal the threshold."""
    segment = tl.program_id(1).to(tl.int64)
    threshold, _ = resume(histograms_ptr, segment, count, PASSES, PASSES, KEY, BITS)
    begin = tl.program_id(0).to(tl.int64) * piece
    end = tl.minimum(begin + piece, length)
    equal = tl.full([], 0, tl.int64)
    for start in range(begin, end, BLOCK):
        index = start + tl.arange(0, BLOCK)
        key = order_keys(scores_ptr + segment * length, index, end, KEY)
        equal += tl.sum(((key == threshold) & (index < end)).to(tl.int64), 0)
    tl.store(equal_ptr + segment * tl.num_programs(0) + tl.program_id(0), equal)


@triton.jit
def mask_kernel(
    scores_ptr, mask_ptr, histograms_ptr, equal_ptr, length, piece, count,
    PASSES: tl.constexpr, KEY: tl.constexpr, BITS: tl.constexpr, BLOCK: tl.constexpr, MAX_PIECES: tl.constexpr,
):  # fmt: skip
    """Write one piece of the mask; the pieces before it have first claim on the equal scores."""
    segment = tl.program_id(1).to(tl.int64)
    threshold, equal_taken = resume(histograms_ptr, segment, count, PASSES, PASSES, KEY, BITS)
    pieces = tl.arange(0, MAX_PIECES)
    row = equal_ptr + segment * tl.num_programs(0)
    seen = tl.sum(tl.load(row + pieces, mask=pieces < tl.program_id(0), other=0), 0)
    begin = tl.program_id(0).to(tl.int64) * piece
    end = tl.minimum(begin + piece, length)
    offset = segment * length
    write_mask(scores_ptr + offset, mask_ptr + offset, begin, end, threshold, equal_taken, seen, KEY, BLOCK)


def _count(scores: Tensor, mask: Tensor, segments: int, length: int, count: int) -> None:
    padded = triton.next_power_of_2(length)
    together = max(1, 4096 // padded**2)
    grid = (triton.cdiv(segments, together),)
    counting_kernel[grid](scores, mask, segments, length, count, SEGMENTS=together, LENGTH=padded)


def _radix(scores: Tensor) -> dict:
    key = tl.uint32 if scores.dtype == torch.float32 else tl.uint64
    passes = triton.cdiv(key.primitive_bitwidth, DIGIT_BITS)
    return {"PASSES": passes, "KEY": key, "BITS": DIGIT_BITS, "BLOCK": BLOCK, "num_warps": 8}


def _on_grid(scores: Tensor, mask: Tensor, segments: int, length: int, count: int) -> None:
    meta = _radix(scores)
    pieces = min(triton.cdiv(length, 2 * BLOCK), MAX_PIECES)
    piece = triton.cdiv(length, pieces)
    grid = (pieces, segments)
    histograms = scores.new_zeros((segments, meta["PASSES"], 1 << DIGIT_BITS), dtype=torch.int64)
    equal = scores.new_empty(grid[::-1], dtype=torch.int64)
    for done in range(meta["PASSES"]):
        digit_kernel[grid](scores, histograms, length, piece, count, done, **meta)
    equal_kernel[grid](scores, histograms, equal, length, piece, count, **meta)
    mask_kernel[grid](scores, mask, histograms, equal, length, piece, count, MAX_PIECES=MAX_PIECES, **meta)


def smallest(scores: Tensor, length: int, count: int, by_magnitude: bool = False) -> Tensor:
    """Mark the `count` smallest of every `length` neighbours."""
    scores = scores.abs() if by_magnitude else scores
    mask = torch.zeros_like(scores, dtype=torch.bool)
    if count == 0 or scores.numel() == 0:
        return mask
    segments = scores.numel() // length
    flags = mask.view(torch.uint8)
    with torch.cuda.device_of(scores):
        if length <= LONGEST_COUNTED:
            _count(scores, flags, segments, length, count)
        elif length <= LONGEST_IN_PROGRAM or segments >= SEGMENTS_TO_FILL_GPU:
            segment_kernel[(segments,)](scores, flags, length, count, **_radix(scores))
        else:
            _on_grid(scores, flags, segments, length, count)
    return mask


def select_smallest(scores: Tensor, count: int, by_magnitude: bool = False) -> Tensor:
    """See fmcompress.ops.select_smallest."""
    return smallest(scores, scores.shape[1], count, by_magnitude)


def nm_mask(scores: Tensor, keep: int, group: int, by_magnitude: bool = False) -> Tensor:
    """See fmcompress.ops.nm_mask."""
    return smallest(scores, group, group - keep, by_magnitude)  # a group is a short segment
