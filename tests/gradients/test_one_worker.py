"""The DDP hook with one worker, on each device: there it needs no network, yet all of compression runs."""

import pytest
import torch
import torch.distributed as dist
from gradients.workers import SMALL, batch, flat, toy
from op_support import on_devices
from torch import nn

from fmcompress.gradients import CocktailConfig, CocktailState, cocktail_hook

STEPS = 8


@pytest.fixture
def alone(tmp_path, device, monkeypatch):
    """A process group of this process only."""
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=f"file://{tmp_path}/store", rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def train(device: str, dtype: torch.dtype = torch.float32, **options) -> dict:
    model = toy().to(device, dtype)
    ddp = nn.parallel.DistributedDataParallel(model, bucket_cap_mb=0.01)
    config = CocktailConfig(**{**SMALL, **options})
    state = CocktailState(model.named_parameters(), config, start_iteration=2, min_numel=100)
    ddp.register_comm_hook(state, cocktail_hook)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.05, momentum=0.5)
    losses = []
    for step in range(STEPS):
        x, y = (part.to(device, dtype) for part in batch(0, step))
        optimizer.zero_grad()
        loss = (ddp(x) - y).square().mean()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    held = state.state_dict()["parameters"]
    state.close()
    return {"losses": losses, "flat": flat(model).cpu(), "held": held, "device": next(model.parameters()).device.type}


@on_devices
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_training_with_one_worker(alone, device, dtype):
    first, second = (train(device, dtype) for _ in range(2))
    assert first["device"] == device
    assert torch.equal(first["flat"], second["flat"])
    assert first["losses"] == second["losses"]
    assert first["held"]
    for name, held in first["held"].items():
        assert held["residual"].any(), name  # something was left for later
        assert held["residual"].device.type == device
    dense = train(device, dtype, random_fraction=1.0, topk_fraction=1.0, bits=32)
    assert not torch.equal(first["flat"], dense["flat"])
    assert not any(held["residual"].any() for held in dense["held"].values())


@on_devices
def test_it_is_the_training_of_the_cpu(alone, device, tmp_path):
    """Gradients of a GPU round otherwise, so that an element may miss the selection: near, not equal."""
    there = train(device)
    if device == "cuda":
        dist.destroy_process_group()
        dist.init_process_group("gloo", init_method=f"file://{tmp_path}/another", rank=0, world_size=1)
    here = train("cpu")
    torch.testing.assert_close(torch.tensor(there["losses"]), torch.tensor(here["losses"]), rtol=0.05, atol=1e-3)
    close = torch.isclose(there["flat"], here["flat"], rtol=1e-3, atol=1e-4)
    assert close.double().mean() > 0.9
