"""The kernels of CocktailSGD's compression: a sampled block a program."""

import triton
import triton.language as tl

from .arithmetic import divide
from .cocktail_arithmetic import narrowed, not_finite, sampled_block, weighted, widened
from .cocktail_payload import checksum_of_block, get_block, put_block

# While a payload is made its header, eight integers, is a draft, zero at first: the flag lies where it stays.
NOT_FINITE = tl.constexpr(1 << 40)  # in the first of them
DONE = tl.constexpr(6)  # counts the sampled blocks that are written, where the size of a group and zeros will be
SUM = tl.constexpr(7)  # the sum of their words, and then the checksum as its upper half
HEADER_WORDS = tl.constexpr(16)
ONCE = tl.constexpr("evict_first")  # nobody reads it again, or soon
SAMPLING = ["seed", "step", "stream"]  # not specialized, or every 16th step would be compiled for itself
UNSPECIALIZED = [*SAMPLING, "first"]


@triton.jit
def own_elements(block, numel, BLOCK: tl.constexpr):
    """The elements of a block, and which of them exist."""
    place = block * BLOCK + tl.arange(0, BLOCK)
    return place, place < numel


@triton.jit
def scaled(pointer, scale, inside, EVICTION: tl.constexpr):
    value = widened(tl.load(pointer, mask=inside, other=0, eviction_policy=EVICTION)) * tl.full([], scale, tl.float32)
    return tl.where(inside, value, 0.0)  # not -0


@triton.jit
def say_not_finite(header_ptr, bad):
    if (bad == 1) & is_finite(header_ptr):  # once said, nobody needs to wait for his turn
        tl.atomic_or(header_ptr, NOT_FINITE, sem="relaxed")


@triton.jit
def is_finite(header_ptr):
    """Also while the header is written, for that changes other bits of the integer."""
    return (tl.load(header_ptr, volatile=True) & NOT_FINITE) == 0


@triton.jit
def finish(header_ptr, added, numel, sampled, seed, step, stream, first, kept, group, BLOCK: tl.constexpr):
    """A sampled block is written, and its words add so much to the sum: the last one of all writes the header."""
    zero = tl.full([], 0, tl.int64)
    tl.atomic_add(header_ptr + SUM, zero + added, sem="relaxed")
    before = tl.atomic_add(header_ptr + DONE, zero + 1, sem="acq_rel")  # whoever sees the count sees the sum
    if before == sampled - 1:
        held = tl.atomic_add(header_ptr + SUM, zero, sem="relaxed")
        flag = tl.where(is_finite(header_ptr), zero, NOT_FINITE)
        places = (zero + stream) | ((zero + BLOCK) << 32)
        counts = sampled | ((zero + kept) << 32)
        write_header(header_ptr, held, first | flag, numel, seed, step, places, counts, group)


@triton.jit
def write_header(header_ptr, held, first, numel, seed, step, fourth, fifth, group):
    """The eight integers; `held` is the sum of the body's words."""
    index = tl.arange(0, 8)
    value = tl.where(index == 0, first, tl.zeros([8], tl.int64))
    value = tl.where(index == 1, numel, value)
    value = tl.where(index == 2, seed, value)
    value = tl.where(index == 3, step, value)
    value = tl.where(index == 4, fourth, value)
    value = tl.where(index == 5, fifth, value)
    value = tl.where(index == 6, group, value)
    added = weighted(value.to(tl.uint32), index * 2) + weighted((value >> 32).to(tl.uint32), index * 2 + 1)
    total = held + tl.sum(added.to(tl.int64, bitcast=True), 0)
    tl.store(header_ptr + index, tl.where(index == SUM, total >> 32 << 32, value), mask=index > 0)
    tl.atomic_or(header_ptr, first, sem="relaxed")  # others still look at their bit


@triton.jit
def finite_gradient_kernel(header_ptr, gradient_ptr, scale, numel, CHUNK: tl.constexpr):
    place, inside = own_elements(tl.program_id(0).to(tl.int64), numel, CHUNK)
    bad = not_finite(scaled(gradient_ptr + place, scale, inside, ""))
    say_not_finite(header_ptr, bad)


@triton.jit(do_not_specialize=SAMPLING)
def finite_delta_kernel(
    header_ptr, local_ptr, shared_ptr, numel, blocks, sampled, seed, step, stream, BLOCK: tl.constexpr
):
    block = sampled_block(tl.program_id(0).to(tl.int64), blocks, sampled, seed, step, stream)
    place, inside = own_elements(block, numel, BLOCK)
    own = widened(tl.load(local_ptr + place, mask=inside, other=0))
    bad = not_finite(own - widened(tl.load(shared_ptr + place, mask=inside, other=0)))
    say_not_finite(header_ptr, bad)


@triton.jit
def finite_payloads_kernel(header_ptr, payloads_ptr, workers, payload_words, WORKERS: tl.constexpr):
    worker = tl.arange(0, WORKERS).to(tl.int64)
    word = tl.load(payloads_ptr + worker * payload_words + 1, mask=worker < workers, other=0)
    say_not_finite(header_ptr, tl.max(word >> 8 & 1, 0))


@triton.jit
def send(
    value, body_ptr, moved_ptr, stratum, block_words, kept, group,
    BITS: tl.constexpr, SYMMETRIC: tl.constexpr, GROUP: tl.constexpr, FULL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """Write a stratum's block, and return what it decodes to and what its words add to the checksum."""
    begin = stratum * block_words
    body = body_ptr + begin
    sent = put_block(value, body, moved_ptr + stratum * kept, kept, group, BITS, SYMMETRIC, GROUP, FULL, BLOCK)
    tl.debug_barrier()
    added = checksum_of_block(body, begin + HEADER_WORDS, block_words, BLOCK // 8)
    return sent, added.to(tl.int64, bitcast=True)


@triton.jit(do_not_specialize=UNSPECIALIZED)
def gradient_kernel(
    header_ptr, body_ptr, moved_ptr, gradient_ptr, residual_ptr, scale,
    numel, blocks, sampled, seed, step, stream, first, block_words, kept, group,
    BITS: tl.constexpr, SYMMETRIC: tl.constexpr, GROUP: tl.constexpr, FULL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    """A program for every block where there is a residual, for every stratum otherwise."""
    own = tl.num_programs(0).to(tl.int64) - 1 - tl.program_id(0)  # the check left the end in the cache
    if residual_ptr is None:
        stratum = own
        own = sampled_block(stratum, blocks, sampled, seed, step, stream)
        block = own
    place, inside = own_elements(own, numel, BLOCK)
    value = scaled(gradient_ptr + place, scale, inside, ONCE)
    if residual_ptr is not None:
        value += widened(tl.load(residual_ptr + place, mask=inside, other=0, eviction_policy=ONCE))
        stratum = ((own + 1) * sampled - 1) // blocks  # while what is loaded is on its way
        block = sampled_block(stratum, blocks, sampled, seed, step, stream)
    if is_finite(header_ptr):
        if own == block:
            sent, added = send(
                value, body_ptr, moved_ptr, stratum, block_words, kept, group, BITS, SYMMETRIC, GROUP, FULL, BLOCK
            )
            finish(header_ptr, added, numel, sampled, seed, step, stream, first, kept, group, BLOCK)
            value -= sent
        if residual_ptr is not None:
            left = narrowed(value, residual_ptr.dtype.element_ty)
            tl.store(residual_ptr + place, left, mask=inside, eviction_policy=ONCE)
    elif own == block:
        finish(header_ptr, 0, numel, sampled, seed, step, stream, first, kept, group, BLOCK)


@triton.jit(do_not_specialize=UNSPECIALIZED)
def delta_kernel(
    header_ptr, body_ptr, moved_ptr, local_ptr, shared_ptr,
    numel, blocks, sampled, seed, step, stream, first, block_words, kept, group,
    BITS: tl.constexpr, SYMMETRIC: tl.constexpr, GROUP: tl.constexpr, FULL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    stratum = tl.num_programs(0).to(tl.int64) - 1 - tl.program_id(0)
    if is_finite(header_ptr):
        block = sampled_block(stratum, blocks, sampled, seed, step, stream)
        place, inside = own_elements(block, numel, BLOCK)
        own = widened(tl.load(local_ptr + place, mask=inside, other=0))
        delta = own - widened(tl.load(shared_ptr + place, mask=inside, other=0))
        sent, added = send(
            delta, body_ptr, moved_ptr, stratum, block_words, kept, group, BITS, SYMMETRIC, GROUP, FULL, BLOCK
        )
        finish(header_ptr, added, numel, sampled, seed, step, stream, first, kept, group, BLOCK)
        tl.store(local_ptr + place, narrowed(own - sent, local_ptr.dtype.element_ty), mask=inside)
    else:
        finish(header_ptr, 0, numel, sampled, seed, step, stream, first, kept, group, BLOCK)


@triton.jit(do_not_specialize=UNSPECIALIZED)
def mean_kernel(
    header_ptr, body_ptr, moved_ptr, payloads_ptr, residual_ptr, workers, payload_words,
    numel, blocks, sampled, seed, step, stream, first, block_words, kept, group,
    BITS: tl.constexpr, SYMMETRIC: tl.constexpr, GROUP: tl.constexpr, FULL: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    if is_finite(header_ptr):
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
        sent, added = send(
            value, body_ptr, moved_ptr, stratum, block_words, kept, group, BITS, SYMMETRIC, GROUP, FULL, BLOCK
        )
        finish(header_ptr, added, numel, sampled, seed, step, stream, first, kept, group, BLOCK)
        if residual_ptr is not None:
            tl.store(residual_ptr + place, narrowed(value - sent, residual_ptr.dtype.element_ty), mask=inside)
    else:
        finish(header_ptr, 0, numel, sampled, seed, step, stream, first, kept, group, BLOCK)


@triton.jit(do_not_specialize=SAMPLING)
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
