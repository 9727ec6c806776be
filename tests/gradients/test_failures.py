"""What goes wrong in distributed training: numbers that are none, changes of scale, workers that die."""

import os
import signal
import time
from collections.abc import Callable

import pytest
import torch
from gradients.workers import SMALL, _enter, flat, loss_of, run, start, toy
from torch import nn

from fmcompress.errors import CommunicationError, ConfigError, FmcompressError
from fmcompress.gradients import CocktailConfig, CocktailSGD, CocktailState, cocktail_hook
from fmcompress.gradients.collectives import Workers

OPTIONS = {"start_iteration": 0, "min_numel": 100}


def residuals(state: CocktailState) -> torch.Tensor:
    held = state.state_dict()["parameters"]
    return torch.cat([values for name in sorted(held) for values in held[name].values()])


def overflow(rank: int, count: int, min_numel: int) -> dict:
    """One worker's loss overflows in step 3, where the other's gradients are huge; a loss scale that halves after it."""
    model, scale = toy(), [1024.0]
    ddp = nn.parallel.DistributedDataParallel(model)  # one bucket
    options = {**OPTIONS, "min_numel": min_numel, "loss_scale": lambda: scale[0]}
    state = CocktailState(model.named_parameters(), CocktailConfig(**SMALL), **options)
    ddp.register_comm_hook(state, cocktail_hook)
    seen = []
    for step in range(6):
        ddp.zero_grad()
        before = residuals(state) if step else None
        loss = loss_of(ddp, rank, step) * scale[0]
        (loss * (torch.inf if rank == 1 else 1e25) if step == 3 else loss).backward()
        finite = all(parameter.grad.isfinite().all() for parameter in model.parameters())
        if not finite:
            seen.append((step, torch.equal(residuals(state), before), before.any().item()))
            scale[0] /= 2
    return {"seen": seen, "last": torch.cat([p.grad.reshape(-1) for p in model.parameters()]) / scale[0]}


def scaled(rank: int, count: int, factor: float) -> torch.Tensor:
    """Gradients of step 5 without the scale, after steps with it."""
    model = toy()
    ddp = nn.parallel.DistributedDataParallel(model)
    state = CocktailState(model.named_parameters(), CocktailConfig(**SMALL), loss_scale=lambda: factor, **OPTIONS)
    ddp.register_comm_hook(state, cocktail_hook)
    for step in range(6):
        ddp.zero_grad()
        (loss_of(ddp, rank, step) * factor).backward()
    return torch.cat([parameter.grad.reshape(-1) for parameter in model.parameters()]) / factor


@pytest.mark.parametrize("min_numel", [100, 1])  # the flag travels with small tensors, or by itself
def test_an_overflow_reaches_all_and_leaves_the_residuals(tmp_path, min_numel):
    results = run(overflow, 2, tmp_path / "run", min_numel)
    for result in results:
        assert result["seen"] == [(3, True, True)]
    assert torch.equal(results[0]["last"], results[1]["last"])


def test_a_loss_scale_changes_nothing(tmp_path):
    plain = run(scaled, 2, tmp_path / "plain", 1.0)
    other = run(scaled, 2, tmp_path / "other", 4096.0)
    assert torch.equal(plain[0], other[1])  # of powers of two


def diverge(rank: int, count: int, delay: int) -> tuple[int, str]:
    model, config = toy(), CocktailConfig(block=128, random_fraction=0.05)
    sgd = CocktailSGD(model, torch.optim.SGD(model.parameters(), lr=0.1), config, delay=delay, start_iteration=0)
    for calls in range(1, 4):
        loss_of(model, rank, calls).backward()
        if rank == 1 and calls == 1:
            model[0].weight.grad[0, 0] = torch.nan  # in a block that is not sampled
        try:
            sgd.step()
        except FmcompressError as error:
            return calls, str(error)
    return 0, "nothing"


@pytest.mark.parametrize("delay", [0, 1])
def test_a_diverged_model_is_said_by_all(tmp_path, delay):
    for calls, message in run(diverge, 2, tmp_path / "run", delay):
        assert calls == 1 + delay
        assert "an infinity or NaN on some worker after step 0" in message


def exchanging(how: str, model: nn.Module, timeout_s: float, delay: int = 0) -> tuple[nn.Module, Callable[[], None]]:
    """What to call instead of the model, and what to do after backward()."""
    if how == "ddp":
        ddp = nn.parallel.DistributedDataParallel(model, bucket_cap_mb=0.01)
        ddp.register_comm_hook(CocktailState(model.named_parameters(), timeout_s=timeout_s, **OPTIONS), cocktail_hook)
        return ddp, lambda: None
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    options = {"timeout_s": timeout_s, "start_iteration": 0, "delay": delay}
    return model, CocktailSGD(model, optimizer, CocktailConfig(**SMALL), **options).step


def die(rank: int, count: int, how: str) -> str:
    called, finish = exchanging(how, toy(), 5.0, delay=1)
    try:
        for step in range(10):
            if step == 3 and rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            loss_of(called, rank, step).backward()
            finish()
    except (CommunicationError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


def _survive(rank: int, count: int, folder: str, how: str) -> None:
    """As a worker, but without the barrier that nobody could pass any more."""
    try:
        _enter(rank, die, count, folder, (how,))
    except RuntimeError:
        if not os.path.exists(f"{folder}/{rank}.pt"):
            raise


@pytest.mark.parametrize("how", ["ddp", "sgd"])
def test_a_worker_that_dies_is_noticed_and_nobody_hangs(tmp_path, how):
    begin = time.monotonic()
    context = start(_survive, (2, str(tmp_path), how), 2)
    while time.monotonic() - begin < 60 and not (tmp_path / "0.pt").exists():
        time.sleep(0.1)
    message = torch.load(tmp_path / "0.pt")
    for process in context.processes:
        process.kill()
    assert "Another one has stopped or cannot be reached" in message, message
    assert "failed on rank 0" in message


def stumble(rank: int, count: int, how: str) -> str:
    """The last rank's own code raises in the middle of a step; its process lives on."""
    model = toy()
    called, finish = exchanging(how, model, 2.0)

    def stumbles(gradient: torch.Tensor) -> None:
        if rank == 1 and step == 3:
            raise ValueError("a user's own")

    model[2].weight.register_hook(stumbles)  # when one bucket is on its way
    try:
        for step in range(5):
            loss_of(called, rank, step).backward()
            finish()
    except (ValueError, RuntimeError) as error:
        return f"{type(error).__name__}: {error}"
    return "nothing"


@pytest.mark.parametrize("how", ["ddp", "sgd"])
def test_a_worker_that_raises_is_noticed_and_nobody_hangs(tmp_path, how):
    others, own = run(stumble, 2, tmp_path / "run", how)
    assert own == "ValueError: a user's own"
    assert "Another one has stopped or cannot be reached" in others
    assert "failed on rank 0" in others


def test_without_a_process_group():
    with pytest.raises(CommunicationError, match="is not initialized"):
        Workers()


def refuse(rank: int, count: int) -> list[str]:
    model = toy()
    sgd = CocktailSGD(model, torch.optim.SGD(model.parameters(), lr=0.1))
    state = CocktailState(model.named_parameters())
    said = []
    for held, change in ((sgd, {"workers": 7}), (state, {"rank": 5})):
        try:
            held.load_state_dict({**held.state_dict(), **change})
        except ConfigError as error:
            said.append(str(error))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    attempts = [
        lambda: CocktailSGD(model, optimizer, delay=2),
        lambda: CocktailSGD(model, optimizer, delay=1).load_state_dict(sgd.state_dict()),
        lambda: CocktailSGD(toy().bfloat16(), optimizer),
        lambda: state.load_state_dict({**state.state_dict(), "parameters": {"8.weight": {}, "0.weight": {}, "7": {}}}),
        lambda: CocktailState(toy().double().named_parameters()),
        lambda: CocktailState([("phase", nn.Parameter(torch.zeros(3, dtype=torch.complex64)))]),
        lambda: CocktailState([("frozen", nn.Parameter(torch.zeros(3, dtype=torch.int8), requires_grad=False))]),
        lambda: [model.double().float(), sgd.step()],
        lambda: state.load_state_dict({**state.state_dict(), "parameters": {"0.weight": {"residual": torch.zeros(7)}}}),
    ]
    for attempt in attempts:
        try:
            attempt()
        except ConfigError as error:
            said.append(str(error))
    return [*said, str(len(flat(model)))]


def test_states_of_others_are_refused(tmp_path):
    (said,) = run(refuse, 1, tmp_path / "run")
    assert said[0].startswith("workers: expected a state saved with workers 1, got 7")
    assert said[1].startswith("rank: expected a state saved with rank 0, got 5")
    assert said[2].startswith("delay: expected 0 or 1, got 2")
    assert said[3].startswith("delay: expected 1, got a state of 0")
    assert said[4].startswith("model: expected float32 parameters, got torch.bfloat16")
    assert said[5] == "parameters: the saved state has 7, 8.weight, which the model lacks. Load its own."
    assert said[6].startswith("0.weight: expected float32, bfloat16 or float16, got torch.float64")
    assert said[7].startswith("phase: expected float32, bfloat16 or float16, got torch.complex64")
    assert said[8].startswith("model: was moved or converted")
    assert said[9] == "0.weight: expected a residual of 2368 elements, got 7 of another model."


def at_another_step(rank: int, count: int) -> str:
    model = toy()
    sgd = CocktailSGD(model, torch.optim.SGD(model.parameters(), lr=0.1), CocktailConfig(**SMALL), start_iteration=0)
    sgd.iteration += rank
    loss_of(model, rank, 0).backward()
    try:
        sgd.step()
    except CommunicationError as error:
        return str(error)
    return "nothing"


def test_workers_at_different_steps_are_told(tmp_path):
    for message in run(at_another_step, 2, tmp_path / "run"):
        assert message.startswith("workers: differ in step")
