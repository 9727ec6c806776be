"""The kernels of CocktailSGD's compression: a sampled block a program."""

import triton
import triton.language as tl

from .arithmetic import divide
from .cocktail_arithmetic import narrowed, not_finite, sampled_block, weighted, widened
from .cocktail_payload import checksum_of_block, get_block, put_block

NOT_FINITE = tl.constexpr(1 << 40)  # the flag in the first 8 bytes of the header
SUM = tl.constexpr(7)  # which 8 bytes of the header hold the sum, and then the checksum as their upper half
HEADER_WORDS = tl.constexpr(16)
UNSPECIALIZED = ["seed", "step", "stream"]  # or every 16th step would be compiled for itself


@triton.jit
def own_elements(block, numel, BLOCK: tl.constexpr):
    """The elements of a block, and which of them exist."""
    place = block * BLOCK + tl.arange(0, BLOCK)
    return place, place < numel


@triton.jit
def scaled(pointer, scale, inside):
    value = widened(tl.load(pointer, mask=inside, other=0)) * tl.full([], scale, tl.float32)
    return tl.where(inside, value, 0.0)  # not -0


@triton.jit
def finite_gradient_kernel(header_ptr, gradient_ptr, scale, numel, CHUNK: tl.constexpr):
    place, inside = own_elements(tl.program_id(0).to(tl.int64), numel, CHUNK)
    bad = not_finite(scaled(gradient_ptr + place, scale, inside))
    tl.store(header_ptr, NOT_FINITE, mask=bad == 1)  # all who write it write the same


@triton.jit(do_not_specialize=UNSPECIALIZED)
def finite_delta_kernel(
    header_ptr, local_ptr, shared_ptr, numel, blocks, sampled, seed, step, stream, BLOCK: tl.constexpr
):
    block = sampled_block(tl.program_id(0).to(tl.int64), blocks, sampled, seed, step, stream)
    place, inside = own_elements(block, numel, BLOCK)
    own = widened(tl.load(local_ptr + place, mask=inside, other=0))
    bad = not_finite(own - widened(tl.load(shared_ptr + place, mask=inside, other=0)))
    tl.store(header_ptr, NOT_FINITE, mask=bad == 1)


@triton.jit
def finite_payloads_kernel(header_ptr, payloads_ptr, workers, payload_words, WORKERS: tl.constexpr):
    worker = tl.arange(0, WORKERS).to(tl.int64)
    word = tl.load(payloads_ptr + worker * payload_words + 1, mask=worker < workers, other=0)
    tl.store(header_ptr, NOT_FINITE, mask=tl.max(word >> 8 & 1, 0) == 1)


@triton.jit
def send(
    value, header_ptr, body_ptr, moved_ptr, stratum, block_words, kept, group,
    BITS: tl.constexpr, SYMMETRIC: tl.constexpr, GROUP: tl.constexpr, FULL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write a stratum's block, add its words to the checksum, and return what it decodes to."""
    begin = stratum * block_words
    body = body_ptr + begin
    sent = put_block(value, body, moved_ptr + stratum * kept, kept, group, BITS, SYMMETRIC, GROUP, FULL, BLOCK)
    tl.debug_barrier()
    added = checksum_of_block(body, begin + HEADER_WORDS, block_words, BLOCK // 8)
    tl.atomic_add(header_ptr + SUM, added.to(tl.int64, bitcast=True), sem="relaxed")
    return sent


@triton.jit(do_not_specialize=UNSPECIALIZED)
def gradient_kernel(
    header_ptr, body_ptr, moved_ptr, gradient_ptr, residual_ptr, scale, numel, blocks, sampled, seed, step, stream,
    block_words, kept, group,
    BITS: tl.constexpr, SYMMETRIC: tl.constexpr, GROUP: tl.constexpr, FULL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A program for every block where there is a residual, for every stratum otherwise."""
    if tl.load(header_ptr) == 0:
        own = tl.program_id(0).to(tl.int64)
        stratum = own
        if residual_ptr is not None:
            stratum = ((own + 1) * sampled - 1) // blocks
        block = sampled_block(stratum, blocks, sampled, seed, step, stream)
        if residual_ptr is None:
            own = block
        place, inside = own_elements(own, numel, BLOCK)
        value = scaled(gradient_ptr + place, scale, inside)
        if residual_ptr is not None:
            value += widened(tl.load(residual_ptr + place, mask=inside, other=0))
        if own == block:
            value -= send(
                value, header_ptr, body_ptr, moved_ptr, stratum, block_words, kept, group,
                BITS, SYMMETRIC, GROUP, FULL, BLOCK,
            )  # fmt: skip
        if residual_ptr is not None:
            tl.store(residual_ptr + place, narrowed(value, residual_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=UNSPECIALIZED)
def delta_kernel(
    header_ptr, body_ptr, moved_ptr, local_ptr, shared_ptr, numel, blocks, sampled, seed, step, stream,
    block_words, kept, group,
    BITS: tl.constexpr, SYMMETRIC: tl.constexpr, GROUP: tl.constexpr, FULL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    if tl.load(header_ptr) == 0:
        stratum = tl.program_id(0).to(tl.int64)
        block = sampled_block(stratum, blocks, sampled, seed, step, stream)
        place, inside = own_elements(block, numel, BLOCK)
        own = widened(tl.load(local_ptr + place, mask=inside, other=0))
        delta = own - widened(tl.load(shared_ptr + place, mask=inside, other=0))
        own -= send(
            delta, header_ptr, body_ptr, moved_ptr, stratum, block_words, kept, group,
            BITS, SYMMETRIC, GROUP, FULL, BLOCK,
        )  # fmt: skip
        tl.store(local_ptr + place, narrowed(own, local_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=UNSPECIALIZED)
def mean_kernel(
    header_ptr, body_ptr, moved_ptr, payloads_ptr, residual_ptr, workers, payload_words, numel, blocks, sampled, seed,
    step, stream, block_words, kept, group,
    BITS: tl.constexpr, SYMMETRIC: tl.constexpr, GROUP: tl.constexpr, FULL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    if tl.load(header_ptr) == 0:
        stratum = tl.program_id(0).to(tl.int64)
        body = payloads_ptr + HEADER_WORDS + stratum * block_words
        value = tl.zeros([BLOCK], tl.float32)
        for _ in range(workers):
            one, has = get_block(body, kept, group, BITS, SYMMETRIC, FULL, BLOCK)
            value = tl.where(has, value + one, value)
            body += payload_words
        value = divide(value, tl.zeros([BLOCK], tl.float32) + workers)
        block = sampled_block(stratum, blocks, sampled, seed, step, stream)
        place, inside = own_elements(block, numel, BLOCK)
        value = tl.where(inside, value, 0.0)
        if residual_ptr is not None:
            value += widened(tl.load(residual_ptr + place, mask=inside, other=0))
        value -= send(
            value, header_ptr, body_ptr, moved_ptr, stratum, block_words, kept, group,
            BITS, SYMMETRIC, GROUP, FULL, BLOCK,
        )  # fmt: skip
        if residual_ptr is not None:
            tl.store(residual_ptr + place, narrowed(value, residual_ptr.dtype.element_ty), mask=inside)


@triton.jit(do_not_specialize=["first", "numel", "seed", "step", "fourth", "fifth", "group"])
def header_kernel(header_ptr, first, numel, seed, step, fourth, fifth, group):
    """Complete the header: beside the flag it holds the sum of the body's words until now."""
    index = tl.arange(0, 8)
    held = tl.load(header_ptr + index)
    value = tl.where(index == 0, held | first, tl.zeros([8], tl.int64))
    value = tl.where(index == 1, numel, value)
    value = tl.where(index == 2, seed, value)
    value = tl.where(index == 3, step, value)
    value = tl.where(index == 4, fourth, value)
    value = tl.where(index == 5, fifth, value)
    value = tl.where(index == 6, group, value)
    added = weighted(value.to(tl.uint32), index * 2) + weighted((value >> 32).to(tl.uint32), index * 2 + 1)
    total = tl.sum(tl.where(index == SUM, held, added.to(tl.int64, bitcast=True)), 0)
    value = tl.where(index == SUM, total >> 32 << 32, value)
    tl.store(header_ptr + index, value)


@triton.jit(do_not_specialize=UNSPECIALIZED)
def add_kernel(
    words_ptr, out_ptr, scale, numel, blocks, sampled, seed, step, stream, block_words, kept, group,
    BITS: tl.constexpr, SYMMETRIC: tl.constexpr, FULL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    stratum = tl.program_id(0).to(tl.int64)
    if (tl.load(words_ptr + 1) >> 8 & 1) == 1:
        for block in range(stratum * blocks // sampled, (stratum + 1) * blocks // sampled):
            place, inside = own_elements(block, numel, BLOCK)
            nan = tl.full([BLOCK], float("nan"), tl.float32)
            tl.store(out_ptr + place, narrowed(nan, out_ptr.dtype.element_ty), mask=inside)
    else:
        body = words_ptr + HEADER_WORDS + stratum * block_words
        value, has = get_block(body, kept, group, BITS, SYMMETRIC, FULL, BLOCK)
        block = sampled_block(stratum, blocks, sampled, seed, step, stream)
        place, inside = own_elements(block, numel, BLOCK)
        own = widened(tl.load(out_ptr + place, mask=inside & has, other=0))
        own += value * tl.full([], scale, tl.float32)
        tl.store(out_ptr + place, narrowed(own, out_ptr.dtype.element_ty), mask=inside & has)


@triton.jit
def checksum_kernel(words_ptr, sum_ptr, words, CHUNK: tl.constexpr):
    """Add up the words of a payload without the one that holds its checksum."""
    index, inside = own_elements(tl.program_id(0).to(tl.int64), words, CHUNK)
    word = tl.load(words_ptr + index, mask=inside & (index != HEADER_WORDS - 1), other=0)
    added = tl.sum(weighted(word, index), 0)
    tl.atomic_add(sum_ptr, added.to(tl.int64, bitcast=True), sem="relaxed")
