"""What the hook delivers, and what workers and servers still hold, are the gradients: in all kinds of models."""

from contextlib import ExitStack
from copy import deepcopy

import pytest
import torch
import torch.distributed as dist
from gradients.workers import SMALL, batch, run, toy
from torch import Tensor, nn

from fmcompress.gradients import CocktailConfig, CocktailState, cocktail_hook

STEPS = 4


class Tied(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(37, 37, bias=False), nn.Linear(37, 3)
        self.again = nn.Linear(37, 37)
        self.again.weight = self.first.weight

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.again(self.first(x).tanh()).tanh())


class Mixed(nn.Module):
    """Layers of three types."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = toy()
        self.layers[0].bfloat16()
        self.layers[2].half()

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x.to(layer.weight.dtype) if isinstance(layer, nn.Linear) else x)
        return x


class Partly(nn.Module):
    """Half of it is used by some workers only, and a layer by none."""

    def __init__(self) -> None:
        super().__init__()
        self.always, self.seldom, self.never = toy(1), toy(2), nn.Linear(37, 37)

    def forward(self, x: Tensor, seldom: bool) -> Tensor:
        return self.always(x) + self.seldom(x) if seldom else self.always(x)


def frozen() -> nn.Module:
    model = toy()
    model[0].weight.requires_grad_(False)
    return model


def error(model: nn.Module, rank: int, step: int) -> Tensor:
    x, y = batch(rank, step)
    of = model.module if isinstance(model, nn.parallel.DistributedDataParallel) else model
    dtype = torch.float32 if isinstance(of, Mixed) else next(model.parameters()).dtype
    options = ((step + rank) % 2 == 0,) if isinstance(of, Partly) else ()
    return (model(x.to(dtype), *options).float() - y).square().mean()


def far(state: CocktailState, delivered: dict[str, Tensor], raw: dict[str, Tensor]) -> float:
    """Delivered and residuals from gradients, relative to the largest of a tensor, at most."""
    count, most = dist.get_world_size(), 0.0
    for name, held in sorted(state.state_dict()["parameters"].items()):
        servers = [None] * count
        dist.all_gather_object(servers, held["server"].float())
        mean, kept = raw[name].flatten() / count, held["residual"].float() / count
        dist.all_reduce(mean)
        dist.all_reduce(kept)
        total = delivered[name].flatten() + kept + torch.cat(servers)
        most = max(most, ((total - mean).abs().max() / mean.abs().max().clamp(min=1e-30)).item())
    return most


def balance(
    rank: int, model: nn.Module, config: CocktailConfig, passes: int, broken: dict[int, str], **ddp_options
) -> tuple[float, int, list[list[str]]]:
    """far() after some steps, the tensors compared, and the tensors that came as NaN in each step.

    passes  backward passes of a step, all but the last under no_sync()
    broken  {step: name of the parameter whose gradient has an infinity on the last rank}
    """
    alone, ddp = deepcopy(model), nn.parallel.DistributedDataParallel(model, bucket_cap_mb=0.01, **ddp_options)
    state = CocktailState(model.named_parameters(), config, start_iteration=0, min_numel=100)
    ddp.register_comm_hook(state, cocktail_hook)
    raw = {name: torch.zeros(parameter.shape) for name, parameter in model.named_parameters()}
    delivered = {name: zeros.clone() for name, zeros in raw.items()}
    trained = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    now: dict[str, float] = {}
    for name, parameter in trained.items():
        parameter.register_hook(lambda gradient, name=name: gradient * now.get(name, 1.0))
    lost = []
    for step in range(STEPS):
        now.update({name: torch.inf if name == broken.get(step) and rank == 1 else 1.0 for name in trained})
        ddp.zero_grad()
        alone.zero_grad()
        for i in range(passes):
            with ExitStack() as stack:
                if i + 1 < passes:
                    stack.enter_context(ddp.no_sync())
                error(ddp, rank, passes * step + i).backward()
            error(alone, rank, passes * step + i).backward()
        lost.append([name for name, p in trained.items() if p.grad is not None and not p.grad.isfinite().all()])
        for name, parameter in alone.named_parameters():
            if parameter.grad is not None and name not in lost[-1]:
                raw[name] += parameter.grad.float()
            if not lost[-1] and trained.get(name) is not None and trained[name].grad is not None:
                delivered[name] += trained[name].grad.float()
    result = far(state, delivered, raw)
    compared = len(state.state_dict()["parameters"])
    state.close()
    return result, compared, lost


EXACTLY, HALF = 1e-6, 0.01  # rounding of sums of float32, and of numbers of 8 bits
KINDS = {  # kind: (model, options of the configuration, passes, options of DDP, tensors that are compressed, tolerance)
    "plain": (toy, {}, 1, {}, 3, EXACTLY),
    "bucket views": (toy, {}, 1, {"gradient_as_bucket_view": True}, 3, EXACTLY),
    "accumulated": (toy, {}, 3, {}, 3, EXACTLY),
    "tied": (Tied, {}, 1, {}, 2, EXACTLY),
    "frozen": (frozen, {}, 1, {}, 2, EXACTLY),
    "unused": (Partly, {}, 1, {"find_unused_parameters": True}, 7, EXACTLY),
    "bfloat16": (lambda: toy().bfloat16(), {}, 1, {}, 3, HALF),
    "float16": (lambda: toy().half(), {}, 1, {}, 3, HALF),
    "mixed": (Mixed, {}, 1, {}, 3, HALF),
    "bfloat16 residuals": (toy, {"residual_dtype": torch.bfloat16}, 1, {}, 3, HALF),
}


def kinds(rank: int, count: int) -> dict:
    told = {}
    for kind, (make, options, passes, ddp_options, _, _) in KINDS.items():
        torch.manual_seed(0)
        told[kind] = balance(rank, make(), CocktailConfig(**SMALL, **options), passes, {}, **ddp_options)
    return told


@pytest.fixture(scope="module")
def told(tmp_path_factory):
    return run(kinds, 2, tmp_path_factory.mktemp("kinds") / "run")


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_delivered_and_what_is_kept_are_the_gradients(told, kind):
    *_, tensors, tolerance = KINDS[kind]
    for result, compared, lost in (ranks[kind] for ranks in told):
        assert result <= tolerance
        assert compared == tensors
        assert not any(lost)


def overflows(rank: int, count: int, dtype: torch.dtype) -> tuple:
    """In the first bucket, in the last one, and in a small tensor."""
    broken = {1: "4.weight", 2: "0.weight", 3: "2.bias"}
    return balance(rank, toy(), CocktailConfig(**SMALL, residual_dtype=dtype), 1, broken)


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, EXACTLY), (torch.bfloat16, HALF)])
def test_an_overflow_in_one_bucket_loses_nothing_of_the_others(tmp_path, dtype, tolerance):
    for result, compared, lost in run(overflows, 2, tmp_path / "run", dtype):
        assert result <= tolerance
        assert compared == 3
        assert not lost[0]
        for names, name in zip(lost[1:], ("4.weight", "0.weight", "2.bias"), strict=True):
            assert name in names
            assert len(names) < 5  # of 6: other buckets were delivered, and their servers have them again
