"""SparseGPT and magnitude against the float64 truth, and everything that the solver promises beside it."""

import math

import numpy as np
import pytest
import torch
from golden import sparsegpt as golden

from fmcompress import NM, Unstructured, magnitude, sparsegpt, use
from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.pruning import parse_pattern

PATTERNS = [Unstructured(0.5), Unstructured(0.3), Unstructured(0.7), NM(2, 4), NM(4, 8), NM(3, 5)]
SCOPES = [Unstructured(0.3, "row"), Unstructured(0.7, "row"), Unstructured(0.5, "layer"), Unstructured(0.3, "layer")]
FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]


def truth(weight, hessian, pattern, damping=0.01, block_size=128):
    if isinstance(pattern, NM):
        options = {"nm": (pattern.keep, pattern.group), "block_size": block_size // pattern.group * pattern.group}
    else:
        options = {"sparsity": pattern.sparsity, "scope": pattern.scope, "block_size": block_size}
    return golden.sparsegpt(weight.numpy(), hessian.numpy(), damping, **options)


def assert_true(result, weight, hessian, pattern, damping=0.01, block_size=128):
    expected, mask, damped_loss = truth(weight, hessian, pattern, damping, block_size)
    assert np.array_equal(result.weight.numpy() == 0, mask)
    np.testing.assert_allclose(result.weight.numpy(), expected, rtol=1e-8, atol=1e-10)
    assert result.zeros == mask.sum() == pattern.zeros(*weight.shape)
    delta = weight.numpy() - expected
    damped = golden.damped(hessian.numpy(), damping)
    assert np.trace(delta @ damped @ delta.T) == pytest.approx(damped_loss, rel=1e-9)  # the truth agrees with itself
    assert result.loss == pytest.approx(np.trace(delta @ hessian.numpy() @ delta.T), rel=1e-8)


def output_error(weight, result, hessian):
    delta = weight.double() - result.weight.double()
    return float(((delta @ hessian.double()) * delta).sum())


# against the truth


@pytest.mark.parametrize("block_size", [64, 128, 256])
@pytest.mark.parametrize("pattern", [*PATTERNS, *SCOPES], ids=repr)
def test_solution_is_the_papers(make_weight, make_hessian, pattern, block_size):
    weight, hessian = make_weight(24, 320), make_hessian(320)
    result = sparsegpt(weight, hessian, pattern, block_size=block_size)
    assert_true(result, weight, hessian, pattern, block_size=block_size)


@pytest.mark.parametrize("cols", [1, 2, 123, 129, 300])
@pytest.mark.parametrize(
    "pattern", [Unstructured(0.5), Unstructured(0.5, "row"), Unstructured(0.5, "layer"), NM(1, 1)], ids=repr
)
def test_columns_need_not_fit_the_block(make_weight, make_hessian, pattern, cols):
    weight, hessian = make_weight(7, cols), make_hessian(cols)
    assert_true(sparsegpt(weight, hessian, pattern), weight, hessian, pattern)


@pytest.mark.parametrize("block_size", [1, 7, 100, 600, 5000])
def test_odd_block_sizes(make_weight, make_hessian, block_size):
    weight, hessian, pattern = make_weight(5, 300), make_hessian(300), Unstructured(0.6)
    assert_true(
        sparsegpt(weight, hessian, pattern, block_size=block_size), weight, hessian, pattern, block_size=block_size
    )


@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=repr)
def test_many_superblocks(make_weight, make_hessian, pattern):
    weight, hessian = make_weight(6, 1160), make_hessian(1160)
    assert_true(sparsegpt(weight, hessian, pattern), weight, hessian, pattern)


@pytest.mark.parametrize("damping", [0.0, 0.1, 1.0])
def test_damping_is_a_share_of_the_mean_diagonal(make_weight, make_hessian, damping):
    weight, hessian, pattern = make_weight(8, 96), make_hessian(96), Unstructured(0.5)
    result = sparsegpt(weight, hessian, pattern, damping=damping)
    assert result.damping == damping
    assert_true(result, weight, hessian, pattern, damping)


@pytest.mark.parametrize("pattern", [*PATTERNS, *SCOPES], ids=repr)
def test_reference_and_native_solve_the_same(make_weight, make_hessian, pattern):
    weight, hessian = make_weight(16, 200), make_hessian(200)
    result = sparsegpt(weight, hessian, pattern)
    with use("reference"):
        expected = sparsegpt(weight, hessian, pattern)
    torch.testing.assert_close(result.weight, expected.weight, rtol=1e-9, atol=1e-12)
    assert result.loss == pytest.approx(expected.loss, rel=1e-9)


def test_the_scale_of_the_hessian_is_nothing_to_the_solution(make_weight, make_hessian):
    weight, hessian = make_weight(8, 64), make_hessian(64)
    one, other = (sparsegpt(weight, scale * hessian, Unstructured(0.5)) for scale in (1.0, 2.0**-12))
    torch.testing.assert_close(one.weight, other.weight, rtol=1e-9, atol=1e-12)
    assert one.relative_error == pytest.approx(other.relative_error, rel=1e-9)


# counts


@pytest.mark.parametrize("block_size", [64, 128, 256])
@pytest.mark.parametrize("sparsity", [0.1, 1 / 3, 0.5, 0.77])
def test_counts_are_exact_in_each_scope(make_weight, make_hessian, sparsity, block_size):
    weight, hessian = make_weight(9, 301, torch.float32), make_hessian(301, torch.float32)
    for scope in ("block", "row", "layer"):
        result = sparsegpt(weight, hessian, Unstructured(sparsity, scope), block_size=block_size)
        per_row = (result.weight == 0).sum(1)
        if scope == "row":
            assert (per_row == math.floor(sparsity * 301 + 0.5)).all()
        else:
            assert per_row.sum() == math.floor(sparsity * 9 * 301 + 0.5)
        assert result.zeros == per_row.sum()
        assert result.sparsity == result.zeros / weight.numel()


# what the result says


@pytest.mark.parametrize("pattern", [*PATTERNS, *SCOPES], ids=repr)
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
def test_loss_is_the_squared_output_error_without_damping(make_weight, make_hessian, pattern, dtype, rtol):
    weight, hessian = make_weight(20, 160, dtype), make_hessian(160, dtype)
    result = sparsegpt(weight, hessian, pattern)
    assert result.loss == pytest.approx(output_error(weight, result, hessian), rel=rtol)
    energy = float(((weight.double() @ hessian.double()) * weight.double()).sum())
    assert result.relative_error == pytest.approx(result.loss / energy, rel=1e-5)
    given = sparsegpt(weight, hessian, pattern, output_energy=2 * energy)
    assert given.relative_error == pytest.approx(result.loss / energy / 2, rel=1e-5)
    assert torch.equal(given.weight, result.weight)


@pytest.mark.parametrize("pattern", [*PATTERNS, *SCOPES], ids=repr)
def test_float32_is_close_to_float64(make_weight, make_hessian, pattern):
    weight, hessian = make_weight(32, 240), make_hessian(240)
    exact, single = (
        sparsegpt(weight.to(dtype), hessian.to(dtype), pattern) for dtype in (torch.float64, torch.float32)
    )
    assert single.weight.dtype == torch.float32
    assert single.zeros == exact.zeros
    # near ties may flip a mask, so the errors are compared, and the weights of rows where nothing flipped
    assert single.loss == pytest.approx(exact.loss, rel=1e-2)
    same = ((single.weight == 0) == (exact.weight == 0)).all(1)
    assert same.double().mean() > 0.8
    torch.testing.assert_close(single.weight[same].double(), exact.weight[same], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("pattern", [Unstructured(0.5), NM(2, 4)], ids=repr)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_the_dtype_of_the_weight_stays(make_weight, make_hessian, pattern, dtype):
    weight, hessian = make_weight(16, 128, dtype), make_hessian(128, torch.float32)
    for result in (sparsegpt(weight, hessian, pattern), magnitude(weight, pattern, hessian)):
        assert result.weight.dtype == dtype
        assert result.zeros == int((result.weight == 0).sum()) == pattern.zeros(16, 128)
        assert not torch.signbit(result.weight[result.weight == 0]).any()
    exact = sparsegpt(weight.double(), hessian.double(), pattern)
    assert output_error(weight, sparsegpt(weight, hessian, pattern), hessian) == pytest.approx(exact.loss, rel=2e-2)


def test_phases_are_timed(make_weight, make_hessian):
    result = sparsegpt(make_weight(8, 64), make_hessian(64), Unstructured(0.5))
    assert set(result.seconds) == {"energy", "factor", "solve", "report"}
    assert all(seconds >= 0 for seconds in result.seconds.values())


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize(
    "pattern", [Unstructured(0.5), Unstructured(0.5, "row"), Unstructured(0.5, "layer"), NM(2, 4)], ids=repr
)
def test_inputs_are_left_as_they_are(make_weight, make_hessian, pattern, dtype):
    weight, hessian = (
        make_weight(8, 160, dtype),
        make_hessian(160, torch.promote_types(dtype, torch.float32), dead=(3,)),
    )
    kept = weight.clone(), hessian.clone()
    sparsegpt(weight, hessian, pattern)
    magnitude(weight, pattern, hessian)
    assert torch.equal(weight, kept[0])
    assert torch.equal(hessian, kept[1])


@pytest.mark.parametrize("solve", [sparsegpt, magnitude])
@pytest.mark.parametrize(
    "pattern", [Unstructured(0.5), Unstructured(0.5, "row"), Unstructured(0.5, "layer"), NM(2, 4)], ids=repr
)
def test_views_solve_like_copies(make_weight, make_hessian, solve, pattern):
    weight, hessian = make_weight(160, 8).t(), make_hessian(320)[::2, ::2]
    expected = solve(weight.contiguous(), hessian=hessian.contiguous(), pattern=pattern)
    result = solve(weight, hessian=hessian, pattern=pattern)
    torch.testing.assert_close(result.weight, expected.weight, rtol=1e-9, atol=1e-12)
    assert result.loss == pytest.approx(expected.loss, rel=1e-9)


@pytest.mark.parametrize("pattern", [*PATTERNS[:5], *SCOPES], ids=repr)
def test_sparsegpt_beats_magnitude(make_weight, make_hessian, pattern):
    weight, hessian = make_weight(32, 160), make_hessian(160)
    assert sparsegpt(weight, hessian, pattern).loss < 0.8 * magnitude(weight, pattern, hessian).loss


def test_an_uncorrelated_hessian_makes_sparsegpt_magnitude(make_weight):
    weight = make_weight(16, 64)
    for pattern in (Unstructured(0.5), NM(2, 4)):
        result = sparsegpt(weight, 3 * torch.eye(64, dtype=torch.float64), pattern)
        assert torch.equal(result.weight, magnitude(weight, pattern).weight)


# damping and bad Hessians


def indefinite(make_hessian, cols, below):
    """A Hessian whose smallest eigenvalue is -below times its mean diagonal."""
    hessian = make_hessian(cols)
    hessian /= hessian.diagonal().mean()
    smallest = torch.linalg.eigvalsh(hessian)[0]
    # (H - c I) / (1 - c) has mean diagonal 1 and the smallest eigenvalue asked for
    shift = (smallest + below) / (1 + below)
    return (hessian - shift * torch.eye(cols, dtype=torch.float64)) / (1 - shift)


@pytest.mark.parametrize(
    ("below", "asked", "needed"), [(0.05, 0.01, 0.1), (0.5, 0.01, 1.0), (0.005, 0.0, 0.01), (0.5, 0.3, 1.0)]
)
def test_damping_is_raised_where_needed_and_reported(make_weight, make_hessian, below, asked, needed):
    weight, hessian, pattern = make_weight(8, 48), indefinite(make_hessian, 48, below), Unstructured(0.5)
    result = sparsegpt(weight, hessian, pattern, damping=asked)
    assert result.damping == pytest.approx(needed)
    again = sparsegpt(weight, hessian, pattern, damping=needed)
    torch.testing.assert_close(result.weight, again.weight, rtol=1e-9, atol=1e-12)
    assert again.damping == needed
    expected, mask, _ = truth(weight, hessian, pattern, needed)
    assert np.array_equal(result.weight.numpy() == 0, mask)
    np.testing.assert_allclose(result.weight.numpy(), expected, rtol=1e-8, atol=1e-10)


def test_a_singular_hessian_gets_the_least_damping():
    weight = torch.tensor([[1.0, 0.5], [0.25, 2.0]], dtype=torch.float64)
    result = sparsegpt(weight, torch.ones(2, 2, dtype=torch.float64), NM(1, 2), damping=0.0)
    assert result.damping == pytest.approx(1e-4)
    # twin inputs: what one weight loses the other takes over
    assert result.weight.sum(1).tolist() == pytest.approx([1.5, 2.25], rel=1e-3)
    assert result.relative_error < 1e-6


def test_fewer_tokens_than_columns_still_solve(make_weight):
    inputs = torch.randn(20, 96, generator=torch.Generator().manual_seed(5))
    for pattern in (Unstructured(0.5), NM(2, 4)):
        result = sparsegpt(make_weight(8, 96, torch.float32), inputs.T @ inputs, pattern)
        assert result.damping == 0.01
        assert result.zeros == pattern.zeros(8, 96)
        assert 0 <= result.relative_error < 0.1


def test_beyond_full_damping_the_layer_is_named(make_weight):
    hessian = torch.tensor([[1.0, 3.0], [3.0, 1.0]], dtype=torch.float64)
    with pytest.raises(CalibrationError, match=r"blocks\.3\.mlp: Hessian not positive definite at damping 1\."):
        sparsegpt(make_weight(4, 2), hessian, Unstructured(0.5), name="blocks.3.mlp")


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_hessian_that_is_not_finite_is_refused(make_weight, make_hessian, value):
    for place in ((2, 2), (1, 5)):
        hessian = make_hessian(32, torch.float32)
        hessian[place] = hessian[place[::-1]] = value
        with pytest.raises(CalibrationError, match=r"blocks\.3: the Hessian is not finite"):
            sparsegpt(make_weight(4, 32), hessian, Unstructured(0.5), name="blocks.3")


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_weight_that_is_not_finite_is_refused(make_weight, make_hessian, value, dtype):
    weight = make_weight(4, 32, dtype)
    weight[3, 30] = value
    with pytest.raises(CalibrationError, match=r"blocks\.3: the weight holds inf or NaN"):
        sparsegpt(weight, make_hessian(32), Unstructured(0.5), name="blocks.3")
    with pytest.raises(CalibrationError, match=r"blocks\.3: the weight holds inf or NaN"):
        magnitude(weight, Unstructured(0.5), name="blocks.3")


def test_inf_and_minus_inf_do_not_cancel(make_weight, make_hessian):
    weight = make_weight(4, 32)
    weight[0, 0], weight[1, 1] = math.inf, -math.inf
    with pytest.raises(CalibrationError, match="inf or NaN"):
        sparsegpt(weight, make_hessian(32), Unstructured(0.5))


# dead columns


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("scope", ["block", "row", "layer"])
def test_dead_columns_go_first(make_weight, make_hessian, scope, dtype):
    dead = (0, 5, 17, 63, 64, 100, 150, 199)
    weight, hessian = make_weight(12, 200, dtype), make_hessian(200, dtype, dead=dead)
    weight[:, 5] *= 50  # however large
    result = sparsegpt(weight, hessian, Unstructured(0.5, scope))
    assert result.dead_columns == len(dead)
    assert (result.weight[:, list(dead)] == 0).all()
    assert result.zeros == Unstructured(0.5, scope).zeros(12, 200)
    if dtype == torch.float64:
        assert_true(result, weight, hessian, Unstructured(0.5, scope))


@pytest.mark.parametrize("scope", ["block", "row", "layer"])
def test_dead_columns_never_go_beyond_the_pattern(make_weight, make_hessian, scope):
    dead = tuple(i for i in range(200) if i % 5 != 0)
    weight, hessian = make_weight(12, 200), make_hessian(200, dead=dead)
    pattern = Unstructured(0.3, scope)
    result = sparsegpt(weight, hessian, pattern)
    assert result.dead_columns == len(dead)
    assert result.zeros == pattern.zeros(12, 200)
    live = [i for i in range(200) if i % 5 == 0]
    assert torch.equal(result.weight[:, live], weight[:, live])
    assert result.relative_error < 1e-9


def test_dead_columns_of_a_group_go_first_but_no_more_than_the_group_allows(make_weight, make_hessian):
    weight, hessian = make_weight(12, 64), make_hessian(64, dead=(0, 1, 2, 9, 12, 13, 14, 15))
    result = sparsegpt(weight, hessian, NM(2, 4))
    zeros = result.weight == 0
    assert (zeros.view(-1, 4).sum(1) == 2).all()
    assert not zeros[:, 3].any()
    assert zeros[:, 9].all()
    assert torch.equal(result.weight[:, 12:16] != 0, ~zeros[:, 12:16])
    assert_true(result, weight, hessian, NM(2, 4))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_with_no_calibration_at_all_the_smallest_weights_go(make_weight, dtype):
    weight, pattern = make_weight(8, 64, dtype), Unstructured(0.5)
    result = sparsegpt(weight, torch.zeros(64, 64, dtype=dtype), pattern)
    assert result.dead_columns == 64
    assert torch.equal(result.weight, magnitude(weight, pattern).weight)
    assert (result.loss, result.relative_error) == (0.0, 0.0)


# zeros


@pytest.mark.parametrize(
    "pattern", [Unstructured(0.5), Unstructured(0.5, "row"), Unstructured(0.5, "layer"), NM(2, 4)], ids=repr
)
@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_minus_zero_is_never_written(make_weight, make_hessian, pattern, dtype):
    weight, hessian = -make_weight(8, 64, dtype).abs(), make_hessian(64, torch.promote_types(dtype, torch.float32))
    weight[0, :8] = -0.0
    weight[1, ::2] = -0.0
    for result in (sparsegpt(weight, hessian, pattern), magnitude(weight, pattern, hessian)):
        assert result.zeros >= pattern.zeros(8, 64)
        assert not torch.signbit(result.weight[result.weight == 0]).any()


@pytest.mark.parametrize("pattern", [Unstructured(0.0), NM(4, 4)], ids=repr)
@pytest.mark.parametrize("solve", [sparsegpt, magnitude])
def test_minus_zero_is_never_written_even_where_nothing_is_pruned(make_weight, make_hessian, solve, pattern):
    weight = make_weight(8, 64)
    weight[0, :8] = -0.0
    result = solve(weight, pattern=pattern, hessian=make_hessian(64))
    assert torch.equal(result.weight, weight)
    assert not torch.signbit(result.weight[result.weight == 0]).any()


def test_zeros_that_were_there_are_counted(make_weight, make_hessian):
    weight = make_weight(8, 64)
    weight[:, 3] = 0.0
    assert sparsegpt(weight, make_hessian(64), Unstructured(0.0)).zeros == 8
    assert magnitude(weight, Unstructured(0.0)).zeros == 8
    assert magnitude(weight, Unstructured(0.5)).zeros == 256


@pytest.mark.parametrize("solve", [sparsegpt, magnitude])
@pytest.mark.parametrize(
    "pattern", [Unstructured(0.5), Unstructured(0.5, "row"), Unstructured(0.5, "layer"), NM(2, 4)], ids=repr
)
def test_no_rows(make_weight, make_hessian, solve, pattern):
    result = solve(make_weight(0, 8), hessian=make_hessian(8), pattern=pattern)
    assert tuple(result.weight.shape) == (0, 8)
    assert (result.zeros, result.sparsity) == (0, 0.0)


# wrong arguments


def test_groups_that_do_not_divide_the_columns_are_refused(make_weight, make_hessian):
    message = r"pattern 2:4: expected columns divisible by 4, got a \[8, 62\] weight"
    with pytest.raises(ConfigError, match=message):
        sparsegpt(make_weight(8, 62), make_hessian(62), NM(2, 4))
    with pytest.raises(ConfigError, match=message):
        magnitude(make_weight(8, 62), NM(2, 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": torch.ones(4)}, "weight: expected a 2-D float tensor"),
        (
            {"weight": torch.ones(4, 8, dtype=torch.int64)},
            r"weight: expected a 2-D float tensor, got torch.int64 \[4, 8\]",
        ),
        ({"hessian": torch.eye(7)}, r"hessian: expected \[8, 8\], as the weight has 8 columns, got \[7, 7\]"),
        ({"damping": -0.1}, "damping: expected 0 to 1"),
        ({"damping": 1.5}, "damping: expected 0 to 1.*got 1.5"),
        ({"damping": math.nan}, "damping: expected 0 to 1"),
        ({"block_size": 0}, "block size: expected at least 1 column, got 0"),
        ({"block_size": 3, "pattern": NM(2, 4)}, "block size: expected at least 4, one group of 2:4, got 3"),
    ],
)
def test_wrong_arguments_are_refused(change, message):
    arguments = {"weight": torch.ones(4, 8), "hessian": torch.eye(8), "pattern": Unstructured(0.5)} | change
    with pytest.raises(ConfigError, match=message):
        sparsegpt(**arguments)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Unstructured(50), "sparsity: expected 0 to 1, got 50"),
        (lambda: Unstructured(-0.1), "sparsity: expected 0 to 1"),
        (lambda: Unstructured(math.nan), "sparsity: expected 0 to 1"),
        (lambda: Unstructured(0.5, "column"), "mask scope: expected block, row or layer, got 'column'"),
        (lambda: NM(0, 4), "pattern 0:4: expected 1 <= N <= M <= 128"),
        (lambda: NM(5, 4), "pattern 5:4"),
        (lambda: NM(2, 129), "pattern 2:129"),
        (lambda: parse_pattern("2of4"), "pattern: expected N:M such as 2:4"),
        (lambda: parse_pattern("-2:4"), "pattern: expected N:M"),
        (lambda: parse_pattern("0:0"), "pattern 0:0"),
    ],
)
def test_patterns_that_make_no_sense_are_refused(make, message):
    with pytest.raises(ConfigError, match=message):
        make()


def test_patterns_by_name():
    assert parse_pattern(" 2:4 ") == NM(2, 4)
    assert (str(NM(2, 4)), str(Unstructured(0.5))) == ("2:4", "50 %")


def test_a_float16_overflow_is_an_error_and_not_an_inf():
    # the second input is a tenth of the first one, so its weight takes over ten times what the first weight did
    hessian = torch.tensor([[1.0, 0.1], [0.1, 0.0101]], dtype=torch.float64)
    weight = torch.tensor([[2000.0, 60000.0]], dtype=torch.float16)
    assert sparsegpt(weight.double(), hessian, NM(1, 2), damping=0.0).weight[0, 1] > torch.finfo(torch.float16).max
    with pytest.raises(
        CalibrationError, match=r"blocks\.3: the solved weight is not finite in torch\.float16\. Raise the damping\.$"
    ):
        sparsegpt(weight, hessian, NM(1, 2), damping=0.0, name="blocks.3")


# magnitude


@pytest.mark.parametrize("scope", ["block", "layer", "row"])
@pytest.mark.parametrize("sparsity", [0.3, 0.5, 0.7])
def test_magnitude_prunes_the_smallest(make_weight, scope, sparsity):
    weight = make_weight(9, 123)
    pattern = Unstructured(sparsity, scope)
    result = magnitude(weight, pattern)
    segments = weight.abs().numpy() if scope == "row" else weight.abs().numpy().reshape(1, -1)
    mask = golden.select_smallest(segments, golden.zeros_of(sparsity, segments.shape[1])).reshape(9, 123)
    assert np.array_equal(result.weight.numpy(), np.where(mask, 0.0, weight.numpy()))
    assert result.zeros == pattern.zeros(9, 123)
    assert math.isnan(result.loss)
    assert math.isnan(result.relative_error)


@pytest.mark.parametrize(("keep", "group"), [(2, 4), (4, 8), (1, 1), (1, 2)])
def test_magnitude_prunes_groups(make_weight, keep, group):
    weight = make_weight(9, 40)
    mask = golden.nm_mask(weight.abs().numpy(), keep, group)
    assert np.array_equal(magnitude(weight, NM(keep, group)).weight.numpy(), np.where(mask, 0.0, weight.numpy()))


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_magnitude_reports_its_loss(make_weight, make_hessian, dtype):
    weight, hessian = make_weight(9, 64, dtype), make_hessian(64)
    result = magnitude(weight, NM(2, 4), hessian)
    assert result.weight.dtype == dtype
    kept = result.weight != 0
    assert torch.equal(result.weight[kept], weight[kept])
    assert result.loss == pytest.approx(output_error(weight, result, hessian), rel=1e-4)
    energy = float(((weight.double() @ hessian) * weight.double()).sum())
    assert result.relative_error == pytest.approx(result.loss / energy, rel=1e-4)


def test_magnitude_breaks_ties_by_index():
    weight = torch.tensor([[1.0, -1.0, 1.0, -1.0], [-1.0, 1.0, 1.0, 1.0]])
    assert magnitude(weight, NM(2, 4)).weight.tolist() == [[0, 0, 1, -1], [0, 0, 1, 1]]
    assert magnitude(weight, Unstructured(0.5)).weight.tolist() == [[0, 0, 0, 0], [-1, 1, 1, 1]]
