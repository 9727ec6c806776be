"""What must hold for every input: counts, ties, the loss of a sweep, and patterns at their ends."""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from fmcompress import NM, Unstructured, available, magnitude, ops, sparsegpt, use

BACKENDS = ["reference", *(["native"] if "native" in available("nm_mask") else [])]
DTYPES = {32: torch.float32, 64: torch.float64}
# the worst of many seeds with room: the factor is inverted here, which the code under test never does
LOSS_RTOL = {torch.float32: 1e-3, torch.float64: 1e-9}

quick = settings(derandomize=True, deadline=None, max_examples=60, database=None)
slow = settings(quick, max_examples=25, suppress_health_check=[HealthCheck.too_slow])

widths = st.sampled_from([32, 64])
bit_widths = st.sampled_from(ops.BITS)
sizes = st.integers(1, 64)
seeds = st.integers(0, 2**20)
sparsities = st.one_of(st.sampled_from([0.0, 0.25, 0.5, 1.0]), st.floats(0, 1))
patterns = st.integers(1, 16).flatmap(lambda group: st.tuples(st.integers(1, group), st.just(group)))


@st.composite
def scores_of(draw, cols=sizes):
    """Any floats at all, or only a few values, so that ties, NaN, infinities and both zeros are common."""
    width = draw(widths)
    few = st.sampled_from([0.0, -0.0, 1.0, -1.0, math.inf, -math.inf, math.nan, -math.nan])
    elements = draw(st.sampled_from([few, st.floats(width=width)]))
    shape = (draw(st.integers(0, 8)), draw(cols))
    return torch.from_numpy(draw(hnp.arrays(np.dtype(f"float{width}"), shape, elements=elements)))


@st.composite
def finite_weights(draw):
    """Weights of any size that can be squared, and zeros."""
    width = draw(widths)
    largest = 2.0**50 if width == 32 else 2.0**400
    elements = st.one_of(st.just(0.0), st.floats(-largest, largest, width=width, allow_subnormal=False))
    shape = (draw(st.integers(1, 6)), draw(sizes))
    return torch.from_numpy(draw(hnp.arrays(np.dtype(f"float{width}"), shape, elements=elements)))


def bytes_of(count, seed):
    return torch.randint(256, (count,), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


@st.composite
def layers(draw, group=None):
    """A weight, its Hessian and a dtype; the columns are a multiple of `group`."""
    dtype = DTYPES[draw(widths)]
    rows = draw(st.integers(1, 24))
    cols = draw(sizes) if group is None else group * draw(st.integers(1, max(1, 64 // group)))
    generator = torch.Generator().manual_seed(draw(seeds))
    weight = torch.randn(rows, cols, generator=generator, dtype=torch.float64)
    inputs = torch.randn(2 * cols + 8, cols, generator=generator, dtype=torch.float64)
    inputs += inputs.mean(1, keepdim=True) * draw(st.sampled_from([0.0, 1.0, 4.0]))
    return weight.to(dtype), (inputs.T @ inputs / len(inputs)).to(dtype)


def precedes(scores, i, j):
    """Whether place i goes before place j: smaller first, then the lower index, NaN last."""
    a, b = scores[i], scores[j]
    if math.isnan(a) or math.isnan(b):
        return (not math.isnan(a), -i) > (not math.isnan(b), -j)
    return (a, i) < (b, j)


def assert_smallest(scores, mask, count):
    assert sum(mask) == count
    chosen = [i for i, marked in enumerate(mask) if marked]
    others = [i for i, marked in enumerate(mask) if not marked]
    assert all(precedes(scores, i, j) for i in chosen for j in others)


@quick
@given(scores=scores_of(), share=st.floats(0, 1))
def test_select_smallest_takes_exactly_the_smallest(scores, share):
    count = round(share * scores.shape[1])
    masks = []
    for name in BACKENDS:
        with use(name):
            masks.append(ops.select_smallest(scores, count))
        for segment, mask in zip(scores.tolist(), masks[-1].tolist(), strict=True):
            assert_smallest(segment, mask, count)
    assert all(torch.equal(mask, masks[0]) for mask in masks)


@quick
@given(data=st.data(), pattern=patterns)
def test_every_group_is_exact(data, pattern):
    keep, group = pattern
    scores = data.draw(scores_of(st.integers(0, 64 // group).map(lambda groups: groups * group)))
    masks = []
    for name in BACKENDS:
        with use(name):
            masks.append(ops.nm_mask(scores, keep, group))
        for members, mask in zip(scores.view(-1, group).tolist(), masks[-1].view(-1, group).tolist(), strict=True):
            assert_smallest(members, mask, group - keep)
    assert all(torch.equal(mask, masks[0]) for mask in masks)


@pytest.mark.parametrize("backend", BACKENDS)
@slow
@given(layer=layers(), share=st.floats(0, 1))
def test_the_loss_of_a_sweep_is_what_it_did_to_the_outputs(backend, layer, share):
    weight, hessian = layer
    hessian = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=hessian.dtype)
    factor = torch.linalg.cholesky(torch.linalg.inv(hessian.double())).mT.contiguous()
    prune = torch.rand(weight.shape, generator=torch.Generator().manual_seed(weight.numel())) < share
    work = weight.clone()
    with use(backend):
        loss = ops.sweep_block_(work, factor.to(weight.dtype), prune)
    errors = (weight - work).double() @ torch.linalg.inv(factor)  # dW R with R the inverse of U
    scale = float(errors.square().sum())
    assert float(loss.double().sum()) == pytest.approx(scale, rel=LOSS_RTOL[weight.dtype], abs=1e-12)
    assert bool((work[prune] == 0).all())


@pytest.mark.parametrize("backend", BACKENDS)
@slow
@given(layer=layers(), bits=bit_widths, symmetric=st.booleans(), share=st.floats(0, 1), own=st.booleans())
def test_a_joint_sweep_ends_on_its_grids_and_tells_what_it_cost(backend, layer, bits, symmetric, share, own):
    weight, hessian = layer
    hessian = hessian + 0.01 * hessian.diagonal().mean() * torch.eye(len(hessian), dtype=hessian.dtype)
    factor = torch.linalg.cholesky(torch.linalg.inv(hessian.double())).mT.contiguous()
    prune = torch.rand(weight.shape, generator=torch.Generator().manual_seed(weight.numel())) < share
    work = weight.clone()
    with use(backend):
        scale, zero = (t[:, None] for t in ops.search_grid(weight, bits, symmetric=symmetric))
        if own:
            scale, zero = scale.expand(weight.shape), zero.expand(weight.shape)
        loss, codes = ops.joint_sweep_block_(work, factor.to(weight.dtype), scale, zero, bits, prune)
    assert torch.equal(work, (codes.to(work.dtype) - zero.to(work.dtype)) * scale)
    assert int(codes.max()) < 2**bits
    assert not work[prune].any()
    errors = (weight - work).double() @ torch.linalg.inv(factor)
    expected = float(errors.square().sum())
    assert float(loss.double().sum()) == pytest.approx(expected, rel=LOSS_RTOL[weight.dtype], abs=1e-12)


@pytest.mark.parametrize("backend", BACKENDS)
@quick
@given(weight=finite_weights(), bits=bit_widths, symmetric=st.booleans())
def test_rounding_keeps_zeros_and_moves_nothing_by_more_than_half_a_step(backend, weight, bits, symmetric):
    with use(backend):
        scale, zero = ops.search_grid(weight, bits, symmetric=symmetric)
        codes = ops.quantize(weight, scale, zero, bits)
        values = ops.dequantize(codes, scale, zero)
        assert torch.equal(ops.quantize(values, scale, zero, bits), codes)
    assert int(codes.max()) < 2**bits
    half = 0.5 + 2**bits * torch.finfo(weight.dtype).eps  # the quotient is rounded too
    assert ((values - weight).double().abs() <= half * scale.double()[:, None]).all()
    assert not values[weight == 0].any()


@pytest.mark.parametrize("backend", BACKENDS)
@quick
@given(rows=st.integers(0, 9), cols=st.integers(0, 300), bits=bit_widths, seed=seeds)
def test_unpacking_undoes_packing_of_codes(backend, rows, cols, bits, seed):
    codes = bytes_of(rows * cols, seed).view(rows, cols)
    with use(backend):
        packed = ops.pack_codes(codes, bits)
        assert torch.equal(ops.unpack_codes(packed, bits, cols), codes & (2**bits - 1))
        assert torch.equal(ops.pack_codes(ops.unpack_codes(packed, bits, cols), bits), packed)


@pytest.mark.parametrize("backend", BACKENDS)
@quick
@given(
    rows=st.integers(0, 9),
    cols=st.integers(0, 300),
    density=st.floats(0, 1),
    dtype=st.sampled_from([torch.uint8, torch.int16, torch.int32]),
    seed=seeds,
)
def test_unpacking_undoes_packing_of_what_is_kept(backend, rows, cols, density, dtype, seed):
    values = bytes_of(rows * cols * dtype.itemsize, seed).view(dtype).view(rows, cols)
    mask = torch.rand(rows, cols, generator=torch.Generator().manual_seed(seed)) < density
    with use(backend):
        bitmask, kept = ops.pack_bitmask(values, mask)
        assert torch.equal(kept, values[mask])
        assert torch.equal(ops.unpack_bitmask(bitmask, kept, cols), values * mask)


@pytest.mark.parametrize("backend", BACKENDS)
@quick
@given(rows=st.integers(1, 5), cols=st.integers(1, 40), surplus=st.integers(-1, 1), seed=seeds, wild=st.booleans())
def test_a_strangers_bitmask_is_unpacked_iff_it_fits(backend, rows, cols, surplus, seed, wild):
    octets = bytes_of(rows * -(-cols // 8), seed).numpy().reshape(rows, -1)
    bits = np.unpackbits(octets, axis=1, bitorder="little")
    if not wild:  # most arbitrary bytes have a bit after the last column
        bits[:, cols:] = 0
    kept = torch.ones(max(0, int(bits.sum()) + surplus), dtype=torch.int16)
    fits = not bits[:, cols:].any() and len(kept) == bits.sum()
    bitmask = torch.from_numpy(np.packbits(bits, axis=1, bitorder="little"))
    with use(backend):
        if fits:
            assert np.array_equal(ops.unpack_bitmask(bitmask, kept, cols).numpy(), bits[:, :cols])
        else:
            with pytest.raises(ValueError, match="bitmask"):
                ops.unpack_bitmask(bitmask, kept, cols)


@slow
@given(layer=layers(), sparsity=sparsities, scope=st.sampled_from(["block", "row", "layer"]), block=st.integers(1, 64))
def test_unstructured_zeros_are_exact(layer, sparsity, scope, block):
    weight, hessian = layer
    pattern = Unstructured(sparsity, scope)
    expected = pattern.zeros(*weight.shape)
    for result in (sparsegpt(weight, hessian, pattern, block_size=block), magnitude(weight, pattern, hessian)):
        assert result.zeros == int((result.weight == 0).sum()) == expected
        if scope == "row":
            assert ((result.weight == 0).sum(1) == expected // len(weight)).all()
        assert result.loss >= 0


@slow
@given(data=st.data(), pattern=patterns)
def test_group_zeros_are_exact(data, pattern):
    weight, hessian = data.draw(layers(pattern[1]))
    nm = NM(*pattern)
    for result in (sparsegpt(weight, hessian, nm), magnitude(weight, nm, hessian)):
        zeros = (result.weight == 0).view(-1, nm.group).sum(1)
        assert (zeros == nm.group - nm.keep).all()
        assert result.zeros == nm.zeros(*weight.shape) == int(zeros.sum())


@slow
@given(layer=layers(), scope=st.sampled_from(["block", "row", "layer"]))
def test_nothing_and_everything(layer, scope):
    weight, hessian = layer
    for solve in (sparsegpt, magnitude):
        nothing = solve(weight, hessian=hessian, pattern=Unstructured(0.0, scope))
        assert torch.equal(nothing.weight, weight)
        assert (nothing.loss, nothing.relative_error, nothing.zeros) == (0.0, 0.0, 0)
        everything = solve(weight, hessian=hessian, pattern=Unstructured(1.0, scope))
        assert not everything.weight.any()
        assert everything.relative_error == pytest.approx(1.0, rel=1e-3)


@quick
@given(
    sparsity=sparsities,
    rows=st.integers(0, 64),
    cols=sizes,
    block=sizes,
    scope=st.sampled_from(["block", "row", "layer"]),
)
def test_counts_lie_within_half_a_weight_of_the_share(sparsity, rows, cols, block, scope):
    zeros = Unstructured(sparsity, scope).zeros(rows, cols)
    assert 0 <= zeros <= rows * cols
    slack = rows if scope == "row" else 1
    assert abs(zeros - sparsity * rows * cols) <= 0.5 * slack + 1e-9
