"""What must hold for every tensor and layout: nothing is lost, errors shrink, every block has its turn."""

import math

import cocktail_cases as shared
import numpy as np
import pytest
import torch
from golden import cocktail as golden
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fmcompress import available, ops, use
from fmcompress.ops import Layout

BACKENDS = ["reference", *(["native"] if "native" in available("compress_gradient_") else [])]
quick = settings(derandomize=True, deadline=None, max_examples=60, database=None)
on_backends = pytest.mark.parametrize("backend", BACKENDS)
codes, either = st.sampled_from([*range(1, 9), 32]), st.booleans()


@st.composite
def layouts(draw, numel, bits=codes, symmetric=either, all_blocks=False):
    block = draw(st.sampled_from([128, 256]))
    blocks = -(-numel // block)
    kept = draw(st.integers(1, block))
    return Layout(
        seed=draw(st.integers(0, 2**63 - 1)),
        step=draw(st.integers(0, 2**63 - 1)),
        stream=draw(st.integers(0, 2**32 - 1)),
        block=block,
        sampled=blocks if all_blocks else draw(st.integers(1, blocks)),
        kept=kept,
        bits=draw(bits),
        group=draw(st.integers(1, kept)),
        symmetric=draw(symmetric),
    )


@st.composite
def tensors(draw, largest=2.0**120, smallest=0.0):
    """Vectors of drawn numbers among normal ones, so that most are unlike."""
    numel = draw(st.integers(1, 1500))
    made = np.random.default_rng(draw(st.integers(0, 2**20))).standard_normal(numel).astype(np.float32)
    numbers = st.one_of(st.sampled_from([0.0, -0.0, 1.0, -1.0]), st.floats(-largest, largest, width=32))
    some = draw(hnp.arrays(np.float32, st.integers(0, min(numel, 40)), elements=numbers))
    made[: len(some)] = np.where(np.abs(some) < smallest, 0, some)
    return torch.from_numpy(np.random.default_rng(numel).permutation(made))


def sent(payload, numel, layout):
    out = torch.zeros(numel)
    ops.add_payload_(payload, out, layout)
    return out


def energy(values):
    return float(values.double().square().sum())


@on_backends
@quick
@given(st.data())
def test_what_is_sent_and_what_stays_are_the_whole(backend, data):
    """Bit for bit where no sum is rounded: symmetric codes are half to twice of a value, or 0."""
    tensor = data.draw(tensors())
    layout = data.draw(layouts(len(tensor), st.sampled_from([*range(2, 9), 32]), st.just(True)))
    residual = torch.zeros(len(tensor))
    with use(backend):
        back = sent(ops.compress_gradient_(tensor, residual, layout), len(tensor), layout)
    assert torch.equal(back + residual, tensor)


@on_backends
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
@quick
@given(st.data())
def test_any_code_loses_at_most_one_rounding(backend, dtype, data):
    tensor = data.draw(tensors())
    layout, residual = data.draw(layouts(len(tensor))), torch.zeros(len(tensor), dtype=dtype)
    with use(backend):
        back = sent(ops.compress_gradient_(tensor, residual, layout), len(tensor), layout)
    off = (back.double() + residual.double() - tensor.double()).abs()
    larger = torch.maximum(back.double().abs(), tensor.double().abs())
    assert (off <= larger * torch.finfo(dtype).eps / 2 + torch.finfo(dtype).tiny * torch.finfo(dtype).eps).all()


def proven_share(layout):
    """Of the energy of the kept elements, what a code takes away at least.

    2 bits and more: the largest of c elements is off by 2^-7 of itself at most, another by no more than itself and by
    no more than half a step, hi / 2L. The worst is hi once and hi / 2L for all others: what is left of the energy is
    (c - 1) / 4L^2 to 1. 1 bit: (sum of m)^2 / c is taken away, which is the sum of m^2 over c at least.
    """
    count = min(layout.group, layout.kept)
    if layout.bits == 32:
        return 1.0
    levels = 2 ** (layout.bits - 1) - 1
    share = 1 / count if layout.bits == 1 else 1 / (1 + (count - 1) / (4 * levels**2))
    return share * (1 - 2**-6)


@on_backends
@quick
@given(st.data())
def test_compression_is_a_contraction(backend, data):
    """||x - C(x)||^2 <= (1 - delta) ||x||^2, for all blocks, with delta the kept share times what codes take of it."""
    tensor = data.draw(tensors(2.0**50, 2.0**-50))
    layout = data.draw(layouts(len(tensor), all_blocks=True))
    with use(backend):
        back = sent(ops.compress_gradient_(tensor, None, layout), len(tensor), layout)
    delta = layout.kept / layout.block * proven_share(layout)
    assert energy(tensor.double() - back.double()) <= (1 - delta) * energy(tensor) * (1 + 1e-6)


@on_backends
@pytest.mark.parametrize("bits", [1, 2, 4, 8, 32])
@pytest.mark.parametrize("sampled", [1, 2, 3, 6])
def test_the_mean_of_an_epoch_is_a_contraction(backend, bits, sampled):
    layout = shared.BASE._replace(block=128, sampled=sampled, kept=40, group=8, bits=bits, step=6 * 2**35)
    tensor, epoch = shared.values("normal", 6 * 128) * torch.linspace(0.1, 9, 6 * 128), 6 // sampled
    left = []
    with use(backend):
        for how in (layout._replace(step=layout.step + i) for i in range(epoch)):
            left.append(
                energy(tensor.double() - sent(ops.compress_gradient_(tensor, None, how), 6 * 128, how).double())
            )
    delta = sampled / 6 * layout.kept / layout.block * proven_share(layout)
    assert math.fsum(left) / epoch <= (1 - delta) * energy(tensor)


@on_backends
@quick
@given(st.data())
def test_exactly_so_many_elements_of_every_sampled_block_are_sent(backend, data):
    numel = data.draw(st.integers(1, 8)) * 256
    tensor = torch.rand(numel, generator=torch.Generator().manual_seed(numel)) + 1
    layout = data.draw(layouts(numel, st.just(32)))
    with use(backend):
        back = sent(ops.compress_gradient_(tensor, None, layout), numel, layout)
    counts = back.view(-1, layout.block).count_nonzero(1)
    expected = torch.zeros_like(counts)
    expected[golden.sampled_blocks(numel, layout)] = layout.kept
    assert torch.equal(counts, expected)
    assert torch.equal(back[back != 0], tensor[back != 0])


@on_backends
@quick
@given(st.data())
def test_every_block_has_its_turn_once_an_epoch(backend, data):
    size, sampled = data.draw(st.integers(1, 12)), data.draw(st.integers(1, 5))
    layout = data.draw(layouts(128, st.just(32)))._replace(block=128, kept=128, group=1, sampled=sampled)
    numel, first = 128 * size * sampled, layout.step // (2 * size) * size
    seen = torch.zeros(size * sampled)
    with use(backend):
        for step in range(first, first + size):
            how = layout._replace(step=step)
            seen += sent(ops.compress_gradient_(torch.ones(numel), None, how), numel, how)[::128]
    assert torch.equal(seen, torch.ones(size * sampled))


@on_backends
@quick
@given(st.data())
def test_differences_leave_all_other_blocks_alone(backend, data):
    numel, dtype = data.draw(st.integers(1, 1500)), data.draw(st.sampled_from(shared.FLOATS))
    layout = data.draw(layouts(numel))
    local, other = shared.values("normal", numel, dtype), shared.values("normal", numel, dtype, 1)
    place = torch.zeros(-(-numel // layout.block), layout.block, dtype=torch.bool)
    place[golden.sampled_blocks(numel, layout)] = True
    place = place.flatten()[:numel]
    local[~place], changed = torch.nan, local.clone()  # which nobody may read, either
    changed[~place] = torch.nan
    with use(backend):
        payload = ops.compress_delta_(changed, other, layout)
    assert payload[5] == 0
    assert changed[~place].isnan().all()
    assert changed[place].isfinite().all()


@on_backends
def test_what_is_not_sent_now_is_sent_later(backend):
    """Error feedback: after many steps the sum of what was sent is the sum of the gradients, but for one residual."""
    numel, total, residual = 1024, torch.zeros(1024, dtype=torch.float64), torch.zeros(1024)
    layout = shared.BASE._replace(block=128, sampled=2, kept=32, group=8)
    gradient, out = shared.values("normal", numel), torch.zeros(numel)
    with use(backend):
        for step in range(400):
            how = layout._replace(step=step)
            ops.add_payload_(ops.compress_gradient_(gradient, residual, how), out, how)
            total += gradient.double()
    assert torch.allclose(out.double() + residual.double(), total, rtol=1e-4, atol=1e-4)
    assert energy(out - total) < 0.01 * energy(total)
