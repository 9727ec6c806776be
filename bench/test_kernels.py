"""Microbenchmarks of the kernels floor: each case checks its result once after it was timed."""

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
