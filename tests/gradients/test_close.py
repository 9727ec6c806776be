"""close(): threads and process groups go, and what is used afterwards says so; and CocktailAllReduce by itself."""

import threading
from typing import Any

import torch
import torch.distributed as dist
from gradients.workers import SMALL, loss_of, run, toy
from torch import nn

from fmcompress.gradients import CocktailAllReduce, CocktailConfig, CocktailSGD, CocktailState, cocktail_hook


def said(attempt) -> str:
    try:
        attempt()
    except RuntimeError as error:  # a CommunicationError, too; from the hook, DDP may raise what it likes
        return str(error)
    return "nothing"


def equal(one: Any, other: Any) -> bool:
    """States, to the last element."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(equal(one[key], other[key]) for key in one)
    return torch.equal(one, other) if isinstance(one, torch.Tensor) else one == other


def close(rank: int, count: int) -> dict:
    groups = dist.distributed_c10d._world.pg_map
    model, own, config = toy(), toy(), CocktailConfig(**SMALL)
    ddp = nn.parallel.DistributedDataParallel(model)
    before = len(groups)
    state = CocktailState(model.named_parameters(), config, start_iteration=0, min_numel=100)
    ddp.register_comm_hook(state, cocktail_hook)
    sgd = CocktailSGD(own, torch.optim.SGD(own.parameters(), lr=0.1), config, start_iteration=0, delay=1)
    reduce = CocktailAllReduce(config)
    other = CocktailAllReduce(config, stream=1, workers=reduce.workers)
    for step in range(2):
        loss_of(ddp, rank, step).backward()
        loss_of(own, rank, step).backward()
        sgd.step()
        reduce(torch.randn(1000))
    other.close()
    other(torch.randn(1000))  # its process group is the first one's
    states = [held.state_dict() for held in (state, sgd, reduce)]
    for held in (state, sgd, reduce, state, sgd, reduce):
        held.close()
    return {
        "said": [said(loss_of(ddp, rank, 2).backward), said(sgd.step), said(sgd.average_), said(lambda: reduce(torch.ones(1000)))],
        "left": len(groups) - before,
        "threads": [thread.name for thread in threading.enumerate() if "fmcompress" in thread.name],
        "same": [equal(held.state_dict(), first) for held, first in zip((state, sgd, reduce), states, strict=True)],
    }  # fmt: skip


def test_close(tmp_path):
    for result in run(close, 2, tmp_path / "run"):
        assert all("close() was called" in text for text in result["said"]), result["said"]
        assert result["left"] == 0
        assert result["threads"] == []
        assert all(result["same"])


def close_late(rank: int, count: int) -> list[str]:
    """After the trainer has destroyed all groups, and without a step."""
    state, sgd = (
        CocktailState(toy().named_parameters()),
        CocktailSGD(model := toy(), torch.optim.SGD(model.parameters())),
    )
    state.close()
    told = said(lambda: state.workers)
    dist.destroy_process_group()
    sgd.close()
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)  # of which _enter takes leave
    return [told]


def test_close_without_a_step_and_after_the_trainer_has_closed_all(tmp_path):
    assert run(close_late, 1, tmp_path / "run") == [["CocktailState: close() was called. Make a new one."]]


def reduced(rank: int, count: int) -> list:
    reduce, seen = CocktailAllReduce(CocktailConfig(**SMALL)), []
    for step, number in enumerate((1.0, torch.inf, 2.0**101, 2.0**99, 1.0)):
        tensor = torch.randn(1000, generator=torch.Generator().manual_seed(10 * step + rank))
        tensor[step] = number if rank else 1.0
        before = reduce.state_dict()
        reduce(tensor)
        kept = reduce.state_dict()
        same = step > 0 and all(torch.equal(before[key], kept[key]) for key in ("residual", "server"))
        seen.append((bool(tensor.isnan().all()), same, bool(tensor.isfinite().all())))
    return seen


def test_what_is_no_number_or_too_large_leaves_the_residuals(tmp_path):
    refused, averaged = (True, True, False), (False, False, True)
    for seen in run(reduced, 3, tmp_path / "run"):
        assert seen == [averaged, refused, refused, averaged, averaged]
