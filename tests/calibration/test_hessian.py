"""Hessians against X^T X computed directly."""

from pathlib import Path

import pytest
import torch
from helpers import linears, make_checkpoint, streamed
from torch import Tensor, nn

from fmcompress.calibration import (
    HessianCollector,
    Place,
    StreamedModel,
    accumulate_hessian_,
    finish_groups,
    symmetrise_,
)
from fmcompress.calibration.accumulate import TILE_COLS
from fmcompress.calibration.hessian import Group
from fmcompress.errors import CalibrationError

IDS = (torch.arange(3 * 20) * 37 % 2000).view(3, 20)
GROUPS = [{"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"}, {"self_attn.o_proj"}]
GROUPS += [{"mlp.gate_proj", "mlp.up_proj"}, {"mlp.down_proj"}]


def places(layers: dict[str, nn.Linear]) -> dict[str, Place]:
    return {name: Place(layer) for name, layer in layers.items()}


@pytest.mark.parametrize("cols", [1, 5, 123, TILE_COLS, TILE_COLS + 1, 2 * TILE_COLS + 77])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_accumulated_hessian_is_the_product(cols: int, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(cols)
    parts = [torch.randn(tokens, cols, generator=generator, dtype=dtype) for tokens in (7, 1, 40)]
    hessian = torch.zeros(cols, cols, dtype=dtype)
    for part in parts:
        assert accumulate_hessian_(hessian, part) is hessian
    assert symmetrise_(hessian) is hessian
    inputs = torch.cat(parts).double()
    tolerance = 1e-10 if dtype == torch.float64 else 1e-4
    torch.testing.assert_close(hessian.double(), inputs.T @ inputs, rtol=tolerance, atol=tolerance)
    assert hessian.equal(hessian.T)


def test_low_precision_inputs_are_summed_in_float32() -> None:
    inputs = torch.randn(300, 9, generator=torch.Generator().manual_seed(0)).bfloat16()
    hessian = symmetrise_(accumulate_hessian_(torch.zeros(9, 9), inputs))
    torch.testing.assert_close(hessian.double(), inputs.double().T @ inputs.double(), rtol=1e-5, atol=1e-4)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> StreamedModel:
    folder: Path = make_checkpoint(tmp_path_factory.mktemp("hessian") / "model", attention_bias=True)
    return streamed(folder)


def collect(
    model: StreamedModel, mask: Tensor | None, batches: int = 1
) -> tuple[list[Group], dict[str, Tensor], dict[str, Tensor]]:
    """Groups of the first block, and by layer the inputs that really entered and the weights."""
    seen: dict[str, list[Tensor]] = {}
    parts = IDS.split(-(-len(IDS) // batches))
    masks = [None] * len(parts) if mask is None else mask.split(-(-len(IDS) // batches))
    with torch.no_grad(), model.loaded(0) as block:
        layers = linears(block)
        if layers["self_attn.q_proj"].bias is not None:  # zeros in a fresh model
            layers["self_attn.q_proj"].bias.fill_(0.3)
        weights = {name: layer.weight.double().clone() for name, layer in layers.items()}
        collector = HessianCollector(places(layers))
        handles = [
            layer.register_forward_hook(lambda _, args, __, name=name: seen.setdefault(name, []).append(args[0]))
            for name, layer in layers.items()
        ]
        for part, part_mask in zip(parts, masks, strict=True):
            batch = model.embed(part, part_mask)
            collector.next_batch(batch.real)
            model.run_block(0, block, batch)
        collector.detach()
        for handle in handles:
            handle.remove()
    inputs = {name: torch.cat(tensors).double() for name, tensors in seen.items()}
    return list(collector.groups()), inputs, weights


@pytest.mark.parametrize("batches", [1, 3])
def test_hessian_energy_and_groups_of_a_block(model: StreamedModel, batches: int) -> None:
    groups, inputs, weights = collect(model, None, batches)
    assert [set(group.layers) for group in groups] == GROUPS
    for group in groups:
        finish_groups([group], "block")
        assert group.tokens == IDS.numel()
        for name in group.layers:
            rows = inputs[name].reshape(-1, inputs[name].shape[-1])
            want = rows.T @ rows / len(rows)
            torch.testing.assert_close(group.hessian.double(), want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))
            energy = float(((weights[name] @ want) * weights[name]).sum())
            assert group.energy[name] == pytest.approx(energy, rel=1e-4)  # without the bias


def test_padding_does_not_enter(model: StreamedModel) -> None:
    mask = torch.ones_like(IDS)
    mask[0, 12:] = 0
    mask[2, 5:] = 0
    groups, inputs, weights = collect(model, mask, batches=3)
    for group in groups:
        finish_groups([group], "block")
        assert group.tokens == int(mask.sum())
        for name in group.layers:
            rows = inputs[name][mask.bool()]
            want = rows.T @ rows / len(rows)
            torch.testing.assert_close(group.hessian.double(), want, rtol=1e-4, atol=1e-4 * float(want.abs().max()))
            assert group.energy[name] == pytest.approx(float(((weights[name] @ want) * weights[name]).sum()), rel=1e-4)


def test_equal_inputs_at_another_address_are_another_group() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.a, self.b, self.c = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)

        def forward(self, x: Tensor) -> Tensor:
            first = self.a(x)
            x = x.clone()
            second = self.b(x)
            x.mul_(2)  # the same address with other values
            return torch.as_tensor(first + second + self.c(x))

    module, x = Two(), torch.randn(1, 6, 4)
    collector = HessianCollector(places(linears(module)))
    with torch.no_grad():
        collector.next_batch(None)
        module(x)
    groups = list(collector.groups())
    collector.detach()
    assert [group.layers for group in groups] == [["a"], ["b"], ["c"]]
    for group in groups:
        finish_groups([group], "block")
    torch.testing.assert_close(groups[2].hessian, 4 * groups[1].hessian)


def test_detached_collector_sees_nothing() -> None:
    layer = nn.Linear(3, 2)
    collector = HessianCollector(places({"a": layer}))
    collector.detach()
    layer(torch.randn(5, 3))
    assert list(collector.groups()) == []


@pytest.mark.parametrize("bad", [torch.inf, torch.nan])
def test_not_finite(bad: float) -> None:
    layer = nn.Linear(3, 2, bias=False)
    collector = HessianCollector(places({"a": layer}))
    with torch.no_grad():
        layer(torch.tensor([[1.0, bad, 2.0]]))
    (group,) = collector.groups()
    with pytest.raises(CalibrationError, match=r"model\.layers\.0\.a: its input holds inf or NaN"):
        finish_groups([group], "model.layers.0")
