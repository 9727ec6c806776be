"""Grids and codes: reference against the float64 truth, native against reference, what must hold."""

import kernel_cases
import numpy as np
import pytest
import torch
from golden import quantization as golden
from op_support import (
    any_codes,
    bits_of,
    both,
    few_values,
    layouts,
    needs_native,
    on_backends,
    on_devices,
    random,
    with_bits,
    with_dtypes,
)

from fmcompress import ops, reference, use

with_symmetry = pytest.mark.parametrize("symmetric", [True, False])


# reference against the truth


@with_bits
@with_symmetry
@pytest.mark.parametrize("candidates", [1, 2, 17])
@pytest.mark.parametrize("shape", [(4, 9), (1, 1), (3, 40), (0, 3)], ids=str)
def test_reference_search_grid_is_true(shape, bits, symmetric, candidates):
    weight = random(*shape, seed=bits) * torch.logspace(-3, 2, max(1, shape[0]), dtype=torch.float64)[: shape[0], None]
    weight[:1, ::2] = weight[:1, ::2].abs()
    scale, zero = reference.search_grid(weight, bits, symmetric, candidates)
    expected_scale, expected_zero = golden.search_grid(weight.numpy(), bits, symmetric, candidates)
    np.testing.assert_allclose(scale.numpy(), expected_scale, rtol=1e-15)
    assert np.array_equal(zero.numpy(), expected_zero)


@with_bits
def test_reference_codes_are_true(bits):
    weight, zero = 2 * random(6, 33), any_codes(6, bits=bits)
    scale = random(6, seed=1).abs() + 0.05
    weight[1] = (weight[1] / scale[1] * 2).round() / 2 * scale[1]  # many half-way between two levels
    codes = reference.quantize(weight, scale, zero, bits)
    assert np.array_equal(codes.numpy(), golden.quantize(weight.numpy(), scale.numpy(), zero.numpy(), bits))
    expected = golden.dequantize(codes.numpy(), scale.numpy(), zero.numpy())
    assert np.array_equal(reference.dequantize(codes, scale, zero).numpy(), expected)


# native against reference


@needs_native
@pytest.mark.parametrize("op", ["search_grid", "quantize", "dequantize"])
def test_native_passes_the_cases_of_every_kernel(op):
    getattr(kernel_cases, f"check_{op}")(getattr(torch.ops.fmcompress, op))


@needs_native
@on_devices
@with_dtypes
@with_bits
@with_symmetry
@pytest.mark.parametrize("make", [random, few_values])
@pytest.mark.parametrize("shape", [(5, 128), (0, 7), (3, 1), (9, 100), (2, 1000), (1, 65)], ids=str)
def test_native_grid_and_codes_are_the_references_bits(make, shape, bits, symmetric, dtype, device):
    weight = make(*shape, dtype=dtype).to(device)
    (expected_scale, expected_zero), (scale, zero) = both(ops.search_grid, weight, bits, symmetric=symmetric)
    assert torch.equal(bits_of(scale), bits_of(expected_scale))
    assert torch.equal(zero, expected_zero)
    numbers = weight.nan_to_num(nan=-0.0, posinf=float("inf"), neginf=-float("inf"))  # the code of NaN means nothing
    expected, codes = both(ops.quantize, numbers, scale, zero, bits)
    assert torch.equal(codes, expected)
    expected, values = both(ops.dequantize, codes, scale, zero)
    assert torch.equal(values, expected)


@needs_native
@with_dtypes
@pytest.mark.parametrize("candidates", [2, 40, 1000])
def test_native_search_finds_grids_as_good_as_the_references(candidates, dtype):
    weight = random(37, 96, dtype=dtype) ** 3
    (expected, _), (scale, zero) = both(ops.search_grid, weight, 3, symmetric=False, candidates=candidates)
    assert (scale == expected).double().mean() > 0.9  # the sums are of another order, and may tie otherwise
    errors = [
        (ops.dequantize(ops.quantize(weight, s, z, 3), s, z) - weight).double().square().sum(1)
        for s, z in ((scale, zero), reference.search_grid(weight, 3, False, candidates), ops.search_grid(weight, 3))
    ]
    torch.testing.assert_close(errors[0], errors[1], rtol=1e-5, atol=0)
    assert errors[0].sum() < 0.9 * errors[2].sum()  # clipping a heavy tail pays


# what must hold on every back-end


@on_backends
@with_dtypes
def test_codes_by_hand(backend, dtype):
    weight = torch.tensor([[-9.0, -0.75, -0.5, -0.25, -0.0, 0.25, 0.5, 0.75, 1.25, 9.0]], dtype=dtype)
    scale, zero = torch.tensor([0.5], dtype=dtype), torch.tensor([2], dtype=torch.uint8)
    with use(backend):
        codes = ops.quantize(weight, scale, zero, 3)
        assert codes.tolist() == [[0, 0, 1, 2, 2, 2, 3, 4, 4, 7]]  # -1.5, 1.5 and 2.5 steps: to -2, 2 and 2
        assert ops.dequantize(codes, scale, zero).tolist() == [[-1, -1, -0.5, 0, 0, 0, 0.5, 1, 1, 2.5]]
        assert ops.search_grid(weight, 2, symmetric=True)[0].tolist() == [6.0]
        scale, zero = ops.search_grid(torch.tensor([[-1.0, 2.0], [3.0, 6.0], [-6.0, -3.0], [0.0, -0.0]], dtype=dtype), 2,
                                      symmetric=False)  # fmt: skip
        assert (scale.tolist(), zero.tolist()) == ([1, 2, 2, 1], [1, 0, 3, 0])


@on_backends
@with_dtypes
@with_bits
@with_symmetry
@pytest.mark.parametrize("size", [1e-30, 1e-3, 1.0, 1e15])
def test_rounding_moves_no_weight_by_more_than_half_a_step(backend, size, bits, symmetric, dtype):
    weight = size * random(11, 77, dtype=dtype)
    weight[:, ::5] = 0.0
    weight[3], weight[4] = weight[3].abs(), -weight[4].abs()
    weight[5] = 0.0
    with use(backend):
        scale, zero = ops.search_grid(weight, bits, symmetric=symmetric)
        assert (scale > 0).all()
        assert int(zero.max()) < 2**bits
        codes = ops.quantize(weight, scale, zero, bits)
        values = ops.dequantize(codes, scale, zero)
    assert int(codes.max()) < 2**bits
    half = 0.5 + 2**bits * torch.finfo(dtype).eps  # weight / scale is rounded too
    assert ((values - weight).abs().double() <= half * scale[:, None]).all()
    assert (bits_of(values[weight == 0]) == 0).all()
    with use(backend):
        assert torch.equal(ops.quantize(values, scale, zero, bits), codes)


@on_backends
@with_dtypes
def test_a_segment_that_is_not_finite_spoils_no_other(backend, dtype):
    weight = random(4, 40, dtype=dtype)
    with use(backend):
        expected = [t[:2] for t in ops.search_grid(weight, 4, symmetric=False, candidates=9)]
        weight[2, 5], weight[3, 39] = float("nan"), float("inf")
        scale, zero = ops.search_grid(weight, 4, symmetric=False, candidates=9)
    assert torch.equal(scale[:2], expected[0])
    assert torch.equal(zero[:2], expected[1])
    assert (scale[2:].tolist(), zero[2:].tolist()) == ([1, 1], [0, 0])


@needs_native
@with_dtypes
def test_any_layout_gives_the_same_codes(dtype):
    weight = random(13, 24, dtype=dtype)
    scale, zero = ops.search_grid(weight, 3, candidates=4)
    codes = ops.quantize(weight, scale, zero, 3)
    values = ops.dequantize(codes, scale, zero)
    wide = torch.stack([scale, scale], 1)[:, 0], torch.stack([zero, zero], 1)[:, 1]
    for name, view in layouts(weight).items():
        assert all(map(torch.equal, ops.search_grid(view, 3, candidates=4), (scale, zero))), name
        assert torch.equal(ops.quantize(view, *wide, 3), codes), name
    for name, view in layouts(codes).items():
        assert torch.equal(ops.dequantize(view, *wide), values), name


# the contract


def test_fake_outputs_have_shape_and_dtype():
    weight = torch.empty(5, 8, device="meta")
    fm = torch.ops.fmcompress
    scale, zero = fm.search_grid(weight, 4, True, 3)
    codes = fm.quantize(weight, scale, zero, 4)
    for tensor, shape, dtype in (
        (scale, (5,), torch.float32),
        (zero, (5,), torch.uint8),
        (codes, (5, 8), torch.uint8),
        (fm.dequantize(codes, scale, zero), (5, 8), torch.float32),
    ):
        assert (tensor.shape, tensor.dtype, tensor.device.type) == (shape, dtype, "meta")


W, S, Z, C = torch.ones(3, 8), torch.ones(3), any_codes(3), any_codes(3, 8)
WRONG = {
    "weight 1-D": (lambda: ops.search_grid(S, 4), "weight: expected 2 dimensions"),
    "weight half": (lambda: ops.search_grid(W.half(), 4), r"Call weight\.float\(\) first"),
    "bits 5": (lambda: ops.search_grid(W, 5), r"bits: expected one of \(2, 3, 4, 8\), got 5"),
    "bits 1": (lambda: ops.quantize(W, S, Z, 1), "bits: expected one of"),
    "no columns": (lambda: ops.search_grid(W[:, :0], 4), "at least one column"),
    "no candidates": (lambda: ops.search_grid(W, 4, candidates=0), "candidates: expected 1 to 1000, got 0"),
    "many candidates": (lambda: ops.search_grid(W, 4, candidates=1001), "got 1001"),
    "scale shape": (lambda: ops.quantize(W, S[:, None], Z, 4), r"scale: expected \[3\]"),
    "scale dtype": (lambda: ops.quantize(W, S.double(), Z, 4), "scale: expected.*float64"),
    "zero shape": (lambda: ops.quantize(W, S, Z[:, None], 4), r"zero: expected \[3\] uint8"),
    "zero dtype": (lambda: ops.quantize(W, S, Z.int(), 4), "zero: expected.*int32"),
    "codes dtype": (lambda: ops.dequantize(W, S, Z), "codes: expected uint8"),
    "codes 1-D": (lambda: ops.dequantize(Z, S, Z), "codes: expected 2 dimensions"),
    "scale integer": (lambda: ops.dequantize(C, S.int(), Z), "scale: expected float32 or float64"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        call()
