"""GPTQ, the joint solve and plain rounding against the float64 truth, and what all of them promise beside it."""

import numpy as np
import pytest
import torch
from golden import gptq as golden
from golden import sparsegpt as paper
from torch import nn

from fmcompress import NM, Unstructured, magnitude, ops, sparsegpt, use
from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.quantization import Grid, gptq, round_to_nearest

FLOATS = [torch.float16, torch.bfloat16, torch.float32, torch.float64]
GRIDS = [
    Grid(4, 128),
    Grid(4, 32, False),
    Grid(3, 16),
    Grid(2, 48, False),
    Grid(8, None),
    Grid(4, None, False),
    Grid(4, 200),
    Grid(3, 130, False),
    Grid(4, 1),
    Grid(4, 64, True, 20),
    Grid(3, None, False, 7),
]
PATTERNS = [
    (Unstructured(0.5), {"sparsity": 0.5}),
    (Unstructured(0.3, "row"), {"sparsity": 0.3, "scope": "row"}),
    (Unstructured(0.7, "layer"), {"sparsity": 0.7, "scope": "layer"}),
    (NM(2, 4), {"nm": (2, 4)}),
    (NM(4, 8), {"nm": (4, 8)}),
]


def assert_true(result, weight, hessian, grid, damping=0.01, **options):
    """Against the loop: codes and masks exactly, the rest to rounding."""
    levels = (grid.bits, grid.group_size, grid.symmetric, grid.candidates)
    quantized = result.quantized
    truth = golden.gptq(
        weight.numpy(), hessian.numpy(), damping, *levels, follow=quantized.codes.double().numpy(), **options
    )
    expected, codes, scale, zero, mask, damped_loss = truth
    assert np.array_equal(quantized.codes.numpy(), codes)
    assert np.array_equal(quantized.zero.numpy(), zero)
    np.testing.assert_allclose(quantized.scale.numpy(), scale, rtol=1e-8)
    np.testing.assert_allclose(result.weight.numpy(), expected, rtol=1e-8, atol=1e-12)
    assert not result.weight.numpy()[mask].any()
    delta = weight.numpy() - expected
    damped = paper.damped(hessian.numpy(), damping)
    assert np.trace(delta @ damped @ delta.T) == pytest.approx(damped_loss, rel=1e-8)  # the truth agrees with itself
    assert result.loss == pytest.approx(np.trace(delta @ hessian.numpy() @ delta.T), rel=1e-7)
    assert_on_grid(result)


def assert_on_grid(result):
    """The weight is what its codes say, to the bit; zeros are counted and never negative."""
    quantized = result.quantized
    assert quantized.codes.dtype == quantized.zero.dtype == torch.uint8
    assert quantized.scale.dtype == result.weight.dtype
    assert torch.isfinite(quantized.scale).all()
    assert (quantized.scale > 0).all()
    assert (quantized.codes.int() < 1 << quantized.grid.bits).all()
    again = quantized.dequantized(result.weight.dtype)
    assert again.equal(result.weight)
    assert not torch.signbit(again[again == 0]).any()
    assert not torch.signbit(result.weight[result.weight == 0]).any()
    width = quantized.grid.width(result.weight.shape[1])
    step = quantized.scale.double().repeat_interleave(width, 1)[:, : result.weight.shape[1]]
    levels = result.weight.double() / step
    assert (levels - levels.round()).abs().max() < 2**8 * torch.finfo(result.weight.dtype).eps
    assert result.zeros == int((result.weight == 0).sum())


# against the truth


@pytest.mark.parametrize("cols", [64, 200, 300])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_gptq_is_the_papers(make_weight, make_hessian, grid, cols):
    weight, hessian = make_weight(9, cols), make_hessian(cols)
    assert_true(gptq(weight, hessian, grid), weight, hessian, grid)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_columns_by_falling_diagonal(make_weight, make_hessian, grid):
    """The scales stay those of the original weights, in the columns' own order."""
    weight, hessian = make_weight(7, 200), make_hessian(200)
    result = gptq(weight, hessian, grid, activation_order=True)
    assert_true(result, weight, hessian, grid, ordered=True)
    plain = round_to_nearest(weight, grid)
    assert result.quantized.scale.equal(plain.quantized.scale)
    assert result.quantized.zero.equal(plain.quantized.zero)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize(("pattern", "options"), PATTERNS, ids=str)
def test_joint_is_the_papers(make_weight, make_hessian, pattern, options, grid):
    if grid.refreshed and isinstance(pattern, NM) and grid.group_size % pattern.group:
        grid = Grid(grid.bits, 8 * grid.group_size, grid.symmetric)  # others are refused
    block_size = 2 * grid.group_size if grid.refreshed else 96
    block_size = max(8, block_size)
    weight, hessian = make_weight(8, 264), make_hessian(264)
    result = sparsegpt(weight, hessian, pattern, grid=grid, block_size=block_size)
    assert_true(result, weight, hessian, grid, block_size=block_size, **options)
    assert result.zeros >= pattern.zeros(8, 264)  # kept weights may round to zero, too
    if isinstance(pattern, NM):
        kept = (result.weight != 0).view(-1, pattern.group).sum(1)
        assert (kept <= pattern.keep).all()


@pytest.mark.parametrize("ordered", [False, True])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_kept_zeros_are_a_mask(make_weight, make_hessian, grid, ordered):
    weight, hessian = make_weight(7, 200), make_hessian(200)
    weight[make_weight(7, 200, seed=1) > 0] = 0.0
    weight[0, 0] = -0.0
    result = gptq(weight, hessian, grid, keep_zeros=True, activation_order=ordered)
    assert_true(result, weight, hessian, grid, keep_zeros=True, ordered=ordered)


@pytest.mark.parametrize("grid", [Grid(4, 32), Grid(4, 128, False), Grid(4, None)], ids=str)
def test_a_pattern_survives_quantization(make_weight, make_hessian, grid):
    """Where nothing is kept, the sweep puts its errors into the zeros and the pattern is gone."""
    weight, hessian = make_weight(64, 256, torch.float32), make_hessian(256, torch.float32)
    pruned = sparsegpt(weight, hessian, NM(2, 4)).weight
    kept, free = (gptq(pruned, hessian, grid, keep_zeros=keep) for keep in (True, False))
    assert not kept.weight[pruned == 0].any()
    assert ((kept.weight != 0).view(-1, 4).sum(1) <= 2).all()
    assert ((free.weight != 0).view(-1, 4).sum(1) > 2).any()
    assert_on_grid(kept)
    rounded = round_to_nearest(pruned, grid, hessian)
    assert not rounded.weight[pruned == 0].any()
    assert free.loss < kept.loss < rounded.loss
    assert kept.loss < 2.5 * free.loss


def test_arguments_of_another_kind(make_weight, make_hessian):
    weight, hessian = make_weight(4, 64), make_hessian(64)
    for call in (
        lambda: gptq(weight, hessian, 4),
        lambda: gptq(weight, hessian, None),
        lambda: round_to_nearest(weight, 4),
        lambda: sparsegpt(weight, hessian, NM(2, 4), grid=4),
    ):
        with pytest.raises(ConfigError, match=r"^grid: expected a Grid such as Grid\(bits=4, group_size=128\), got"):
            call()
    for method in (lambda pattern: sparsegpt(weight, hessian, pattern), lambda pattern: magnitude(weight, pattern)):
        with pytest.raises(ConfigError, match=r"^pattern: expected Unstructured\(0\.5\) or NM\(2, 4\), got 0\.5"):
            method(0.5)
    for size in ("row", "128", 64.0, True):
        with pytest.raises(
            ConfigError, match=r"^group size: expected 1 to \d+ columns, got .*Take None for a whole row"
        ):
            Grid(group_size=size)


def test_scales_that_stand_need_no_mask_beforehand(make_weight, make_hessian, monkeypatch):
    """A mask that nobody looks at would cost each block a selection."""
    asked, real = [], ops.nm_mask
    monkeypatch.setattr(ops, "nm_mask", lambda *given, **more: asked.append(given) or real(*given, **more))
    sparsegpt(make_weight(4, 256), make_hessian(256), NM(2, 4), grid=Grid(4, None))
    assert not asked
    sparsegpt(make_weight(4, 256), make_hessian(256), NM(2, 4), grid=Grid(4, 64))
    assert len(asked) == 4


@pytest.mark.parametrize("pattern", [Unstructured(0.4), Unstructured(0.4, "layer")], ids=repr)
def test_joint_by_falling_diagonal(make_weight, make_hessian, pattern):
    weight, hessian, grid = make_weight(8, 200), make_hessian(200), Grid(4, 32)
    result = sparsegpt(weight, hessian, pattern, grid=grid, activation_order=True, block_size=50)
    assert_true(result, weight, hessian, grid, ordered=True, sparsity=0.4, scope=pattern.scope, block_size=50)


@pytest.mark.parametrize("damping", [0.0, 0.1, 1.0])
def test_damping(make_weight, make_hessian, damping):
    weight, hessian, grid = make_weight(6, 96), make_hessian(96), Grid(3, 32)
    assert_true(gptq(weight, hessian, grid, damping=damping), weight, hessian, grid, damping)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
def test_rounding_to_nearest(make_weight, make_hessian, grid):
    weight, hessian = make_weight(9, 200), make_hessian(200)
    result = round_to_nearest(weight, grid, hessian)
    levels, follow = (grid.bits, grid.group_size, grid.symmetric, grid.candidates), result.quantized.codes
    codes, scale, zero = golden.rtn(weight.numpy(), *levels, follow=follow.double().numpy())
    assert np.array_equal(result.quantized.codes.numpy(), codes)
    assert np.array_equal(result.quantized.zero.numpy(), zero)
    np.testing.assert_allclose(result.quantized.scale.numpy(), scale, rtol=1e-12)
    assert_on_grid(result)
    delta = (weight - result.weight).numpy()
    assert result.loss == pytest.approx(np.trace(delta @ hessian.numpy() @ delta.T), rel=1e-9)
    assert np.isnan(round_to_nearest(weight, grid).loss)


@pytest.mark.parametrize("grid", [Grid(4, 32), Grid(3, None, False), Grid(4, 200)], ids=str)
@pytest.mark.parametrize("pattern", [None, Unstructured(0.5), NM(2, 4)], ids=str)
def test_reference_and_native_solve_the_same(make_weight, make_hessian, pattern, grid):
    weight, hessian = make_weight(16, 208), make_hessian(208)

    def solved():
        return gptq(weight, hessian, grid) if pattern is None else sparsegpt(weight, hessian, pattern, grid=grid)

    result = solved()
    with use("reference"):
        expected = solved()
    assert result.quantized.codes.equal(expected.quantized.codes)
    torch.testing.assert_close(result.weight, expected.weight, rtol=1e-9, atol=1e-12)
    assert result.loss == pytest.approx(expected.loss, rel=1e-9)


# what the result says


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("grid", [Grid(4, 32), Grid(8, None, False), Grid(2, 40)], ids=str)
@pytest.mark.parametrize("pattern", [None, Unstructured(0.5, "row"), NM(2, 4)], ids=str)
def test_every_dtype_is_on_its_grid(make_weight, make_hessian, pattern, grid, dtype):
    weight, hessian = make_weight(12, 168, dtype), make_hessian(168)
    hessian = hessian if dtype == torch.float64 else hessian.float()
    before = weight.clone(), hessian.clone()
    if pattern is None:
        result = gptq(weight, hessian, grid)
    else:
        result = sparsegpt(weight, hessian, pattern, grid=grid, block_size=160)
    assert_on_grid(result)
    assert result.weight.dtype == dtype
    assert weight.equal(before[0])
    assert hessian.equal(before[1])
    delta = weight.double() - result.quantized.dequantized(torch.float64)  # not rounded to 16 bits
    loss = float(((delta @ hessian.double()) * delta).sum())
    assert result.loss == pytest.approx(loss, rel=1e-8 if dtype == torch.float64 else 1e-3)
    energy = float(((weight.double() @ hessian.double()) * weight.double()).sum())
    assert result.relative_error == pytest.approx(result.loss / energy, rel=1e-3)


def test_scales_leave_out_what_is_pruned():
    """Outliers on inputs that hardly fire are pruned, and then the others need no such wide a grid."""
    weight = torch.full((4, 64), 0.1, dtype=torch.float64)
    weight[:, ::2] = torch.linspace(0.2, 0.5, 32, dtype=torch.float64)
    weight[:, 1::2] = 40.0
    energy = torch.ones(64, dtype=torch.float64)
    energy[1::2] = 1e-9
    for pattern in (Unstructured(0.5), Unstructured(0.5, "row"), Unstructured(0.5, "layer"), NM(2, 4), NM(1, 2)):
        for size in (16, 32, 64):
            result = sparsegpt(weight, torch.diag(energy), pattern, grid=Grid(4, size), damping=0.0)
            largest = weight[:, ::2].view(4, -1, size // 2).amax(2)
            torch.testing.assert_close(result.quantized.scale, 2 * largest / 15)
            assert not result.weight[:, 1::2].any()
            assert (result.weight[:, ::2] - weight[:, ::2]).abs().max() <= 0.5 / 15 + 1e-9


def test_a_parameter_will_do(make_weight, make_hessian):
    """As it comes out of a module: nothing is recorded for gradients and the parameter stays as it is."""
    layer = nn.Linear(64, 8, bias=False)
    before, hessian = layer.weight.detach().clone(), make_hessian(64, torch.float32).requires_grad_()
    for result in (
        gptq(layer.weight, hessian, Grid(4, 32)),
        sparsegpt(layer.weight, hessian, Unstructured(0.5), grid=Grid(4, 32)),
        sparsegpt(layer.weight, hessian, NM(2, 4)),
        round_to_nearest(layer.weight, Grid(4, 32), hessian),
    ):
        assert type(result.weight) is torch.Tensor
        assert not result.weight.requires_grad
        assert layer.weight.equal(before)
        assert layer.weight.grad is None


def test_better_than_rounding(make_weight, make_hessian):
    weight, hessian = make_weight(32, 256), make_hessian(256)
    for grid in (Grid(4, 128), Grid(3, 32, False), Grid(2, None)):
        assert gptq(weight, hessian, grid).loss < 0.8 * round_to_nearest(weight, grid, hessian).loss
    losses = [gptq(weight, hessian, Grid(bits, 32)).loss for bits in (2, 3, 4, 8)]
    assert losses == sorted(losses, reverse=True)
    joint = sparsegpt(weight, hessian, Unstructured(0.5), grid=Grid(4, 32)).loss
    pruned = sparsegpt(weight, hessian, Unstructured(0.5))
    after = round_to_nearest(pruned.weight, Grid(4, 32))
    delta = weight - after.weight
    assert pruned.loss < joint < float(((delta @ hessian) * delta).sum())


def test_clipping_never_loses(make_weight, make_hessian):
    weight, hessian = make_weight(16, 128), make_hessian(128)
    identity = torch.eye(128, dtype=torch.float64)
    plain, searched = (round_to_nearest(weight, Grid(3, 64, True, n), identity).loss for n in (1, 40))
    assert searched < plain
    assert gptq(weight, hessian, Grid(3, 64, True, 40)).quantized.scale.max() <= weight.abs().max() * 2 / 7 * 2


# odd inputs


@pytest.mark.parametrize("grid", [Grid(4, 32), Grid(4, None, False)], ids=str)
def test_degenerate_weights(make_weight, make_hessian, grid):
    hessian = make_hessian(40)
    nothing = gptq(torch.zeros(3, 40, dtype=torch.float64), hessian, grid)
    assert not nothing.weight.any()
    assert (nothing.loss, nothing.relative_error, nothing.zeros) == (0.0, 0.0, 120)
    assert_on_grid(nothing)
    empty = gptq(torch.zeros(0, 40, dtype=torch.float64), hessian, grid)
    assert empty.weight.shape == empty.quantized.codes.shape == (0, 40)
    assert_true(gptq(make_weight(1, 1), make_hessian(1), grid), make_weight(1, 1), make_hessian(1), grid)
    dead = make_hessian(40, dead=(0, 7, 39))
    result = gptq(make_weight(5, 40), dead, grid)
    assert result.dead_columns == 3
    assert_true(result, make_weight(5, 40), dead, grid)


@pytest.mark.parametrize("pattern", [Unstructured(0.5), Unstructured(0.5, "row"), Unstructured(0.5, "layer"), NM(2, 4)])
@pytest.mark.parametrize("grid", [Grid(4, 32), Grid(4, None, False)], ids=str)
def test_no_rows_to_solve_jointly(make_hessian, grid, pattern):
    result = sparsegpt(torch.zeros(0, 64), make_hessian(64), pattern, grid=grid)
    assert result.weight.shape == result.quantized.codes.shape == (0, 64)
    assert result.zeros == 0


@pytest.mark.parametrize("std", [1e-3, 3e-4, 1e-4])
@pytest.mark.parametrize("grid", [Grid(8), Grid(8, 128, False), Grid(4)], ids=str)
def test_small_weights_lose_no_more_in_float16(make_weight, grid, std):
    """Their scales are subnormal there: rounded like other numbers, not raised to the smallest normal one."""
    half = (make_weight(64, 256, seed=3) * (std / 0.05)).half()
    errors = []
    for weight in (half, half.float()):
        solved = round_to_nearest(weight, grid).weight.double()
        errors.append(float((solved - half.double()).norm() / half.double().norm()))
    assert errors[0] <= 1.1 * errors[1]


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
def test_a_scale_that_rounds_to_nothing_is_still_one(dtype):
    weight = torch.full((2, 64), torch.finfo(dtype).tiny, dtype=dtype) * torch.finfo(dtype).eps
    for grid in (Grid(8, 32), Grid(2, 32, False)):
        quantized = round_to_nearest(weight, grid).quantized
        assert (quantized.scale > 0).all()
        assert (1 / quantized.scale.to(torch.promote_types(dtype, torch.float32))).isfinite().all()
        assert_on_grid(round_to_nearest(weight, grid))


def test_an_overflow_says_what_helps():
    weight = torch.tensor([[-65000.0, 3.0]], dtype=torch.float16)
    with pytest.raises(CalibrationError, match=r"q: the solved weight is not finite .*--asymmetric.*bfloat16"):
        round_to_nearest(weight, Grid(4), name="q")
    round_to_nearest(weight.bfloat16(), Grid(4))
    round_to_nearest(weight, Grid(4, 128, False))
    with pytest.raises(CalibrationError, match=r"Raise the damping\. Quantize it --asymmetric"):
        gptq(weight, torch.eye(2), Grid(4), name="q")


def test_a_hessian_of_few_tokens_is_damped_more(make_weight):
    inputs = torch.ones(1, 64, dtype=torch.float64)
    result = gptq(make_weight(4, 64), inputs.T @ inputs, Grid(4, 32), damping=0.0)
    assert result.damping > 0
    assert_on_grid(result)


REFUSED = [
    (lambda w, h: gptq(w, h[:9, :9], Grid()), "hessian: expected"),
    (lambda w, h: gptq(w, h, Grid(), damping=2.0), "damping: expected"),
    (lambda w, h: gptq(w, h, Grid(), block_size=0), "block size: expected at least 1"),
    (lambda w, h: gptq(w.long(), h, Grid()), "weight: expected a 2-D float tensor"),
    (lambda w, h: gptq(w[0], h, Grid()), "weight: expected a 2-D float tensor"),
    (lambda w, h: gptq(w.numpy(), h, Grid()), "weight: expected a torch.Tensor"),
    (lambda w, h: round_to_nearest(w[0], Grid()), "weight: expected a 2-D float tensor"),
    (lambda w, h: sparsegpt(w, h, Unstructured(0.5), grid=Grid(4, 48), block_size=64), "multiple of the group size 48"),
    (lambda w, h: sparsegpt(w, h, Unstructured(0.5), grid=Grid(4, 128), block_size=64), "multiple of the group size"),
    (lambda w, h: sparsegpt(w, h, NM(2, 4), grid=Grid(4, 30)), "group size: expected a multiple of 4"),
    (lambda w, h: sparsegpt(w, h, NM(2, 4), grid=Grid(4, 2)), "group size: expected a multiple of 4"),
    (lambda w, h: sparsegpt(w, h, NM(2, 4), grid=Grid(), block_size=2), "block size: expected at least 4"),
    (lambda w, h: sparsegpt(w, h, NM(3, 5), grid=Grid(4, 40)), "columns divisible by 5"),
    (lambda w, h: sparsegpt(w, h, NM(2, 4), grid=Grid(), activation_order=True), "scatter the groups"),
    (lambda w, h: sparsegpt(w, h, "2:4", grid=Grid()), "pattern: expected"),
    (lambda w, h: Grid(5), "bits: expected one of 2, 3, 4, 8"),
    (lambda w, h: Grid(4, 0), "group size: expected 1 to 2147483648 columns, got 0"),
    (lambda w, h: Grid(4, (1 << 31) + 1), "group size: expected 1 to 2147483648 columns, got 2147483649"),
    (lambda w, h: Grid(4, 32, True, 0), "candidates: expected 1 to 1000"),
    (lambda w, h: Grid(4, 32, True, 1001), "candidates: expected 1 to 1000"),
]


@pytest.mark.parametrize(("call", "message"), REFUSED, ids=[message for _, message in REFUSED])
def test_what_does_not_fit_is_refused(make_weight, make_hessian, call, message):
    with pytest.raises(ConfigError, match=message):
        call(make_weight(4, 64), make_hessian(64))


@pytest.mark.parametrize("block_size", [64, 128, 192])
def test_combinations_that_fit(make_weight, make_hessian, block_size):
    """Wide groups and rows have their scales before the sweep, so that any block will do."""
    weight, hessian = make_weight(4, 256), make_hessian(256)
    for grid in (Grid(4, None), Grid(4, 129), Grid(4, 64), Grid(4, 32)):
        sparsegpt(weight, hessian, Unstructured(0.5), grid=grid, block_size=block_size)
    sparsegpt(weight, hessian, Unstructured(0.5), grid=Grid(4, 48), block_size=block_size, activation_order=True)


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_what_is_not_finite_is_refused(make_weight, make_hessian, value):
    weight, hessian = make_weight(4, 64), make_hessian(64)
    broken = weight.clone()
    broken[1, 2] = value
    for call in (
        lambda: gptq(broken, hessian, Grid(), name="q_proj"),
        lambda: round_to_nearest(broken, Grid(), name="q_proj"),
    ):
        with pytest.raises(CalibrationError, match="q_proj: the weight holds inf or NaN"):
            call()
    hessian[3, 3] = value
    with pytest.raises(CalibrationError, match="q_proj: the Hessian is not finite"):
        gptq(weight, hessian, Grid(), name="q_proj")
