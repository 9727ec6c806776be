"""Workers in processes of their own, on gloo; what each returns comes back to the test."""

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import nn

from fmcompress.gradients import CocktailConfig, CocktailSGD, CocktailState, cocktail_hook

SMALL = {"block": 128, "random_fraction": 0.5, "topk_fraction": 0.25}  # a toy's tensors have several blocks


def _enter(rank: int, task: Any, count: int, folder: str, args: tuple) -> None:
    torch.set_num_threads(1)
    os.environ["GLOO_SOCKET_IFNAME"] = "lo"
    limit = timedelta(seconds=60)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=count, timeout=limit)
    torch.save(task(rank, count, *args), f"{folder}/{rank}.pt")
    dist.barrier()
    dist.destroy_process_group()


def start(task: Any, args: tuple, count: int) -> Any:
    """task(rank, *args) in processes; where the system can fork, from one that has imported torch once for all."""
    if "forkserver" not in mp.get_all_start_methods():
        return mp.start_processes(task, args, count, join=False, start_method="spawn")
    preload = ["torch._dynamo", "torch.distributed", "fmcompress.gradients"]  # DDP needs the first
    mp.set_forkserver_preload([*preload, "fmcompress.pipeline", "transformers.models.llama.modeling_llama"])
    return mp.start_processes(task, args, count, join=False, start_method="forkserver")


def run(task: Any, count: int, folder: Path, *args: Any) -> list[Any]:
    """What task(rank, count, *args) returns on each of `count` ranks."""
    folder.mkdir(parents=True)
    started = start(_enter, (task, count, str(folder), args), count)
    while not started.join():
        pass
    return [torch.load(folder / f"{rank}.pt") for rank in range(count)]


def toy(seed: int = 0) -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Sequential(nn.Linear(37, 64), nn.Tanh(), nn.Linear(64, 41), nn.Tanh(), nn.Linear(41, 3))


def batch(rank: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(1000 * step + rank)
    x = torch.randn(16, 37, generator=generator)
    return x, torch.stack((x[:, :3].sum(1), x[:, 3:7].prod(1), x[:, 0] * x[:, 1]), 1)


def loss_of(model: nn.Module, rank: int, step: int) -> torch.Tensor:
    x, y = batch(rank, step)
    return (model(x) - y).square().mean()


def flat(model: nn.Module) -> torch.Tensor:
    return torch.cat([parameter.detach().reshape(-1) for parameter in model.parameters()])


def train_ddp(
    rank: int, count: int, steps: int, options: dict, state_options: dict, saved: str | None = None, cap: float = 0.01
) -> dict:
    """Trains with the hook; goes on from the files of `saved`, or writes them there half way."""
    model, begin = toy(), 0
    ddp = nn.parallel.DistributedDataParallel(model, bucket_cap_mb=cap)
    state = CocktailState(model.named_parameters(), CocktailConfig(**{**SMALL, **options}), **state_options)
    optimizer = torch.optim.SGD(ddp.parameters(), lr=0.05, momentum=0.5)
    file = Path(f"{saved}.{rank}.pt") if saved else None
    if file is not None and file.exists():
        held = torch.load(file)
        model.load_state_dict(held["model"])
        optimizer.load_state_dict(held["optimizer"])
        state.load_state_dict(held["state"])
        begin = held["step"]
    ddp.register_comm_hook(state, cocktail_hook)
    losses = []
    for step in range(begin, steps):
        optimizer.zero_grad()
        loss = loss_of(ddp, rank, step)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
        if file is not None and begin == 0 and step + 1 == steps // 2:
            held = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "state": state.state_dict()}
            torch.save({**held, "step": step + 1}, file)
    return {"losses": losses, "flat": flat(model), "state": state.state_dict(), "bytes": state.bytes_sent}


def train_sgd(rank: int, count: int, steps: int, options: dict, sgd_options: dict, saved: str | None = None) -> dict:
    """Trains with CocktailSGD; goes on from the files of `saved`, or writes them there half way."""
    model, begin, same = toy(rank), 0, []
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    sgd = CocktailSGD(model, optimizer, CocktailConfig(**{**SMALL, **options}), **sgd_options)
    file = Path(f"{saved}.{rank}.pt") if saved else None
    if file is not None and file.exists():
        held = torch.load(file)
        optimizer.load_state_dict(held["optimizer"])
        sgd.load_state_dict(held["sgd"])
        begin = held["step"]
    losses = []
    for step in range(begin, steps):
        optimizer.zero_grad()
        loss = loss_of(model, rank, step)
        loss.backward()
        sgd.step()
        losses.append(loss.item())
        shared = [torch.empty_like(sgd.shared) for _ in range(count)]
        dist.all_gather(shared, sgd.shared)
        same.append(all(torch.equal(other, sgd.shared) for other in shared))
        if file is not None and begin == 0 and step + 1 == steps // 2:
            torch.save({"optimizer": optimizer.state_dict(), "sgd": sgd.state_dict(), "step": step + 1}, file)
    held = sgd.state_dict()
    sgd.average_()
    return {"losses": losses, "same": all(same), "state": held, "flat": flat(model), "bytes": sgd.bytes_sent}
