"""The step of the ADMM search: reference against the float64 truth, native against reference, what must hold."""

import admm_step_cases as cases
import numpy as np
import pytest
import torch
from golden import admm as golden
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from op_support import few_values, layouts, needs_native, on_backends, on_devices, random, with_dtypes

from fmcompress import available, ops, use

CHOICES = {
    "matrix": {"prune": 100},
    "row": {"prune": 11, "by_row": True},
    "2:4": {"keep": 2, "group": 4},
    "4:8": {"keep": 4, "group": 8},
    "1:1": {"keep": 1, "group": 1},
    "5:24": {"keep": 5, "group": 24},
    "all go": {"prune": 9 * 24},
    "nothing goes": {"prune": 0},
    "rows go": {"prune": 24, "by_row": True},
}
with_choices = pytest.mark.parametrize("choice", CHOICES)
LONG = {
    "matrix": ((3, 33_001), {"prune": 40_000}),
    "all but one": ((2, 20_001), {"prune": 40_001}),
    "no entry": ((2, 20_000), {"prune": 0}),
    "all": ((2, 20_000), {"prune": 40_000}),
    "long rows": ((2, 70_007), {"prune": 30_000, "by_row": True}),
    "one group": ((2, 33_000), {"keep": 16_000, "group": 33_000}),
    "64 pieces": ((100, 42_001), {"prune": 2_000_000}),
}


def step(backend, matrices, choice, penalties=cases.PENALTIES):
    """(x, dual, kept, changed) of a step of copies."""
    work = cases.copies(matrices)
    with use(backend):
        changed = ops.admm_step_(*work, *penalties, **choice)
    return *work[:3], int(changed)


# reference against the truth, native against reference


@with_choices
@pytest.mark.parametrize("kind", ["smooth", "ties"])
def test_reference_step_is_true(choice, kind):
    matrices = cases.inputs(9, 24, torch.float64, kind)
    with np.errstate(invalid="ignore"):
        expected = golden.admm_step(*(t.numpy() for t in matrices), *cases.PENALTIES, **CHOICES[choice])
    actual = step("reference", matrices, CHOICES[choice])
    for ours, truth in zip(actual[:3], expected[:3], strict=True):
        assert cases.same_numbers(ours, torch.from_numpy(truth))
    assert actual[3] == expected[3]


@needs_native
def test_native_passes_the_cases_of_every_kernel():
    cases.check_admm_step(torch.ops.fmcompress.admm_step_)


@needs_native
@on_devices
@with_dtypes
@pytest.mark.parametrize("kind", ["smooth", "ties"])
@pytest.mark.parametrize("name", LONG)
def test_native_step_of_long_segments(name, kind, dtype, device):
    shape, choice = LONG[name]
    matrices = tuple(t.to(device) for t in cases.inputs(*shape, dtype, kind))
    expected, actual = (step(backend, matrices, choice) for backend in ("reference", "native"))
    assert actual[3] == expected[3]
    assert torch.equal(actual[2], expected[2])
    assert all(map(cases.same_numbers, actual[:2], expected[:2]))


@needs_native
@with_dtypes
@with_choices
def test_native_step_of_few_values(choice, dtype):
    """Subnormals, the largest numbers, and ties of all of them."""
    matrices = (
        few_values(9, 24, dtype=dtype),
        torch.zeros(9, 24, dtype=dtype),
        random(9, 24) > 0,
        random(9, 24).to(dtype),
    )
    expected, actual = (step(backend, matrices, CHOICES[choice]) for backend in ("reference", "native"))
    assert torch.equal(actual[2], expected[2])
    assert all(map(cases.same_numbers, actual[:2], expected[:2]))


@st.composite
def any_step(draw):
    """Matrices of any floats at all, or of few, with any pattern that fits them."""
    rows, group, groups, width = (draw(st.integers(*ends)) for ends in ((0, 5), (1, 12), (0, 6), (0, 1)))
    few, floats = st.sampled_from([0.0, -0.0, 1.0, -1.0, np.inf, np.nan]), st.floats(width=(32, 64)[width])
    matrix = hnp.arrays(
        (np.float32, np.float64)[width], (rows, group * groups), elements=draw(st.sampled_from([few, floats]))
    )
    x, dual, target = (torch.from_numpy(draw(matrix)) for _ in range(3))
    kept = torch.from_numpy(draw(hnp.arrays(np.bool_, (rows, group * groups))))
    by_row = draw(st.booleans())
    prune = draw(st.integers(0, group * groups * (1 if by_row else rows)))
    keep = {"keep": draw(st.integers(1, group)), "group": group}
    return (x, dual, kept, target), keep if draw(st.booleans()) else {"prune": prune, "by_row": by_row}


@needs_native
@settings(derandomize=True, deadline=None, max_examples=200, database=None)
@given(any_step(), st.floats(1e-6, 1e6), st.floats(1, 3))
def test_native_step_of_anything(drawn, penalty, growth):
    expected, actual = (step(backend, *drawn, (penalty, penalty * growth)) for backend in ("reference", "native"))
    assert actual[3] == expected[3]
    assert torch.equal(actual[2], expected[2])
    assert all(map(cases.same_numbers, actual[:2], expected[:2]))


# what must hold on every back-end


@on_backends
@with_dtypes
@with_choices
def test_the_support_has_exactly_what_the_pattern_says(backend, choice, dtype):
    matrices, options = cases.inputs(9, 24, dtype, "ties"), CHOICES[choice]
    _, _, kept, changed = step(backend, matrices, options)
    prune, keep, group, by_row = (options.get(name, 0) for name in ("prune", "keep", "group", "by_row"))
    segments = kept.view(-1, group or (24 if by_row else 9 * 24))
    assert (segments.sum(1) == (keep if group else segments.shape[1] - prune)).all()
    assert changed == int((kept != matrices[2]).sum())
    *_, again = step(backend, (*matrices[:2], kept, matrices[3]), options)
    assert again == 0


@on_backends
@with_dtypes
@with_choices
def test_a_step_is_the_algorithm(backend, choice, dtype):
    """Boyd et al., section 3.1.1: z = projection of x + u, u += x - z; rho u stays, so u shrinks as rho grows."""
    matrices = x, dual, _, target = cases.inputs(9, 24, dtype, "smooth")
    right_side, left, kept, _ = step(backend, matrices, CHOICES[choice], (1.0, 2.0))
    z = torch.where(kept, x + dual, 0.0)
    torch.testing.assert_close(left, (dual + x - z) / 2)
    torch.testing.assert_close(right_side, target + 2 * (z - left))
    assert not left[kept].any()


@on_backends
def test_equal_magnitudes_go_in_order(backend):
    x = torch.tensor([[1.0, -1.0, 1.0, -1.0, 0.0, -0.0, 2.0, -2.0]])
    matrices = x, torch.zeros(1, 8), torch.ones(1, 8) > 0, torch.zeros(1, 8)
    for choice in ({"keep": 2, "group": 4}, {"prune": 4}, {"prune": 4, "by_row": True}):
        *_, kept, changed = step(backend, matrices, choice)
        expected = [0, 0, 1, 1, 0, 0, 1, 1]
        assert kept[0].int().tolist() == expected
        assert changed == 4


@on_backends
@pytest.mark.parametrize("choice", [name for name in CHOICES if "go" not in name.split()])
def test_nan_counts_as_the_largest_and_shows_at_the_end(backend, choice):
    x, dual, kept, target = cases.inputs(9, 24, torch.float32, "smooth")
    x[3, 5] = float("nan")
    right_side, left, now, _ = step(backend, (x, dual, kept, target), CHOICES[choice])
    assert now[3, 5]
    assert left.isnan().nonzero().tolist() == right_side.isnan().nonzero().tolist() == [[3, 5]]


# layouts, surroundings, the contract


@needs_native
@with_dtypes
@with_choices
def test_any_layout_of_the_target_and_any_place_of_the_rest(choice, dtype):
    matrices = cases.inputs(9, 24, dtype, "smooth")
    expected = step("native", matrices, CHOICES[choice])
    for target in layouts(matrices[3]).values():
        actual = step("native", (*matrices[:3], target), CHOICES[choice])
        assert all(map(torch.equal, actual[:3], expected[:3]))
    memory = [t.new_full((9 * 24 + 10,), 1) for t in matrices[:3]]
    views = [whole[3 : 3 + 9 * 24].view(9, 24).copy_(t) for whole, t in zip(memory, matrices[:3], strict=True)]
    ops.admm_step_(*views, matrices[3], *cases.PENALTIES, **CHOICES[choice])
    assert all(map(torch.equal, views, expected[:3]))
    assert all((torch.cat([whole[:3], whole[3 + 9 * 24 :]]) == 1).all() for whole in memory)


def test_the_fake_has_shape_and_dtype():
    x, kept = torch.empty(5, 8, device="meta"), torch.empty(5, 8, device="meta", dtype=torch.bool)
    changed = torch.ops.fmcompress.admm_step_(x, x.clone(), kept, x.clone(), 1.0, 1.0, 0, 2, 4, False)
    assert (changed.shape, changed.dtype, changed.device.type) == ((), torch.int64, "meta")


def arguments(**others):
    matrices = {
        "x": torch.ones(3, 8),
        "dual": torch.ones(3, 8),
        "kept": torch.ones(3, 8) > 0,
        "target": torch.ones(3, 8),
    }
    numbers = {"penalty": 1.0, "next_penalty": 1.0, "prune": 0, "keep": 0, "group": 0, "by_row": False}
    return {**matrices, **numbers, **others}


STRIDED = torch.ones(8, 3).t()
WRONG = {
    "x 1-D": ({"x": torch.ones(24)}, "x: expected 2 dimensions"),
    "x half": ({"x": torch.ones(3, 8).half()}, "x: expected"),
    "x strided": ({"x": STRIDED}, "x: expected contiguous rows"),
    "dual strided": ({"dual": STRIDED}, "dual: expected contiguous rows"),
    "kept strided": ({"kept": STRIDED > 0}, "kept: expected contiguous rows"),
    "dual shape": ({"dual": torch.ones(2, 8)}, "dual: expected"),
    "dual dtype": ({"dual": torch.ones(3, 8).double()}, "dual: expected"),
    "kept shape": ({"kept": torch.ones(8) > 0}, "kept: expected"),
    "kept dtype": ({"kept": torch.ones(3, 8, dtype=torch.uint8)}, "kept: expected"),
    "target shape": ({"target": torch.ones(3, 7)}, "target: expected"),
    "target dtype": ({"target": torch.ones(3, 8).long()}, "target: expected"),
    "penalty zero": ({"penalty": 0.0}, "penalty: expected positive numbers"),
    "next penalty NaN": ({"next_penalty": float("nan")}, "penalty: expected positive numbers"),
    "prune negative": ({"prune": -1}, "prune: expected 0 to 24.*got -1"),
    "prune large": ({"prune": 25}, "prune: expected 0 to 24.*got 25"),
    "prune large for a row": ({"prune": 9, "by_row": True}, "prune: expected 0 to 8.*got 9"),
    "columns": ({"keep": 1, "group": 3}, "pattern 1:3: expected"),
    "keep 0": ({"group": 4}, "pattern 0:4: expected"),
    "keep above group": ({"keep": 5, "group": 4}, "pattern 5:4: expected"),
    "group negative": ({"keep": 1, "group": -4}, "pattern 1:-4: expected"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name):
    others, message = WRONG[name]
    matrices = arguments(**others)
    before = {key: part.clone() for key, part in matrices.items() if isinstance(part, torch.Tensor)}
    with pytest.raises(ValueError, match=message):
        ops.admm_step_(**matrices)
    if "native" in available("admm_step_"):
        with pytest.raises(ValueError, match=message):
            torch.ops.fmcompress.admm_step_(*matrices.values())
    assert all(torch.equal(matrices[key], part) for key, part in before.items())
