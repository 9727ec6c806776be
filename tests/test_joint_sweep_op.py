"""The joint sweep: reference against the float64 truth, native against reference, what must hold."""

import itertools

import kernel_cases
import numpy as np
import pytest
import torch
from golden import quantization as golden
from op_support import (
    EYE,
    SHAPES,
    TOLERANCE,
    any_codes,
    bits_of,
    layouts,
    needs_native,
    on_backends,
    on_devices,
    random,
    swept_jointly,
    with_bits,
    with_dtypes,
)

from fmcompress import ops, reference, use

# how the pruned are found: a mask, keep:group inside the sweep, or none are
MODES = {"mask": (0, 0), "2:4": (2, 4), "3:8": (3, 8), "nothing": (0, 0)}
with_modes = pytest.mark.parametrize("mode", MODES)
with_grids = pytest.mark.parametrize("own", [False, True], ids=["row grids", "own grids"])


def joint_inputs(weight, mode, own, bits, symmetric=True, candidates=5):
    """(scale, zero, prune, keep, group) for a weight; own grids change every few columns."""
    rows, cols = weight.shape
    scale, zero = ops.search_grid(weight, bits, symmetric=symmetric, candidates=candidates)
    scale, zero = scale[:, None], zero[:, None]
    if own:
        factors = 0.5 + torch.rand(cols // 3 + 1, generator=torch.Generator().manual_seed(7)).to(weight)
        scale = scale * factors.repeat_interleave(3)[:cols]
        zero = (zero + torch.arange(cols, device=zero.device) // 3 % 2).clamp(max=2**bits - 1).to(torch.uint8)
    prune = (random(rows, cols, seed=1) > 0).to(weight.device) if mode == "mask" else None
    return scale.contiguous(), zero.contiguous(), prune, *MODES[mode]


# reference against the truth


@with_modes
@with_grids
@pytest.mark.parametrize(("bits", "symmetric"), [(2, True), (3, False), (4, True), (8, False)])
def test_reference_joint_sweep_is_true(make_weight, make_factor, mode, own, bits, symmetric):
    weight, factor = make_weight(4, 24), make_factor(24)
    scale, zero, prune, keep, group = joint_inputs(weight, mode, own, bits, symmetric)
    numpy = [None if t is None else t.numpy() for t in (weight.clone(), factor, prune, scale, zero)]
    expected, expected_loss, expected_codes, mask = golden.joint_sweep_block(*numpy, bits, keep, group)
    work, loss, codes = swept_jointly("reference", weight, factor, scale, zero, bits, prune, keep, group)
    assert np.array_equal(codes.numpy(), expected_codes)
    np.testing.assert_allclose(work.numpy(), expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(loss.numpy(), expected_loss, rtol=1e-10)
    assert not work.numpy()[mask].any()


# native against reference


@needs_native
def test_native_passes_the_cases_of_every_kernel():
    kernel_cases.check_joint_sweep(torch.ops.fmcompress.joint_sweep_block_)


@needs_native
@on_devices
@with_dtypes
@with_grids
@pytest.mark.parametrize(
    ("shape", "mode"), [(s, m) for s, m in itertools.product(SHAPES, MODES) if s[1] % max(1, MODES[m][1]) == 0], ids=str
)
@pytest.mark.parametrize(("bits", "symmetric"), [(4, True), (3, False)])
def test_native_joint_sweep(make_weight, make_factor, shape, mode, own, bits, symmetric, dtype, device):
    weight, factor = make_weight(*shape, dtype).to(device), make_factor(shape[1], dtype).to(device)
    scale, zero, prune, keep, group = joint_inputs(weight, mode, own, bits, symmetric)
    (expected, expected_loss, expected_codes), (work, loss, codes) = (
        swept_jointly(name, weight, factor, scale, zero, bits, prune, keep, group) for name in ("reference", "native")
    )
    # a weight half-way between two levels but for rounding may go either way: such a row is not compared
    same = (codes == expected_codes).all(1)
    assert (~same).sum() <= (shape[0] // 20 if dtype == torch.float32 else 0)  # float64 hardly ever rounds that near
    rtol, atol = TOLERANCE[dtype]
    torch.testing.assert_close(loss[same], expected_loss[same], rtol=rtol, atol=atol)
    assert torch.equal(bits_of(work[same]), bits_of(expected[same]))  # on the same level, so the same number


@needs_native
@with_dtypes
@with_grids
def test_native_joint_sweep_rounds_ties_to_even(own, dtype):
    # with integers and an identity every product is exact, so each tie must fall as in the reference
    weight, factor = (2 * random(33, 40, dtype=dtype)).round() / 2, torch.eye(40, dtype=dtype)
    scale = torch.ones(33, 40 if own else 1, dtype=dtype)
    zero = any_codes(*scale.shape, bits=3)
    expected, actual = (
        swept_jointly(name, weight, factor, scale, zero, 3, keep=2, group=4) for name in ("reference", "native")
    )
    assert all(map(torch.equal, actual, expected))


# what must hold on every back-end


@on_backends
@with_dtypes
@with_modes
@with_grids
@with_bits
def test_a_joint_sweep_ends_on_the_grid(make_weight, make_factor, backend, mode, own, bits, dtype):
    weight, factor = make_weight(37, 64, dtype), make_factor(64, dtype)
    scale, zero, prune, keep, group = joint_inputs(weight, mode, own, bits, symmetric=False)
    work, loss, codes = swept_jointly(backend, weight, factor, scale, zero, bits, prune, keep, group)
    assert int(codes.max()) < 2**bits
    shape = (-1, 1) if own else (37, 64)
    values = reference.dequantize(codes.view(shape), scale.view(-1), zero.view(-1)).view(37, 64)
    assert torch.equal(bits_of(work), bits_of(values + 0.0))
    pruned = work == 0 if prune is None else prune
    assert (bits_of(work[pruned]) == 0).all()
    assert torch.equal(codes[pruned], zero.expand(37, 64)[pruned])
    if group:
        assert (pruned.view(-1, group).sum(1) >= group - keep).all()
    assert (loss > 0).all()


@on_backends
@with_dtypes
def test_a_pruned_weight_is_plus_zero_on_a_negative_scale(make_weight, make_factor, backend, dtype):
    weight, factor, prune = make_weight(5, 24, dtype), make_factor(24, dtype), random(5, 24) > 0
    scale, zero = torch.full((5, 1), -0.01, dtype=dtype), any_codes(5, 1, bits=3)
    work, _, codes = swept_jointly(backend, weight, factor, scale, zero, 3, prune)
    assert (bits_of(work[work == 0]) == 0).all()
    assert torch.equal(work, (codes.to(dtype) - zero) * scale)


@on_backends
@with_modes
@with_grids
def test_the_loss_is_what_the_sweep_did_to_the_outputs(make_weight, make_hessian, backend, mode, own):
    weight, hessian = make_weight(9, 24), make_hessian(24)
    factor = torch.linalg.cholesky(torch.linalg.inv(hessian)).mT.contiguous()
    scale, zero, prune, keep, group = joint_inputs(weight, mode, own, 4)
    work, loss, _ = swept_jointly(backend, weight, factor, scale, zero, 4, prune, keep, group)
    change = work - weight
    torch.testing.assert_close(loss, ((change @ hessian) * change).sum(1), rtol=1e-9, atol=0)


@on_backends
def test_a_joint_sweep_of_fine_grids_is_a_pruning_sweep(make_weight, make_factor, backend):
    weight, factor, prune = make_weight(9, 24), make_factor(24), random(9, 24) > 0
    prune[:, -3:] = True
    with use(backend):
        ops.sweep_block_(pruned := weight.clone(), factor, prune)
    scale, zero = ops.search_grid(pruned, 8)
    work, *_ = swept_jointly(backend, weight, factor, scale[:, None], zero[:, None], 8, prune)
    assert ((work - pruned).abs() < 6 * scale[:, None]).all()  # some steps: each absorbs the errors of those before it
    assert not torch.equal(work, pruned)


# layouts and surroundings


@needs_native
@with_dtypes
@with_grids
def test_any_layout_of_the_other_arguments_sweeps_the_same(make_weight, make_factor, own, dtype):
    weight, factor = make_weight(9, 24, dtype), make_factor(24, dtype)
    scale, zero, prune, *_ = joint_inputs(weight, "mask", own, 4)
    expected = swept_jointly("native", weight, factor, scale, zero, 4, prune)
    views = [list(layouts(tensor).values()) for tensor in (factor, scale, zero, prune)]
    for other_factor, *others in itertools.zip_longest(*views):
        actual = swept_jointly("native", weight, other_factor, *others[:2], 4, others[2])
        assert all(map(torch.equal, actual, expected))


@needs_native
@with_dtypes
@pytest.mark.parametrize("offset", [1, 3, 5])
def test_an_offset_weight_is_swept_in_place_and_all_else_stays(make_weight, make_factor, offset, dtype):
    weight, factor = make_weight(10, 23, dtype), make_factor(23, dtype)
    scale, zero, prune, *_ = joint_inputs(weight, "mask", True, 4)
    kept = [tensor.clone() for tensor in (factor, scale, zero, prune)]
    memory = torch.full((weight.numel() + offset + 9,), 7.0, dtype=dtype)
    view = memory[offset : offset + weight.numel()].view(weight.shape)
    view.copy_(weight)
    expected, *_ = swept_jointly("native", weight, factor, scale, zero, 4, prune)
    ops.joint_sweep_block_(view, factor, scale, zero, 4, prune)
    assert torch.equal(view, expected)
    assert (memory[:offset] == 7).all()
    assert (memory[offset + weight.numel() :] == 7).all()
    assert all(map(torch.equal, (factor, scale, zero, prune), kept))


@on_backends
def test_a_nan_row_spoils_no_other_row_of_a_joint_sweep(make_weight, make_factor, backend):
    weight, factor = make_weight(10, 24), make_factor(24)
    scale, zero, *_ = joint_inputs(weight, "nothing", False, 4)
    expected, _, expected_codes = swept_jointly(backend, weight, factor, scale, zero, 4, keep=2, group=4)
    weight[3, 0] = float("nan")
    work, loss, codes = swept_jointly(backend, weight, factor, scale, zero, 4, keep=2, group=4)
    others = torch.arange(10) != 3
    assert torch.equal(work[others], expected[others])
    assert torch.equal(codes[others], expected_codes[others])
    assert loss.isnan().nonzero().flatten().tolist() == [3]


# the contract


def test_fake_outputs_have_shape_and_dtype():
    weight, grid = torch.empty(5, 8, device="meta"), torch.empty(5, 1, device="meta")
    loss, codes = torch.ops.fmcompress.joint_sweep_block_(weight, EYE.to("meta"), None, grid, grid.byte(), 4, 0, 0)
    assert (loss.shape, loss.dtype, loss.device.type) == ((5,), torch.float32, "meta")
    assert (codes.shape, codes.dtype, codes.device.type) == ((5, 8), torch.uint8, "meta")


W, S, Z = torch.ones(3, 8), torch.ones(3), any_codes(3)
S1, Z1 = S[:, None], Z[:, None]
WRONG = {
    "scale of one row": (lambda: ops.joint_sweep_block_(W, EYE, S, Z, 4), r"scale: expected \[3, 1\] or \[3, 8\]"),
    "two scales a row": (
        lambda: ops.joint_sweep_block_(W, EYE, W[:, :2], Z1.expand(3, 2), 4),
        r"scale: expected \[3, 1\] or \[3, 8\]",
    ),
    "sweep bits": (lambda: ops.joint_sweep_block_(W, EYE, S1, Z1, 5), "bits: expected one of"),
    "factor shape": (lambda: ops.joint_sweep_block_(W, EYE[:7], S1, Z1, 4), r"factor: expected \[8, 8\]"),
    "pattern": (lambda: ops.joint_sweep_block_(W, EYE, S1, Z1, 4, keep=2, group=3), "divisible by 3"),
    "mask": (lambda: ops.joint_sweep_block_(W, EYE, S1, Z1, 4, W), r"prune: expected \[3, 8\] bool"),
    "wide": (
        lambda: ops.joint_sweep_block_(torch.ones(3, 129), torch.eye(129), S1, Z1, 4),
        "at most 128 columns, got 129",
    ),
    "strided": (lambda: ops.joint_sweep_block_(EYE[:, ::2], EYE, S1, Z1, 4), "weight: expected contiguous rows"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        call()
