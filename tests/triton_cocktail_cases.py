"""Layouts and values on which the Triton twins of compressed gradients must equal the reference bit for bit."""

from collections.abc import Iterator

import torch
import triton
import triton.language as tl
from fmcompress_triton import register as ops
from fmcompress_triton.cocktail_arithmetic import sampled_block
from torch import Tensor

from fmcompress import reference
from fmcompress._ops import Layout
from fmcompress.reference.cocktail import sampled_blocks

CODE_BITS = (*range(1, 9), 32)
PLAIN = Layout(seed=7, step=3, stream=1, block=128, sampled=2, kept=16, bits=4, group=5, symmetric=True)
INPUTS = (torch.float32, torch.bfloat16, torch.float16)
KEPT = ((1, 1), (50, 33), (33, 7), (77, 77), (128, 128), (128, 1))  # and the group
NUMEL = 700  # six blocks of 128, the last one in part


def smooth(numel: int, seed: int) -> Tensor:
    return torch.randn(numel, generator=torch.Generator().manual_seed(seed))


def tied(numel: int, seed: int) -> Tensor:
    """Few distinct values, half of them zeros of both signs."""
    values = torch.tensor([0.0, -0.0, 0.0, -0.0, 0.5, -0.5, 1.0, -1.0])
    return values[torch.randint(8, (numel,), generator=torch.Generator().manual_seed(seed))]


def tiny(numel: int, seed: int) -> Tensor:
    """Denormals, also of scales, and zeros."""
    return smooth(numel, seed).mul_(30).to(torch.int32) * 2.0**-149


def wide(numel: int, seed: int) -> Tensor:
    """From denormals to the largest floats, whose scale is the largest one."""
    exponents = torch.randint(-149, 128, (numel,), generator=torch.Generator().manual_seed(seed + 1))
    values = torch.ldexp(smooth(numel, seed).clamp(-1.9, 1.9), exponents)
    values[::37] = torch.finfo(torch.float32).max
    return values


def zeros(numel: int, seed: int) -> Tensor:
    return torch.zeros(numel)


def arguments() -> Iterator[tuple[Layout, int, str]]:
    """(layout, numel, kind of values)"""
    for bits in CODE_BITS:
        for symmetric in (True, False) if bits in range(2, 9) else (True,):
            quantizer = {"bits": bits, "symmetric": symmetric}
            for kept, group in KEPT[(bits + symmetric) % 3 :: 3]:
                yield PLAIN._replace(kept=kept, group=group, seed=kept, **quantizer), NUMEL, "smooth"
            for kind in ("tied", "tiny", "wide"):
                if bits > 1 or kind != "wide":  # sums of those are infinite, and the format gives them no mean
                    yield PLAIN._replace(sampled=2, kept=61, group=16, **quantizer), 300, kind
            yield PLAIN._replace(block=256, sampled=1, kept=91, group=45, **quantizer), 100, "smooth"
    yield PLAIN._replace(kept=61, group=16, bits=1), 300, "zeros"
    yield PLAIN._replace(kept=61, group=16, bits=5, symmetric=False), 300, "zeros"
    yield PLAIN._replace(bits=1, symmetric=False), NUMEL, "smooth"
    yield PLAIN._replace(bits=32, symmetric=False), NUMEL, "smooth"
    yield PLAIN._replace(block=8192, sampled=1, kept=3001, group=1000, bits=3), 9000, "smooth"
    yield PLAIN._replace(block=8192, sampled=1, kept=8192, group=8192, bits=1), 8192, "smooth"


def same(actual: Tensor, expected: Tensor) -> bool:
    """Equal in their bits, if not NaN."""
    if not actual.is_floating_point():
        return torch.equal(actual, expected)
    integer = {4: torch.int32, 2: torch.int16}[actual.itemsize]
    both_nan = actual.isnan() & expected.isnan()
    return bool(((actual.view(integer) == expected.view(integer)) | both_nan).all())


def changed(op: str, tensors: list[Tensor | None], *rest) -> list[Tensor]:
    """Call an op of both back-ends on copies: the tensors must be alike afterwards, and so must the results."""
    results = []
    for backend in (ops, reference):
        copies = [None if t is None else t.clone() for t in tensors]
        results.append([*copies, getattr(backend, op)(*copies, *rest)])
    for actual, expected in zip(*results, strict=True):
        assert (actual is None and expected is None) or same(actual, expected), (op, rest)
    return results[0]


def check_layouts() -> None:
    """Every op in turn for every layout: a gradient, another one, their mean, and what it decodes to."""
    for case, (layout, numel, kind) in enumerate(arguments()):
        layout = layout._replace(sampled=min(layout.sampled, -(-numel // layout.block)))
        values = [globals()[kind](numel, 10 * case + i) for i in range(3)]
        gradient, residual = values[0].to(INPUTS[case // 3 % 3]), [None, values[1], values[1].bfloat16()][case % 3]
        first = changed("compress_gradient_", [gradient, residual], 1.0, *layout)[2]
        second = changed("compress_delta_", [values[1].to(INPUTS[case % 3]), values[2]], *layout)[2]
        server = [values[2].bfloat16(), None, values[2]][case % 3]
        if not (second[5] or first[5]):
            mean = changed("compress_mean_", [torch.stack([first, second]), server], numel, *layout)[2]
            changed("add_payload_", [mean, values[0].to(INPUTS[case % 3])], -0.3, *layout)
        assert same(ops.payload_checksum(second), reference.payload_checksum(second))


def check_steps() -> None:
    """Steps and streams, keys and counters beyond 32 bits, a residual that is carried on, a scale."""
    changed("compress_gradient_", [smooth(5, 0), None], -2.0, *PLAIN._replace(sampled=1, kept=100, bits=32))
    residual = smooth(1000, 0)
    for step in (0, 1, 2, 15, (1 << 31) - 1, (1 << 35) + 5, (1 << 63) - 1):
        for stream, seed in ((0, 0), ((1 << 32) - 1, (1 << 63) - 1), (1 << 31, 1)):
            layout = PLAIN._replace(step=step, stream=stream, seed=seed, sampled=2, kept=20)
            gradient, scale = smooth(1000, step % 1000), (1.0, 0.1, -1e-40, -0.0)[step % 4]
            residual = changed("compress_gradient_", [gradient, residual], scale, *layout)[1]


@triton.jit
def sample_kernel(out_ptr, blocks, sampled, seed, step, stream, STRATA: tl.constexpr):
    stratum = tl.program_id(0).to(tl.int64) * STRATA + tl.arange(0, STRATA)
    block = sampled_block(stratum, blocks, sampled, seed, step, stream)
    tl.store(out_ptr + stratum, block, mask=stratum < sampled)


def check_sampling(device: str = "cpu") -> None:
    """Tensors of more than 2^31 elements, whose strata are as large as can be."""
    for numel, sampled in (((1 << 38) + 1, (1 << 15) + 1), (1 << 31, 1000), ((1 << 31) + 777, (1 << 15))):
        layout = PLAIN._replace(step=(1 << 40) + 3, stream=(1 << 32) - 5, seed=(1 << 62) + 1, sampled=sampled)
        blocks, out = -(-numel // layout.block), torch.empty(sampled, dtype=torch.int64, device=device)
        numbers = (blocks, sampled, layout.seed, layout.step, layout.stream)
        sample_kernel[(triton.cdiv(sampled, 1024),)](out, *numbers, STRATA=1024)
        assert torch.equal(out.cpu(), sampled_blocks(numel, layout))


def check_no_numbers() -> None:
    """An infinity or NaN anywhere changes nothing and says so; elsewhere than in sampled blocks a delta may have one."""
    for bad in (torch.inf, -torch.inf, torch.nan):
        for place in (0, 300, NUMEL - 1):
            values = smooth(NUMEL, 0)
            values[place] = bad
            for residual in (None, smooth(NUMEL, 1)):
                payload = changed("compress_gradient_", [values, residual], 1.0, *PLAIN)[2]
                assert payload[5] == 1
            changed("compress_delta_", [values, smooth(NUMEL, 1)], *PLAIN)
            every = PLAIN._replace(sampled=6)
            assert changed("compress_delta_", [smooth(NUMEL, 1), values], *every)[2][5] == 1
        for group in (1, 16):  # in what is carried on, they are sent as well as can be
            layout = PLAIN._replace(group=group, bits=3, symmetric=False)
            changed("compress_gradient_", [smooth(NUMEL, 0), values], 1.0, *layout)
    good = reference.compress_gradient_(smooth(NUMEL, 2), None, 1.0, *PLAIN)
    assert changed("compress_mean_", [torch.stack([good, good, payload]), smooth(NUMEL, 0)], NUMEL, *PLAIN)[2][5] == 1
    for dtype in INPUTS:
        assert changed("add_payload_", [payload, smooth(NUMEL, 0).to(dtype)], 1.0, *PLAIN)[1].isnan().all()
    assert changed("compress_gradient_", [torch.full((NUMEL,), 1e30), None], 1e30, *PLAIN)[2][5] == 1
    assert changed("compress_gradient_", [torch.full((NUMEL,), 6e4).half(), None], 1e300, *PLAIN)[2][5] == 1


def check_damaged() -> None:
    """Whatever bytes arrive, nothing else is read or written; what a mask has too many of is left out."""
    source = torch.Generator().manual_seed(0)
    for bits in CODE_BITS:
        layout = PLAIN._replace(kept=33, group=7, bits=bits, symmetric=bits % 2 == 0)
        for fill in (0, 255, None):
            payload = torch.randint(256, (2, layout.payload_bytes), generator=source, dtype=torch.uint8)
            if fill is not None:
                payload[:] = fill
            payload[:, 5] = 0
            ops.add_payload_(payload[0], smooth(NUMEL, 0), 1.0, *layout)
            ops.compress_mean_(payload, smooth(NUMEL, 0), NUMEL, *layout)
        good = reference.compress_gradient_(smooth(NUMEL, 1), None, 1.0, *layout)
        more, actual, expected = good.clone(), smooth(NUMEL, 0), smooth(NUMEL, 0)
        begin = 64 + layout.block_bytes  # of the block of the second stratum
        last = max(i for i in range(128) if good[begin + i // 8] >> i % 8 & 1)
        for i in range(last + 1, 128):
            more[begin + i // 8] |= 1 << i % 8
        ops.add_payload_(more, actual, 1.0, *layout)
        reference.add_payload_(good, expected, 1.0, *layout)
        assert last < 127
        assert same(actual, expected)


def check_offsets() -> None:
    """Payloads that do not begin at a word of memory."""
    payload = reference.compress_gradient_(smooth(NUMEL, 0), None, 1.0, *PLAIN)
    moved = torch.cat((payload.new_zeros(3), payload))[3:]
    actual, expected = torch.zeros(NUMEL), torch.zeros(NUMEL)
    ops.add_payload_(moved, actual, 1.0, *PLAIN)
    reference.add_payload_(payload, expected, 1.0, *PLAIN)
    assert actual.any()
    assert same(actual, expected)
    assert torch.equal(ops.payload_checksum(moved), reference.payload_checksum(payload))
    pair = torch.cat((moved, moved)).view(2, -1)
    changed("compress_mean_", [pair, None], NUMEL, *PLAIN)
