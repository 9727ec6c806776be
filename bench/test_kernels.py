"""Microbenchmarks of the kernels floor: each case checks its result once after it was timed."""

import itertools

import pytest
import torch

from fmcompress import ops, reference, use
from fmcompress._ops import Layout
from fmcompress.calibration import accumulate_hessian_

ROWS, COLS = 4096, 128


def block() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(ROWS, COLS, generator=generator)
    factor = torch.randn(COLS, COLS, generator=generator).mul_(0.05).triu(1) + torch.eye(COLS)
    return weight, factor


@pytest.mark.parametrize("implementation", [ops, reference], ids=["native", "reference"])
@pytest.mark.parametrize("pattern", ["mask", "2:4"])
def test_sweep_block(benchmark, implementation, pattern):
    benchmark.group = f"sweep_block_ {ROWS}x{COLS} {pattern}"
    weight, factor = block()
    prune = reference.nm_mask(weight.abs(), 2, 4) if pattern == "mask" else None
    call = {True: lambda w: ops.sweep_block_(w, factor, prune, keep=2, group=4)}.get(
        implementation is ops, lambda w: reference.sweep_block_(w, factor, prune, 2, 4)
    )
    benchmark.pedantic(call, setup=lambda: ((weight.clone(),), {}), rounds=10, warmup_rounds=1)
    flops = ROWS * COLS * COLS  # a multiplication and an addition for half of all column pairs
    benchmark.extra_info["GFLOP/s"] = flops / benchmark.stats["median"] / 1e9
    ours, truth = weight.clone(), weight.clone()
    call(ours)
    reference.sweep_block_(truth, factor, prune, 2, 4)
    torch.testing.assert_close(ours, truth, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("implementation", [ops, reference], ids=["native", "reference"])
@pytest.mark.parametrize("shape", [(1, ROWS * COLS), (ROWS, COLS)], ids=["block", "row"])
def test_select_smallest(benchmark, implementation, shape):
    benchmark.group = f"select_smallest {shape[0]}x{shape[1]}"
    scores = torch.rand(shape, generator=torch.Generator().manual_seed(0))
    mask = benchmark(implementation.select_smallest, scores, shape[1] // 2)
    benchmark.extra_info["GB/s"] = scores.nbytes / benchmark.stats["median"] / 1e9
    assert torch.equal(mask, reference.select_smallest(scores, shape[1] // 2))


STEPS = {"layer": {"prune": 2048 * 1024}, "row": {"prune": 1024, "by_row": True}, "2:4": {"keep": 2, "group": 4}}


def eager_step(x, dual, kept, target, penalty, following, *, prune=0, keep=0, group=0, by_row=False):
    """A step of the ADMM search as operations of torch around the native selection."""
    value = x + dual
    scores = value.abs()
    if group:
        pruned = ops.nm_mask(scores, keep, group)
    else:
        pruned = ops.select_smallest(scores if by_row else scores.view(1, -1), prune).view(x.shape)
    changed = (kept == pruned).sum()
    torch.logical_not(pruned, out=kept)
    z = torch.where(kept, value, 0.0)
    torch.sub(value, z, out=dual).mul_(penalty / following)
    torch.add(target, z.sub_(dual).mul_(following), out=x)
    return changed


@pytest.mark.parametrize("implementation", [ops.admm_step_, eager_step, "copy"], ids=["native", "eager", "copy"])
@pytest.mark.parametrize("choice", STEPS)
def test_admm_step(benchmark, implementation, choice):
    benchmark.group = f"admm_step_ 2048x2048 {choice}"
    source = torch.Generator().manual_seed(0)
    x, dual, target = (torch.randn(2048, 2048, generator=source) for _ in range(3))
    kept = torch.rand(2048, 2048, generator=source) < 0.5
    copied = torch.randn(11 * x.numel() // 4, generator=source)  # as many bytes as a step reads and writes at least
    room = torch.zeros_like(copied)

    def run(*changes):
        if implementation == "copy":
            return room.copy_(copied)
        return implementation(*changes, target, 1.0, 1.15, **STEPS[choice])

    def copies():
        return (x.clone(), dual.clone(), kept.clone()), {}

    benchmark.pedantic(run, setup=copies, rounds=15, warmup_rounds=1)
    benchmark.extra_info["GB/s"] = 22 * x.numel() / benchmark.stats["median"] / 1e9
    (ours, _), (truth, _) = copies(), copies()
    if implementation != "copy":
        assert run(*ours) == eager_step(*truth, target, 1.0, 1.15, **STEPS[choice])
        assert all(map(torch.equal, ours, truth))


@pytest.mark.parametrize("implementation", [ops, reference], ids=["native", "reference"])
@pytest.mark.parametrize("batch", [1, 64])
def test_factor_block(benchmark, implementation, batch):
    benchmark.group = f"factor_block {batch} x {COLS} columns"
    inputs = torch.randn(batch, 2 * COLS, COLS, generator=torch.Generator().manual_seed(0))
    matrices = inputs.mT @ inputs
    upper, inverse, failed = benchmark(implementation.factor_block, matrices)
    benchmark.extra_info["GFLOP/s"] = 2 * batch * COLS**3 / 3 / benchmark.stats["median"] / 1e9
    assert not failed.any()
    torch.testing.assert_close(upper @ upper.mT, matrices, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(inverse @ upper, torch.eye(COLS).expand_as(upper), rtol=0, atol=1e-4)


@pytest.mark.parametrize("implementation", ["tiles", "full product"])
@pytest.mark.parametrize("cols", [1024, 4096])
def test_accumulate_hessian(benchmark, implementation, cols):
    benchmark.group = f"Hessian of 2048 x {cols} inputs"
    inputs = torch.randn(2048, cols, generator=torch.Generator().manual_seed(0))
    hessian = torch.zeros(cols, cols)
    tiles = implementation == "tiles"
    benchmark(accumulate_hessian_ if tiles else lambda h, x: h.addmm_(x.T, x), hessian, inputs)
    benchmark.extra_info["GFLOP/s of x^T x"] = 2 * 2048 * cols**2 / benchmark.stats["median"] / 1e9
    fresh = accumulate_hessian_(torch.zeros(cols, cols), inputs)
    torch.testing.assert_close(fresh.triu(), (inputs.T @ inputs).triu(), rtol=1e-3, atol=1e-2)


@pytest.mark.parametrize("implementation", ["native", "reference"])
@pytest.mark.parametrize("sampled", [0.1, 1.0])
def test_compress_gradient(benchmark, implementation, sampled):
    numel, block = 1 << 22, 4096
    benchmark.group = f"compress_gradient_ of {numel}, {sampled:.0%} of the blocks"
    layout = Layout(0, 0, 0, block, round(sampled * numel / block), 768, 4, 128, True)
    generator = torch.Generator().manual_seed(0)
    gradient, residual = (torch.randn(numel, generator=generator) for _ in range(2))

    def run(left):
        with use(implementation):
            return ops.compress_gradient_(gradient, left, layout)

    payload = benchmark.pedantic(run, setup=lambda: ((residual.clone(),), {}), rounds=5, warmup_rounds=1)
    benchmark.extra_info["GB/s"] = 12 * numel / benchmark.stats["median"] / 1e9
    with use("reference"):
        assert torch.equal(payload, ops.compress_gradient_(gradient, residual, layout))


@pytest.mark.parametrize("implementation", [ops, reference, "copy"], ids=["native", "reference", "copy"])
@pytest.mark.parametrize("summed_in", [torch.float64, torch.float32], ids=str)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32], ids=str)
@pytest.mark.parametrize("rows", [2, 3, 8])
def test_weighted_sum(benchmark, implementation, rows, dtype, summed_in):
    """Of buffers that were not just in the cache, as those of a merge are; `copy` moves as many bytes."""
    count, buffers = (1 << 20) // dtype.itemsize, 64 // rows
    benchmark.group = f"weighted_sum_ of {rows} x 1 MiB {dtype}, summed in {summed_in}"
    sources = torch.randn(buffers, rows, count, generator=torch.Generator().manual_seed(0)).to(dtype)
    weights = torch.full((rows,), 1 / rows, dtype=summed_in)
    out, bytes_moved = torch.empty(buffers, count, dtype=dtype), (rows + 1) << 20
    copied = torch.zeros(2, buffers, bytes_moved // 2, dtype=torch.uint8)
    turn = itertools.cycle(range(buffers))

    def run():
        at = next(turn)
        if implementation == "copy":
            return copied[0, at].copy_(copied[1, at])
        return implementation.weighted_sum_(out[at], sources[at], weights)

    benchmark.pedantic(run, rounds=50, warmup_rounds=buffers)
    benchmark.extra_info["GB/s"] = bytes_moved / benchmark.stats["median"] / 1e9
    if implementation != "copy":
        truth = torch.empty_like(out[0])
        assert implementation.weighted_sum_(out[0], sources[0], weights) == 0
        reference.weighted_sum_(truth, sources[0], weights)
        assert torch.equal(out[0], truth)
