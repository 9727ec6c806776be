"""Every op: reference against the float64 truth, native against reference, contract, dispatch."""

import itertools
import os
import subprocess
import sys
from functools import partial
from pathlib import Path

import admm_step_cases
import cocktail_cases
import factor_cases
import numpy as np
import pytest
import torch
from golden import sparsegpt as golden
from op_support import (
    CALLS,
    EYE,
    PLAN,
    SHAPES,
    TOLERANCE,
    any_codes,
    both,
    few_values,
    layouts,
    needs_native,
    on_backends,
    on_devices,
    random,
    results,
    swept,
    with_dtypes,
)
from packed_cases import Form, packed

from fmcompress import _backends, _ops, available, ops, reference, use
from fmcompress.errors import BackendUnavailable

PATTERNS = [(2, 4), (4, 8), (1, 4), (3, 5), (1, 2), (4, 4), (1, 16), (7, 32), (1, 1), (1, 128)]


# reference against the truth


@pytest.mark.parametrize("make", [random, few_values])
@pytest.mark.parametrize(
    ("segments", "length", "count"), [(5, 37, 11), (1, 200, 100), (3, 4, 0), (3, 4, 4), (0, 4, 2), (4, 1, 1)]
)
def test_reference_select_smallest_is_true(make, segments, length, count):
    scores = make(segments, length)
    for by_magnitude, numbers in ((False, scores.numpy()), (True, scores.abs().numpy())):
        mask = reference.select_smallest(scores, count, by_magnitude).numpy()
        assert np.array_equal(mask, golden.select_smallest(numbers, count))


@pytest.mark.parametrize("make", [random, few_values])
@pytest.mark.parametrize(("keep", "group"), PATTERNS)
def test_reference_nm_mask_is_true(make, keep, group):
    scores = make(6, 3 * group)
    for by_magnitude, numbers in ((False, scores.numpy()), (True, scores.abs().numpy())):
        mask = reference.nm_mask(scores, keep, group, by_magnitude).numpy()
        assert np.array_equal(mask, golden.nm_mask(numbers, keep, group))


@pytest.mark.parametrize(("rows", "cols"), [(4, 24), (3, 1), (0, 8), (2, 123)])
def test_reference_sweep_with_a_mask_is_true(make_weight, make_factor, rows, cols):
    weight, factor, prune = make_weight(rows, cols), make_factor(cols), random(rows, cols, seed=1) > 0
    expected, expected_loss, _ = golden.sweep_block(weight.numpy(), factor.numpy(), prune.numpy())
    loss = reference.sweep_block_(weight, factor, prune, 0, 0)
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(loss.numpy(), expected_loss, rtol=1e-10)


@pytest.mark.parametrize(("keep", "group"), PATTERNS)
def test_reference_sweep_with_groups_is_true(make_weight, make_factor, keep, group):
    cols = min(ops.MAX_BLOCK_COLS, 3 * group)
    weight, factor = make_weight(3, cols), make_factor(cols)
    expected, expected_loss, mask = golden.sweep_block(weight.numpy(), factor.numpy(), None, keep, group)
    loss = reference.sweep_block_(weight, factor, None, keep, group)
    assert np.array_equal(weight.numpy() == 0, mask)
    np.testing.assert_allclose(weight.numpy(), expected, rtol=1e-10, atol=1e-14)
    np.testing.assert_allclose(loss.numpy(), expected_loss, rtol=1e-10)


# native against reference


@needs_native
@on_devices
@with_dtypes
@pytest.mark.parametrize("make", [random, few_values])
@pytest.mark.parametrize("shape", [*SHAPES, (3, 32768), (3, 0)], ids=str)
def test_native_select_smallest(make, shape, dtype, device):
    scores = make(*shape, dtype=dtype).to(device)
    for count in sorted({0, 1, shape[1] // 3, shape[1] - 1, shape[1]} & set(range(shape[1] + 1))):
        expected, mask = both(ops.select_smallest, scores, count)
        assert torch.equal(mask, expected), count
        assert (mask.sum(1) == count).all()
    expected, mask = both(ops.select_smallest, scores, shape[1] // 3, by_magnitude=True)
    assert torch.equal(mask, expected)


LONG = {
    "just long": lambda dtype: random(2, 32769, dtype=dtype),
    "several pieces": lambda dtype: random(2, 5 * 32768 + 7, dtype=dtype),
    "64 pieces": lambda dtype: random(1, 2_200_001, dtype=dtype),
    "ties": lambda dtype: few_values(2, 150_001, dtype=dtype),
    "one value": lambda dtype: torch.full((1, 100_000), 0.5, dtype=dtype),
    "all NaN": lambda dtype: torch.full((1, 100_000), float("nan"), dtype=dtype),
    "zeros of both signs": lambda dtype: few_values(1, 100_000, dtype=dtype) * 0.0,
    "one bin": lambda dtype: 1 + 1e-4 * random(2, 70_000, dtype=dtype).abs(),
    "squares": lambda dtype: random(1, 128 * 1024, dtype=dtype).square(),
    "sorted": lambda dtype: torch.arange(100_000, dtype=dtype)[None],
    "sorted downward": lambda dtype: torch.arange(100_000, 0, -1, dtype=dtype)[None],
}


@needs_native
@on_devices
@with_dtypes
@pytest.mark.parametrize("name", LONG)
def test_native_select_smallest_of_a_long_segment(name, dtype, device):
    scores = LONG[name](dtype).to(device)
    length = scores.shape[1]
    for count in (1, length // 2, length - 1, length):
        for by_magnitude in (False, True):
            expected, mask = both(ops.select_smallest, scores, count, by_magnitude=by_magnitude)
            assert torch.equal(mask, expected), (count, by_magnitude)


@needs_native
@on_devices
@with_dtypes
@pytest.mark.parametrize("make", [random, few_values])
@pytest.mark.parametrize(("keep", "group"), PATTERNS)
def test_native_nm_mask(make, keep, group, dtype, device):
    for rows, groups in ((0, 3), (1, 1), (37, 3), (300, 7)):
        scores = make(rows, groups * group, dtype=dtype).to(device)
        for by_magnitude in (False, True):
            expected, mask = both(ops.nm_mask, scores, keep, group, by_magnitude=by_magnitude)
            assert torch.equal(mask, expected)
            assert (mask.view(-1, group).sum(1) == group - keep).all()


@needs_native
@on_devices
@with_dtypes
@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_native_sweep_with_a_mask(make_weight, make_factor, shape, share, dtype, device):
    weight, factor = make_weight(*shape, dtype).to(device), make_factor(shape[1], dtype).to(device)
    prune = (torch.rand(shape, generator=torch.Generator().manual_seed(2)) < share).to(device)
    (expected, expected_loss), (work, loss) = (swept(name, weight, factor, prune) for name in ("reference", "native"))
    rtol, atol = TOLERANCE[dtype]
    torch.testing.assert_close(work, expected, rtol=rtol, atol=atol)
    torch.testing.assert_close(loss, expected_loss, rtol=rtol, atol=atol)
    assert torch.equal(work == 0, prune)
    assert not torch.signbit(work[prune]).any()


@needs_native
@on_devices
@with_dtypes
@pytest.mark.parametrize(("keep", "group"), PATTERNS)
def test_native_sweep_with_groups(make_weight, make_factor, keep, group, dtype, device):
    for rows, groups in ((1, 1), (66, ops.MAX_BLOCK_COLS // group)):
        weight = make_weight(rows, groups * group, dtype).to(device)
        factor = make_factor(groups * group, dtype).to(device)
        (expected, expected_loss), (work, loss) = (
            swept(name, weight, factor, None, keep, group) for name in ("reference", "native")
        )
        assert ((work == 0).view(-1, group).sum(1) == group - keep).all()
        # a choice between scores that differ by rounding may go either way: such a row is compared by its loss only
        same = ((work == 0) == (expected == 0)).all(1)
        assert same.double().mean() > 0.95
        rtol, atol = TOLERANCE[dtype]
        torch.testing.assert_close(work[same], expected[same], rtol=rtol, atol=atol)
        torch.testing.assert_close(loss[same], expected_loss[same], rtol=rtol, atol=atol)
        torch.testing.assert_close(loss.sum(), expected_loss.sum(), rtol=0.02, atol=0)


@needs_native
@with_dtypes
def test_native_sweep_breaks_ties_by_index(dtype):
    weight, factor = torch.ones(9, 8, dtype=dtype), torch.eye(8, dtype=dtype)
    weight[1, 2] = -0.0
    weight[1, 5] = 0.0
    (expected, _), (work, _) = (swept(name, weight, factor, None, 2, 4) for name in ("reference", "native"))
    assert torch.equal(work, expected)
    assert work[0].tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
    assert work[1].tolist() == [0, 1, 0, 1, 0, 0, 1, 1]
    assert not torch.signbit(work).any()


# layouts


@needs_native
@with_dtypes
def test_any_layout_of_scores_gives_the_same_mask(dtype):
    scores = random(13, 24, dtype=dtype)
    selected, masked = ops.select_smallest(scores, 7), ops.nm_mask(scores, 2, 4)
    for name, view in layouts(scores).items():
        assert torch.equal(view, scores), name
        assert torch.equal(ops.select_smallest(view, 7), selected), name
        assert torch.equal(ops.nm_mask(view, 2, 4), masked), name
        assert torch.equal(view, scores), name


@needs_native
@with_dtypes
def test_any_layout_of_factor_and_mask_sweeps_the_same(make_weight, make_factor, dtype):
    weight, factor, prune = make_weight(9, 24, dtype), make_factor(24, dtype), random(9, 24) > 0
    expected, expected_loss = swept("native", weight, factor, prune)
    wide = torch.zeros(9, 49, dtype=torch.bool)
    wide[:, 1::2] = prune
    for view, mask in itertools.product(layouts(factor).values(), (prune.t().contiguous().t(), wide[:, 1::2])):
        work, loss = swept("native", weight, view, mask)
        assert torch.equal(work, expected)
        assert torch.equal(loss, expected_loss)


@needs_native
@with_dtypes
@pytest.mark.parametrize("offset", [1, 3, 5])
def test_an_offset_weight_is_swept_in_place_and_its_surroundings_stay(make_weight, make_factor, offset, dtype):
    weight, factor = make_weight(10, 24, dtype), make_factor(24, dtype)
    memory = torch.full((weight.numel() + offset + 9,), 7.0, dtype=dtype)
    view = memory[offset : offset + weight.numel()].view(weight.shape)
    view.copy_(weight)
    expected, _ = swept("native", weight, factor, None, 2, 4)
    ops.sweep_block_(view, factor, keep=2, group=4)
    assert torch.equal(view, expected)
    assert (memory[:offset] == 7).all()
    assert (memory[offset + weight.numel() :] == 7).all()


@on_backends
def test_a_sweep_leaves_factor_and_mask_alone(make_weight, make_factor, backend):
    weight, factor, prune = make_weight(10, 24), make_factor(24), random(10, 24) > 0
    kept = factor.clone(), prune.clone()
    swept(backend, weight, factor, prune)
    assert torch.equal(factor, kept[0])
    assert torch.equal(prune, kept[1])


@on_backends
def test_a_nan_row_spoils_no_other_row(make_weight, make_factor, backend):
    weight, factor, prune = make_weight(10, 24), make_factor(24), random(10, 24) > 0
    prune[3, 0] = True
    expected, _ = swept(backend, weight, factor, prune)
    weight[3, 0] = float("nan")
    work, loss = swept(backend, weight, factor, prune)
    others = torch.arange(10) != 3
    assert torch.equal(work[others], expected[others])
    assert loss.isnan().nonzero().flatten().tolist() == [3]


# the contract

# one with float32, one without a residual, one that is not finite
COCKTAIL = [case for case in cocktail_cases.CASES if case.name in ("4 bits True", "torch.bfloat16 None ties", "nan, 1 bits True")]  # fmt: skip


def cocktail_sample(op, case):
    return *cocktail_cases.ARGUMENTS[op](case), *case.layout


OPCHECKS = {
    "packed_linear": [
        lambda: (torch.ones(2, 8), *packed(Form("mask", 4), 3, 8, True, torch.float32)),
        lambda: (torch.ones(2, 8, dtype=torch.bfloat16), *packed(Form("mask"), 3, 8, False, torch.bfloat16)),
        lambda: (torch.ones(0, 8), *packed(Form("pattern", keep=2, group=4), 3, 8, False, torch.float32)),
    ],
    "select_smallest": [
        lambda: (random(3, 10), 4),
        lambda: (random(1, 40_000, dtype=torch.float32), 9),
        lambda: (random(0, 4), 1, True),
    ],
    "nm_mask": [lambda: (random(3, 12), 2, 4), lambda: (random(2, 8, dtype=torch.float32), 4, 8, True)],
    "sweep_block_": [
        lambda: (random(5, 8), torch.eye(8, dtype=torch.float64), random(5, 8) > 0, 0, 0),
        lambda: (random(5, 8, dtype=torch.float32), torch.eye(8), None, 2, 4),
        lambda: (random(0, 8), torch.eye(8, dtype=torch.float64), None, 4, 8),
    ],
    "factor_block": [
        lambda: (torch.eye(5),),
        lambda: (factor_cases.positive(9, torch.float64, batch=(3,)).triu(),),
        lambda: (torch.ones(0, 9, 9),),
    ],
    "admm_step_": [
        lambda: (*admm_step_cases.inputs(5, 8, torch.float64, "smooth"), 1.0, 1.5, 9, 0, 0, False),
        lambda: (*admm_step_cases.inputs(5, 8, torch.float32, "ties"), 1.0, 1.5, 3, 0, 0, True),
        lambda: (*admm_step_cases.inputs(0, 8, torch.float32, "smooth"), 1.0, 1.5, 0, 2, 4, False),
    ],
    "search_grid": [
        lambda: (random(3, 10), 4, True, 1),
        lambda: (random(2, 7, dtype=torch.float32), 3, False, 5),
        lambda: (random(0, 4), 8, True, 1),
    ],
    "quantize": [
        lambda: (random(3, 10), torch.ones(3, dtype=torch.float64), any_codes(3, bits=2), 2),
        lambda: (random(2, 7, dtype=torch.float32), torch.ones(2), any_codes(2), 8),
        lambda: (random(0, 4, dtype=torch.float32), torch.ones(0), any_codes(0), 4),
    ],
    "dequantize": [
        lambda: (any_codes(3, 10), torch.ones(3, dtype=torch.float64), any_codes(3)),
        lambda: (any_codes(2, 0), torch.ones(2), any_codes(2)),
    ],
    "joint_sweep_block_": [
        lambda: (random(5, 8, dtype=torch.float32), EYE, random(5, 8) > 0, torch.ones(5, 1), any_codes(5, 1), 8, 0, 0),
        lambda: (random(5, 8, dtype=torch.float32), EYE, None, torch.ones(5, 8), any_codes(5, 8), 8, 2, 4),
        lambda: (random(0, 8), EYE.double(), None, EYE.double()[:0], any_codes(0, 8), 2, 0, 0),
    ],
    "pack_codes": [lambda: (any_codes(3, 11), 3), lambda: (any_codes(0, 11), 4), lambda: (any_codes(2, 0), 8)],
    "unpack_codes": [lambda: (any_codes(3, 8), 3, 11), lambda: (any_codes(2, 0), 8, 0)],
    "pack_bitmask": [
        lambda: (torch.ones(3, 11), torch.ones(3, 11) > 0, 33),
        lambda: (any_codes(3, 11), torch.ones(3, 11) < 0, 0),
    ],
    "unpack_bitmask": [lambda: (torch.full((3, 2), 1, dtype=torch.uint8), torch.ones(6).half(), 9)],
    "payload_checksum": [lambda: (any_codes(100),)],
    "plan_cost": [lambda: PLAN, lambda: (*PLAN[:4], 1, True)],
    "improve_plan": [lambda: (*PLAN, 0, 20), lambda: (*PLAN[:4], 1, True, 5, 0)],
    "low_rank_rows_": [
        lambda: (random(5, 8), random(5, 8), random(3, 8), random(3, 8), 0.1),
        lambda: (random(0, 8), random(0, 8), random(0, 8), random(0, 8), 0.0),
    ],
    "nearest_rows": [lambda: (random(5, 8), random(3, 8)), lambda: (random(0, 8), random(1, 8))],
    "weighted_sum_": [
        lambda: (torch.ones(8).bfloat16(), EYE[:3].bfloat16(), random(3)),
        lambda: (torch.ones(8), EYE[:1], random(1, dtype=torch.float32)),
        lambda: (torch.ones(0).double(), EYE[:3, :0].double(), random(3)),
    ],
    **{op: [partial(cocktail_sample, op, case) for case in COCKTAIL] for op in cocktail_cases.ARGUMENTS},
}


@pytest.mark.parametrize(("op", "sample"), [(op, i) for op, samples in OPCHECKS.items() for i in range(len(samples))])
def test_opcheck(op, sample):
    torch.library.opcheck(getattr(torch.ops.fmcompress, op).default, OPCHECKS[op][sample]())


def test_every_op_has_checks_reference_and_opcheck():
    assert set(_ops.CHECKS) == set(OPCHECKS)
    for op in _ops.CHECKS:
        assert callable(getattr(reference, op))
        assert callable(getattr(ops, op))


def test_fake_outputs_have_shape_and_dtype():
    scores, factor = torch.empty(5, 8, device="meta"), torch.empty(8, 8, device="meta")
    for mask in (torch.ops.fmcompress.select_smallest(scores, 2), torch.ops.fmcompress.nm_mask(scores, 2, 4)):
        assert (mask.shape, mask.dtype, mask.device.type) == ((5, 8), torch.bool, "meta")
    loss = torch.ops.fmcompress.sweep_block_(scores, factor, None, 2, 4)
    assert (loss.shape, loss.dtype) == ((5,), torch.float32)


WRONG = {
    "scores 1-D": (lambda: ops.select_smallest(torch.ones(4), 2), r"scores: expected 2 dimensions, got shape \(4,\)"),
    "scores half": (lambda: ops.select_smallest(torch.ones(1, 4).half(), 2), r"float16\. Call scores\.float\(\) first"),
    "scores integer": (
        lambda: ops.nm_mask(torch.ones(1, 4, dtype=torch.int64), 2, 4),
        "scores: expected float32 or float64",
    ),
    "count large": (lambda: ops.select_smallest(torch.ones(1, 4), 5), "count: expected 0 to 4.*got 5"),
    "count negative": (lambda: ops.select_smallest(torch.ones(1, 4), -1), "count: expected 0 to 4.*got -1"),
    "columns": (lambda: ops.nm_mask(torch.ones(1, 6), 2, 4), "pattern 2:4: expected columns divisible by 4, got 6"),
    "keep 0": (lambda: ops.nm_mask(torch.ones(1, 4), 0, 4), "pattern 0:4: expected 1 <= keep <= group"),
    "keep above group": (lambda: ops.nm_mask(torch.ones(1, 4), 5, 4), "pattern 5:4"),
    "neither mask nor pattern": (lambda: ops.sweep_block_(torch.ones(3, 8), EYE), "pattern 0:0"),
    "sweep columns": (
        lambda: ops.sweep_block_(torch.ones(3, 6), torch.eye(6), keep=2, group=4),
        "divisible by 4, got 6",
    ),
    "wide": (
        lambda: ops.sweep_block_(torch.ones(1, 129), torch.eye(129), torch.ones(1, 129) > 0),
        "at most 128 columns, got 129",
    ),
    "factor shape": (
        lambda: ops.sweep_block_(torch.ones(3, 8), torch.eye(7), keep=2, group=4),
        r"factor: expected \[8, 8\]",
    ),
    "factor dtype": (
        lambda: ops.sweep_block_(torch.ones(3, 8), EYE.double(), keep=2, group=4),
        "factor: expected.*float64",
    ),
    "mask shape": (
        lambda: ops.sweep_block_(torch.ones(3, 8), EYE, torch.ones(2, 8) > 0),
        r"prune: expected \[3, 8\] bool",
    ),
    "mask dtype": (
        lambda: ops.sweep_block_(torch.ones(3, 8), EYE, torch.ones(3, 8)),
        r"prune: expected \[3, 8\] bool, got.*float32",
    ),
    "weight strided": (
        lambda: ops.sweep_block_(torch.ones(8, 8).t()[:, ::2], EYE),
        r"weight: expected contiguous rows.*contiguous\(\)",
    ),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused_with_what_to_do(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        call()


@needs_native
def test_native_kernels_refuse_what_the_public_functions_would_have_copied():
    strided = torch.ones(8, 8).t()[:, ::2]
    with pytest.raises((ValueError, RuntimeError), match="contiguous"):
        torch.ops.fmcompress.select_smallest(strided, 1)
    with pytest.raises((ValueError, RuntimeError), match="contiguous"):
        torch.ops.fmcompress.sweep_block_(strided, torch.eye(4), None, 2, 4)


# the choice of back-ends


@pytest.mark.parametrize("op", _ops.CHECKS)
def test_use_reference_really_forces_it(monkeypatch, op):
    runs = []
    monkeypatch.setattr(reference, op, lambda *_: runs.append(op))
    call = CALLS[op]
    with use("reference"):
        call()
        assert len(runs) == 1
        if "native" in available(op):
            with use("native"):
                call()
        call()
        assert len(runs) == 2
    if "native" in available(op):
        call()
        assert len(runs) == 2


def test_use_ends_with_its_block_even_on_an_error():
    before = _backends.implementation("nm_mask")
    with pytest.raises(KeyError), use("reference"):
        raise KeyError
    assert _backends.implementation("nm_mask") is before


def test_unknown_and_missing_backends_are_errors(monkeypatch):
    with (
        pytest.raises(BackendUnavailable, match="expected one of reference, native, triton, got 'cudnn'"),
        use("cudnn"),
    ):
        pass
    monkeypatch.setattr(_backends, "_C", None)
    monkeypatch.setattr(_backends, "_native_missing", "no such library")
    monkeypatch.setattr(torch._C, "_dispatch_has_kernel_for_dispatch_key", lambda op, key: False)
    with pytest.raises(BackendUnavailable, match="'native': not available: no such library"), use("native"):
        pass
    assert "native" not in available("nm_mask")
    with pytest.raises(KeyError, match="expected one of select_smallest"):
        available("nonsense")


# baseline against AVX2

OTHER_PROCESS = """
import sys
import torch
from op_support import results
from fmcompress import _backends
assert _backends._C.cpu_capability() == "baseline", _backends._C.cpu_capability()
torch.save([results(*given) for given in torch.load(sys.argv[1])], sys.argv[2])
"""


@needs_native
def test_baseline_kernels_agree_with_avx2(tmp_path, make_weight, make_factor):
    if _backends._C.cpu_capability() == "baseline":
        pytest.skip(
            "this process runs the baseline kernels itself: the CPU has no AVX2, or ATEN_CPU_CAPABILITY forbids it"
        )
    shape = 67, 124
    inputs = [
        (make_weight(*shape, dtype), make_factor(124, dtype), random(*shape, seed=3) > 0, any_codes(*shape))
        for dtype in (torch.float32, torch.float64)
    ]
    torch.save(inputs, tmp_path / "in.pt")
    environment = {**os.environ, "ATEN_CPU_CAPABILITY": "default", "PYTHONPATH": str(Path(__file__).parent)}
    command = [sys.executable, "-c", OTHER_PROCESS, str(tmp_path / "in.pt"), str(tmp_path / "out.pt")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for given, baseline in zip(inputs, torch.load(tmp_path / "out.pt"), strict=True):
        actual = results(*given)
        assert actual.keys() == baseline.keys()
        for name in actual:
            if not name.startswith("sweep"):
                assert torch.equal(actual[name], baseline[name]), name
        for kind in ("given", "chosen", "row", "own"):
            assert_sweeps_agree(f"sweep {kind} ", actual, baseline, *TOLERANCE[given[0].dtype])


def assert_sweeps_agree(prefix, actual, expected, rtol, atol):
    """Most rows choose and round the same; those must agree."""
    weight, loss, codes = (prefix + part for part in ("weight", "loss", "codes"))
    same = ((actual[weight] == 0) == (expected[weight] == 0)).all(1)
    if codes in actual:
        same &= (actual[codes] == expected[codes]).all(1)
    assert same.double().mean() > 0.95
    for name in (weight, loss):
        torch.testing.assert_close(actual[name][same], expected[name][same], rtol=rtol, atol=atol)


@needs_native
@pytest.mark.parametrize(
    ("op", "arguments"),
    [
        ("sweep_block_", (torch.zeros(4, 128), torch.eye(2), None, 1, 4)),
        ("sweep_block_", (torch.zeros(4, 8), torch.eye(8), None, 1, 4096)),
        ("sweep_block_", (torch.zeros(4, 8), torch.eye(8), torch.zeros(3, 8, dtype=torch.bool), 0, 0)),
        ("sweep_block_", (torch.zeros(4, 8), torch.eye(8, dtype=torch.float64), None, 1, 4)),
        (
            "joint_sweep_block_",
            (torch.zeros(4, 8), torch.eye(8), None, torch.ones(4, 3), torch.zeros(4, 3).byte(), 4, 0, 0),
        ),
        ("select_smallest", (torch.zeros(2, 70_000), 80_000)),
        ("select_smallest", (torch.zeros(2, 7, dtype=torch.float16), 3)),
        ("nm_mask", (torch.zeros(2, 4), 1, 0)),
        ("nm_mask", (torch.zeros(2, 0), 2**33, 2**32)),
        ("quantize", (torch.zeros(2, 4), torch.ones(1), torch.zeros(1).byte(), 4)),
        ("search_grid", (torch.zeros(2, 0), 4, True, 1)),
        ("dequantize", (torch.zeros(2, 4), torch.ones(2), torch.zeros(2).byte())),
        ("pack_codes", (torch.zeros(2, 4), 4)),
        ("pack_bitmask", (torch.zeros(2, 4), torch.ones(1, 4, dtype=torch.bool), 4)),
        ("unpack_bitmask", (torch.zeros(2, 4).byte(), torch.zeros(0), 99)),
        ("weighted_sum_", (torch.zeros(5), torch.zeros(2, 4), torch.zeros(2))),
        ("weighted_sum_", (torch.zeros(4), torch.zeros(2, 4), torch.zeros(1))),
        ("weighted_sum_", (torch.zeros(4), torch.zeros(0, 4), torch.zeros(0))),
        ("weighted_sum_", (torch.zeros(4), torch.zeros(4), torch.zeros(4))),
        ("weighted_sum_", (torch.zeros(4), torch.zeros(2, 4).double(), torch.zeros(2))),
        ("weighted_sum_", (torch.zeros(4), torch.zeros(2, 4), torch.zeros(2).bfloat16())),
        ("weighted_sum_", (torch.zeros(4).int(), torch.zeros(2, 4), torch.zeros(2))),
        ("weighted_sum_", (torch.zeros(4), torch.zeros(2, 4).byte(), torch.zeros(2))),
        ("weighted_sum_", (torch.zeros(8)[::2], torch.zeros(2, 4), torch.zeros(2))),
        ("weighted_sum_", (torch.zeros(4), torch.zeros(4, 2).t(), torch.zeros(2))),
        ("weighted_sum_", (torch.zeros(4), torch.zeros(2, 4), torch.zeros(4)[::2])),
    ],
)
def test_calls_past_the_public_functions_stay_inside_of_the_tensors(op, arguments):
    with pytest.raises((ValueError, RuntimeError)):
        getattr(torch.ops.fmcompress, op)(*arguments)
