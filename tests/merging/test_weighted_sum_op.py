"""The weighted sum: every back-end against the truth in exact fractions, and what must hold of any sum."""

import pytest
import torch
import weighted_sum_cases as cases
from admm_step_cases import same_numbers
from golden import merging as golden
from hypothesis import given, settings
from hypothesis import strategies as st
from op_support import layouts, needs_native, on_backends, random, run_on_instruction_set

from fmcompress import available, ops, use

FLOATS = {dtype: str(dtype).removeprefix("torch.") for dtype in cases.NUMBERS}
INFINITY = float("inf")
with_pairs = pytest.mark.parametrize(("source", "total"), cases.PAIRS, ids=str)
with_outs = pytest.mark.parametrize("out", cases.NUMBERS, ids=str)
anything = settings(derandomize=True, deadline=None, max_examples=60, database=None)


def summed(backend, sources, weights, dtype):
    """(sum, how many of it are not finite)."""
    out = sources.new_full((sources.shape[1],), 7, dtype=dtype)
    with use(backend):
        return out, int(ops.weighted_sum_(out, sources, weights))


# against the truth


@on_backends
@with_outs
@with_pairs
def test_the_sum_is_true(backend, source, total, out):
    for name, sources, weights in cases.every_case(source, total, out):
        numbers = sources if source == torch.float64 else sources.float()
        truth, bad = golden.weighted_sum(numbers.numpy(), weights.numpy(), FLOATS[out])
        actual, count = summed(backend, sources, weights, out)
        assert same_numbers(actual, torch.from_numpy(truth).to(out)), name
        assert count == bad, name


@needs_native
def test_native_passes_the_cases_of_every_kernel():
    cases.check_weighted_sum(torch.ops.fmcompress.weighted_sum_)


@needs_native
@pytest.mark.parametrize(("asked", "runs"), [("default", "baseline"), ("avx2", "AVX2")])
def test_every_instruction_set_passes_the_cases(asked, runs):
    code = (
        "import sys, torch, weighted_sum_cases as cases\n"
        "from fmcompress import _backends\n"
        "assert _backends._C.cpu_capability() == sys.argv[1]\n"
        "cases.check_weighted_sum(torch.ops.fmcompress.weighted_sum_)\n"
    )
    run_on_instruction_set(asked, runs, code)


@on_backends
@pytest.mark.parametrize(
    ("terms", "dtype", "expected"),
    [
        ([1, 2**-11, 2**-40], torch.float16, 1 + 2**-10),  # by way of float32 a tie, which would go to 1
        ([1, 2**-11], torch.float16, 1.0),
        ([1, 3 * 2**-11], torch.float16, 1 + 2 * 2**-10),
        ([1, 2**-8, 2**-40], torch.bfloat16, 1 + 2**-7),
        ([1, 3 * 2**-8, -(2**-40)], torch.bfloat16, 1 + 2**-7),
        ([2**-25, 2**-60], torch.float16, 2**-24),
        ([2**-25], torch.float16, 0.0),
        ([-(2**-25)], torch.float16, -0.0),
        ([65504, 16, -(2**-30)], torch.float16, 65504.0),
        ([65504, 16], torch.float16, INFINITY),
        ([2.0**128, -(2.0**119), -(2.0**80)], torch.bfloat16, 255 * 2.0**120),
        ([2.0**128, -(2.0**119)], torch.bfloat16, INFINITY),
        ([-1e300], torch.bfloat16, -INFINITY),
        ([1, 2**-24, 2**-50], torch.float32, 1 + 2**-23),
        ([-0.0, -0.0], torch.float32, -0.0),
        ([-0.0, 0.0], torch.float16, 0.0),
        ([INFINITY, -INFINITY], torch.bfloat16, float("nan")),
    ],
)
def test_known_sums(backend, terms, dtype, expected):
    sources = torch.tensor(terms, dtype=torch.float64)[:, None].expand(-1, 3)
    actual, bad = summed(backend, sources, torch.ones(len(terms), dtype=torch.float64), dtype)
    assert same_numbers(actual, torch.full((3,), expected, dtype=dtype))
    assert bad == (0 if abs(expected) < INFINITY else 3)


# what must hold


@st.composite
def shares(draw):
    """Positive weights that add up to 1 in float64, rounded sum by rounded sum."""
    parts = draw(st.lists(st.floats(0.01, 1), min_size=1, max_size=6))
    weights = [part / sum(parts) for part in parts[:-1]]
    return torch.tensor([*weights, 1 - sum(weights)], dtype=torch.float64)


@on_backends
@pytest.mark.parametrize("dtype", cases.NUMBERS[:3], ids=str)
@anything
@given(weights=shares(), seed=st.integers(0, 1000))
def test_shares_of_equal_rows_are_the_row(backend, dtype, weights, seed):
    row = random(1, 700, seed=seed).mul(2.0 ** (seed % 30 - 20)).to(dtype)
    actual, bad = summed(backend, row.expand(len(weights), -1), weights, dtype)
    assert torch.equal(actual, row[0])
    assert bad == 0


@on_backends
@with_pairs
@pytest.mark.parametrize("chosen", range(3))
def test_one_weight_of_1_chooses_its_row(backend, source, total, chosen):
    sources, _ = cases.smooth(3, 530, source, total)
    actual, _ = summed(backend, sources, torch.eye(3, dtype=total)[chosen], source)
    assert torch.equal(actual, sources[chosen])


@on_backends
@anything
@given(order=st.permutations(range(5)), seed=st.integers(0, 1000))
def test_another_order_changes_the_last_place_at_most(backend, order, seed):
    """Of float32, where nothing cancels: the float64 sums differ by far less than a place."""
    sources, weights = random(5, 300, seed=seed).abs().float(), random(5, seed=seed).abs()
    one, other = (summed(backend, sources[list(o)], weights[list(o)], torch.float32)[0] for o in (range(5), order))
    assert int((one.view(torch.int32) - other.view(torch.int32)).abs().max()) <= 1


# layouts, surroundings, threads, the contract


@on_backends
@with_outs
@with_pairs
def test_any_layout_of_rows_and_weights(backend, source, total, out):
    sources, weights = cases.smooth(5, 41, source, total)
    expected, _ = summed(backend, sources, weights, out)
    spread = torch.stack([weights, weights + 1], 1)[:, 0]
    for name, view in layouts(sources).items():
        assert torch.equal(summed(backend, view, spread, out)[0], expected), name


@on_backends
@with_outs
@pytest.mark.parametrize("count", [1, 511, 512, 513, 1024, 5000])
def test_what_lies_around_stays(backend, out, count):
    sources, weights = cases.smooth(5, count, torch.bfloat16, torch.float64)
    memory = torch.full((count + 10,), 7, dtype=out)
    with use(backend):
        ops.weighted_sum_(memory[3 : 3 + count], sources, weights)
    assert torch.equal(memory[3 : 3 + count], summed("reference", sources, weights, out)[0])
    assert (torch.cat([memory[:3], memory[3 + count :]]) == 7).all()


@needs_native
@pytest.mark.parametrize("threads", [1, 3])
def test_threads_change_nothing(threads):
    sources, weights = cases.smooth(3, 400_003, torch.bfloat16, torch.float64)
    sources[:, ::1000] = INFINITY
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        actual, bad = summed("native", sources, weights, torch.bfloat16)
    finally:
        torch.set_num_threads(before)
    expected, expected_bad = summed("reference", sources, weights, torch.bfloat16)
    assert same_numbers(actual, expected)
    assert bad == expected_bad == 401


def test_the_fake_has_shape_and_dtype():
    out, sources = torch.empty(8, device="meta"), torch.empty(3, 8, device="meta")
    count = torch.ops.fmcompress.weighted_sum_(out, sources, torch.empty(3, device="meta"))
    assert (count.shape, count.dtype, count.device.type) == ((), torch.int64, "meta")


WRONG = {
    "sources 1-D": ({"sources": torch.ones(8)}, "sources: expected 2 dimensions"),
    "no rows": ({"sources": torch.ones(0, 8), "weights": torch.ones(0)}, "sources: expected.*at least one row"),
    "sources integer": ({"sources": torch.ones(3, 8).long()}, "sources: expected float16, bfloat16"),
    "out integer": ({"out": torch.ones(8).int()}, "out: expected float16, bfloat16"),
    "out shape": ({"out": torch.ones(7)}, "out: expected"),
    "out strided": ({"out": torch.ones(16)[::2]}, "out: expected contiguous"),
    "weights shape": ({"weights": torch.ones(2)}, "weights: expected"),
    "weights half": ({"weights": torch.ones(3).half()}, "weights: expected"),
    "float for double": ({"sources": torch.ones(3, 8).double()}, "weights: expected"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name):
    others, message = WRONG[name]
    arguments = {"out": torch.full((8,), 7.0), "sources": torch.ones(3, 8), "weights": torch.ones(3), **others}
    with pytest.raises(ValueError, match=message):
        ops.weighted_sum_(**arguments)
    if "native" in available("weighted_sum_"):
        with pytest.raises(ValueError, match=message):
            torch.ops.fmcompress.weighted_sum_(*arguments.values())
