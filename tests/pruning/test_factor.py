"""The factor of a damped Hessian: blocked against whole, batches against single ones, no host sync, failures."""

import pytest
import torch
from op_support import with_dtypes
from torch._subclasses.fake_tensor import DataDependentOutputException, FakeTensorMode

from fmcompress import ops
from fmcompress.errors import CalibrationError
from fmcompress.layerwise import factor_hessian
from fmcompress.layerwise.cholesky import BLOCK_COLS, SUPER_COLS, factor_blocks, upper_cholesky
from fmcompress.layerwise.damping import damped_diagonal

# |R R^T - H| of |H|, in the norm of Frobenius
RESIDUAL = {torch.float32: 2e-6, torch.float64: 1e-14}
FAKE_DEVICES = ["cpu", *(["cuda"] if torch.version.cuda else [])]  # a CPU build cannot index a fake tensor of a GPU


def random_hessian(cols):
    inputs = torch.randn(3 * cols, cols, generator=torch.Generator().manual_seed(cols), dtype=torch.float64)
    return inputs.mT @ inputs / len(inputs)


def ill_conditioned_hessian(cols):
    """Eigenvalues from 1 to 1e-6, as activations with few strong directions give them."""
    source = torch.Generator().manual_seed(cols)
    basis = torch.linalg.qr(torch.randn(cols, cols, generator=source, dtype=torch.float64)).Q
    hessian = (basis * torch.logspace(0, -6, cols, dtype=torch.float64)) @ basis.mT
    return (hessian + hessian.mT) / 2


def outlier_hessian(cols):
    """Of fewer tokens than columns, a few of them a hundred times as strong."""
    source = torch.Generator().manual_seed(cols)
    scales = torch.ones(cols, dtype=torch.float64)
    scales[torch.randperm(cols, generator=source)[:3]] = 100.0
    inputs = torch.randn(1 + cols // 4, cols, generator=source, dtype=torch.float64) * scales
    return inputs.mT @ inputs / len(inputs)


HESSIANS = {"random": random_hessian, "ill-conditioned": ill_conditioned_hessian, "outliers": outlier_hessian}
WIDTHS = [1, 100, BLOCK_COLS, BLOCK_COLS + 1, SUPER_COLS, SUPER_COLS + 1, 2 * SUPER_COLS + 188]
on_hessians = pytest.mark.parametrize("kind", HESSIANS)


def residual(upper, hessian, diagonal):
    """|R R^T - H| / |H| in float64, H with its diagonal replaced."""
    damped = hessian.double().clone()
    damped.diagonal().copy_(diagonal)
    upper = upper.double()
    return float((upper @ upper.mT - damped).norm() / damped.norm())


@with_dtypes
@pytest.mark.parametrize("cols", WIDTHS)
@on_hessians
def test_blocks_make_the_factor_and_keep_their_inverses(kind, cols, dtype):
    hessian = HESSIANS[kind](cols).to(dtype)
    before = hessian.clone()
    diagonal, *_ = damped_diagonal(hessian, 0.01)
    upper, inverses, failed = factor_blocks(hessian, diagonal)
    assert torch.equal(hessian, before)
    assert (failed.shape, failed.dtype, failed.item()) == ((), torch.int32, 0)
    assert torch.equal(upper, upper.triu())
    assert residual(upper, hessian, diagonal) < RESIDUAL[dtype]
    for block, begin in enumerate(range(0, cols, BLOCK_COLS)):
        end = min(cols, begin + BLOCK_COLS)
        inverse, triangle = inverses[block, : end - begin, : end - begin], upper[begin:end, begin:end]
        close = 1e4 * torch.finfo(dtype).eps
        torch.testing.assert_close(inverse @ triangle, torch.eye(end - begin, dtype=dtype), rtol=0, atol=close)
        assert not inverses[block, end - begin :].any()
        assert not inverses[block, :, end - begin :].any()
    assert inverses.shape == (-(-cols // BLOCK_COLS), BLOCK_COLS, BLOCK_COLS)


def half_pruned(weight, upper):
    """What half of each block of columns, pruned left to right as SparseGPT does, takes from the weight."""
    delta = torch.zeros_like(weight)
    for begin in range(0, weight.shape[1], BLOCK_COLS):
        span = slice(begin, begin + BLOCK_COLS)
        inverse = torch.linalg.inv(upper[span, span])
        block = weight[:, span] + delta[:, :begin] @ upper[:begin, span] @ inverse
        scores = (block / inverse.diagonal()).abs().view(1, -1)
        prune = ops.select_smallest(scores, scores.numel() // 2).view(block.shape)
        ops.sweep_block_(block, inverse.triu(), prune)
        delta[:, span] = weight[:, span] - block
    return delta


@with_dtypes
@on_hessians
def test_blocked_and_whole_prune_alike(kind, dtype):
    """Measured in float64, the error that either factor leaves is that of the factor in float64."""
    truth = HESSIANS[kind](700)
    weight = torch.randn(96, 700, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    losses = {}
    for name, kept in (("truth", torch.float64), ("blocks", dtype), ("whole", dtype)):
        diagonal, _, added = damped_diagonal(truth.to(kept), 0.01)
        upper = (
            factor_blocks(truth.to(kept), diagonal)[0] if name == "blocks" else upper_cholesky(truth.to(kept), diagonal)
        )
        delta = half_pruned(weight.to(kept), upper).double()
        losses[name] = float(((delta @ truth) * delta).sum() + float(added) * delta.square().sum())
    for name in ("blocks", "whole"):
        assert losses[name] == pytest.approx(losses["truth"], rel=1e-3 if dtype == torch.float32 else 1e-9)


@with_dtypes
def test_a_batch_is_its_matrices(dtype):
    hessians = torch.stack([make(650) for make in HESSIANS.values()]).to(dtype)
    diagonals, dead, added = damped_diagonal(hessians, 0.01)
    uppers, inverses, failed = factor_blocks(hessians, diagonals)
    assert not failed.any()
    for index, hessian in enumerate(hessians):
        alone = factor_hessian(hessian, 0.01)
        assert (alone.damping, float(added[index])) == (0.01, pytest.approx(alone.added, rel=1e-5))
        assert torch.equal(dead[index], alone.dead)
        diagonal, *_ = damped_diagonal(hessian, 0.01)
        assert residual(uppers[index], hessian, diagonal) < RESIDUAL[dtype]
        torch.testing.assert_close(inverses[index], factor_blocks(hessian, diagonal)[1], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("place", [0, 127, 128, 600, 649])
def test_only_the_matrix_that_fails_is_marked(place):
    hessians = torch.stack([random_hessian(650)] * 3)
    diagonal = hessians.diagonal(dim1=-2, dim2=-1).clone()
    diagonal[1, place] = -1.0
    upper, inverses, failed = factor_blocks(hessians, diagonal)
    assert (failed != 0).tolist() == [False, True, False]
    alone = factor_blocks(hessians[0], diagonal[0])
    for index in (0, 2):
        torch.testing.assert_close(upper[index], alone[0], rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(inverses[index], alone[1], rtol=1e-9, atol=1e-9)


def indefinite_hessian(cols, least):
    """Eigenvalues from `least` of their mean up: a damping above that is what it takes."""
    source = torch.Generator().manual_seed(3)
    basis = torch.linalg.qr(torch.randn(cols, cols, generator=source, dtype=torch.float64)).Q
    values = torch.linspace(0.2, 1.8, cols, dtype=torch.float64)
    values[0] = -least * values.mean()
    hessian = (basis * values) @ basis.mT
    return (hessian + hessian.mT) / 2


def test_a_matrix_gets_the_damping_that_it_needs():
    hessians = [random_hessian(300), indefinite_hessian(300, 0.05), indefinite_hessian(300, 0.5)]
    hessians[0][7], hessians[0][:, 7] = 0.0, 0.0
    for hessian, damping in zip(hessians, (0.01, 0.1, 1.0), strict=True):
        before = hessian.clone()
        factor = factor_hessian(hessian, 0.01)
        assert torch.equal(hessian, before)
        assert factor.damping == damping
        diagonal, dead, added = damped_diagonal(hessian, damping)
        assert factor.added == pytest.approx(float(added), rel=1e-12)
        assert torch.equal(factor.dead, dead)
        upper, inverses, _ = factor_blocks(hessian, diagonal)
        torch.testing.assert_close(upper, factor.upper, rtol=1e-9, atol=1e-12)
        torch.testing.assert_close(inverses[0] @ upper[:128, :128], torch.eye(128).double(), rtol=0, atol=1e-9)


def test_what_cannot_be_factored_is_named():
    hessian = random_hessian(200) - 9.0 * torch.eye(200)
    with pytest.raises(CalibrationError, match="b: Hessian not positive definite at damping 1"):
        factor_hessian(hessian, 0.01, "b")
    for value in ("nan", "inf"):
        hessian[3, 150] = hessian[150, 3] = float(value)
        with pytest.raises(CalibrationError, match="c: the Hessian is not finite"):
            factor_hessian(hessian, 0.01, "c")


@pytest.mark.parametrize("device", FAKE_DEVICES)
@pytest.mark.parametrize("shape", [(700, 700), (3, 700, 700)], ids=str)
def test_nothing_waits_for_a_gpu(device, shape):
    """A fake tensor has no values: what looks at one fails."""
    with FakeTensorMode():
        hessian = torch.empty(shape, device=device)
        diagonal, _, added = damped_diagonal(hessian, 0.01)
        upper, inverses, failed = factor_blocks(hessian, diagonal)
        assert {part.device.type for part in (upper, inverses, failed, added)} == {device}
        assert (upper.shape, inverses.shape, failed.shape) == (shape, (*shape[:-2], 6, 128, 128), shape[:-2])
        with pytest.raises(DataDependentOutputException):
            bool(failed.sum() > 0)


gpu = [pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")]


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=gpu) for kind in HESSIANS])
def test_a_gpu_factors_as_a_cpu_does(kind):
    for dtype in RESIDUAL:
        hessian = HESSIANS[kind](1300).to(dtype)
        here, there = factor_hessian(hessian, 0.01), factor_hessian(hessian.cuda(), 0.01)
        assert there.damping == here.damping
        diagonal, *_ = damped_diagonal(hessian, 0.01)
        assert residual(there.upper.cpu(), hessian, diagonal) < RESIDUAL[dtype]
        both = torch.stack([hessian, hessian]).cuda()
        uppers, _, failed = factor_blocks(both, damped_diagonal(both, 0.01)[0])
        assert not failed.any()
        assert residual(uppers[1].cpu(), hessian, diagonal) < RESIDUAL[dtype]


@pytest.mark.parametrize("batch", [pytest.param((), marks=gpu), pytest.param((3,), marks=gpu)])
def test_a_graph_holds_all_of_it(batch):
    hessian = random_hessian(700).float().cuda().expand(*batch, 700, 700).contiguous()
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        factor_blocks(hessian, damped_diagonal(hessian, 0.01)[0])  # what is loaded once
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        factored = factor_blocks(hessian, damped_diagonal(hessian, 0.01)[0])
    for scale in (1.0, 3.0):
        hessian.mul_(scale)
        graph.replay()
        expected = factor_blocks(hessian, damped_diagonal(hessian, 0.01)[0])
        for part, other in zip(factored, expected, strict=True):
            torch.testing.assert_close(part, other, rtol=1e-4, atol=1e-5)
