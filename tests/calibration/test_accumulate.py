"""Half floats on a GPU go into a float32 Hessian as they are: emulated on the CPU, as fake tensors, and on a GPU."""

import math

import pytest
import torch
from fake_gpu import fake_gpu
from torch import Tensor, nn

from fmcompress.calibration import HessianCollector, Place, accumulate, accumulate_hessian_, finish_groups, symmetrise_
from fmcompress.calibration.accumulate import CHUNK_TOKENS, GPU_TILE_COLS, HALVES

without = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
halves = pytest.mark.parametrize("dtype", HALVES)


class OnGpu(Tensor):
    """A CPU tensor that takes itself for one of a GPU."""

    is_cuda = True  # type: ignore[assignment]


def emulated(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """What add_half_product_ promises, by float32 products of the halves, which are exact."""
    assert left.dtype == right.dtype
    assert left.dtype in HALVES
    assert total.dtype == torch.float32
    return total.add_(left.as_subclass(Tensor).float() @ right.as_subclass(Tensor).float())


def assert_near(hessian: Tensor, inputs: Tensor, tolerance: float) -> None:
    """Entry i, j within `tolerance` times sqrt(h_ii h_jj), which bounds it."""
    wide = inputs.double()
    expected = wide.T @ wide
    scale = expected.diagonal().sqrt()
    assert float(((hessian.double() - expected).abs() / (scale[:, None] * scale)).max()) < tolerance


@halves
@pytest.mark.parametrize("cols", [1, 123, GPU_TILE_COLS + 77])
def test_halves_are_summed_in_float32(cols: int, dtype: torch.dtype, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(accumulate, "add_half_product_", emulated)
    monkeypatch.setattr(accumulate, "CHUNK_TOKENS", 32)
    generator = torch.Generator().manual_seed(cols)
    parts = [torch.randn(tokens, cols, generator=generator).to(dtype) for tokens in (77, 1, 32)]
    hessian = torch.zeros(cols, cols)
    for part in parts:
        assert accumulate_hessian_(hessian, part.as_subclass(OnGpu)) is hessian
    assert_near(symmetrise_(hessian), torch.cat(parts), 1e-6)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_only_halves_on_a_gpu_go_another_way(device: str, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[torch.Size, ...]] = []
    monkeypatch.setattr(accumulate, "add_half_product_", lambda *given: calls.append(tuple(t.shape for t in given)))
    cols, tokens = GPU_TILE_COLS + 8, CHUNK_TOKENS + 3
    with fake_gpu():
        inputs = torch.empty(tokens, cols, dtype=torch.bfloat16, device=device)
        accumulate_hessian_(torch.empty(cols, cols, device=device), inputs)
        before = len(calls)
        accumulate_hessian_(torch.empty(cols, cols, device=device), inputs.float())
        accumulate_hessian_(torch.empty(cols, cols, device=device, dtype=torch.float64), inputs)
    assert len(calls) == before  # of other dtypes none
    rows = [(GPU_TILE_COLS, cols), (8, 8)]
    expected = [((m, n), (m, some), (some, n)) for some in (CHUNK_TOKENS, 3) for m, n in rows]
    assert calls == (expected if device == "cuda" else [])


def fake_product(total: Tensor, left: Tensor, right: Tensor) -> Tensor:
    """add_half_product_, by the form of it whose shapes every torch knows without a GPU."""
    return total.add_(torch.mm(left, right, out_dtype=torch.float32))


@pytest.mark.parametrize("padded", [False, True])
def test_collecting_waits_for_nothing_before_the_end(padded: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fake tensors have no numbers: reading one, as a wait for a GPU does, raises."""
    monkeypatch.setattr(accumulate, "add_half_product_", fake_product)
    monkeypatch.setattr(Tensor, "data_ptr", lambda tensor: id(tensor))
    real = torch.ones(2, 16, dtype=torch.bool)  # a tensor of the CPU, whose numbers can be read
    real[1, 10:] = False
    kept = real.flatten().nonzero().squeeze(1)
    with fake_gpu(), torch.no_grad():
        block = nn.Sequential(nn.Linear(64, 96, device="meta"), nn.Linear(96, 32, bias=False, device="meta"))
        for layer in block:
            for key, parameter in layer.named_parameters():
                there = torch.empty(parameter.shape, dtype=torch.bfloat16, device="cuda")
                setattr(layer, key, nn.Parameter(there, requires_grad=False))
        collector = HessianCollector({str(at): Place(layer) for at, layer in enumerate(block)})
        for _ in range(3):
            collector.next_batch(real if padded else None)
            collector._kept = kept if padded else None  # fake tensors cannot tell how many there are
            block(torch.empty(2, 16, 64, dtype=torch.bfloat16, device="cuda"))
        groups = {id(group): group for group in collector._group_of.values()}.values()
        assert [group.tokens for group in groups] == [3 * (26 if padded else 32)] * 2
        assert [tuple(group.hessian.shape) for group in groups] == [(64, 64), (96, 96)]
        assert all(group.hessian.device.type == "cuda" and group.hessian.dtype == torch.float32 for group in groups)
        assert [energy.dtype for energy in collector._energy.values()] == [torch.float64] * 2
        with pytest.raises(Exception, match="_local_scalar_dense"):
            list(collector.groups())  # here the numbers are wanted


@pytest.mark.cuda
@without
@halves
@pytest.mark.parametrize(("tokens", "cols"), [(1, 8), (333, 123), (4099, 1000), (CHUNK_TOKENS + 5, GPU_TILE_COLS + 77)])
def test_halves_on_a_gpu(tokens: int, cols: int, dtype: torch.dtype) -> None:
    generator = torch.Generator("cuda").manual_seed(tokens)
    inputs = (torch.randn(tokens, cols, generator=generator, device="cuda") + 0.5).to(dtype)
    hessian = torch.zeros(cols, cols, device="cuda")
    for part in (inputs[: tokens // 3], inputs[tokens // 3 :]):
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        assert accumulate_hessian_(hessian, part) is hessian
        grown = torch.cuda.max_memory_allocated() - before
        assert grown < max(1 << 26, 2 * min(len(part), CHUNK_TOKENS) * cols)  # no float32 copy; cuBLAS has a workspace
    # tensor cores truncate the sum each time that they add the products of 16 tokens
    steps = math.ceil(min(tokens, CHUNK_TOKENS) / 16) + math.ceil(tokens / CHUNK_TOKENS)
    assert_near(symmetrise_(hessian), inputs, 1e-6 + steps * 2**-23)


@pytest.mark.cuda
@without
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_collected_on_a_gpu(dtype: torch.dtype) -> None:
    generator = torch.Generator("cuda").manual_seed(3)
    block = nn.Sequential(nn.Linear(100, 60), nn.Linear(60, 40, bias=False)).to("cuda", dtype)
    parts = [torch.randn(3, 41, 100, generator=generator, device="cuda").to(dtype) for _ in range(2)]
    collector = HessianCollector({str(at): Place(layer) for at, layer in enumerate(block)})
    with torch.no_grad():
        for part in parts:
            collector.next_batch(None)
            block(part)
    collector.detach()
    groups = list(collector.groups())
    for group in groups:
        group.hessian = symmetrise_(group.hessian)
    assert_near(groups[0].hessian, torch.cat(parts).reshape(-1, 100), 1e-5)
    finish_groups(groups, "block")
    weight = block[0].weight.double()
    expected = float(((weight @ groups[0].hessian.double()) * weight).sum())
    assert groups[0].energy["0"] == pytest.approx(expected, rel=1e-5 if dtype == torch.float32 else 1e-2)
