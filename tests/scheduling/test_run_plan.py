"""The example that runs a plan: the same as one process that trains the whole model, and as a program."""

import json
import os
import re
import subprocess
import sys
from functools import partial

import numpy as np
import pytest
import torch
from conftest import ROOT
from gradients.workers import run

from fmcompress.gradients import CocktailConfig
from fmcompress.scheduling import Network, Plan, Workload
from fmcompress.scheduling.plan import planned

sys.path.append(str(ROOT / "examples"))
import run_plan

STEPS, SGD = 4, partial(torch.optim.SGD, lr=0.1, momentum=0.9)
LOSSLESS = {"random_fraction": 1.0, "topk_fraction": 1.0, "bits": 32, "block": 128}


def plan(stages: int, replicas: int) -> Plan:
    """Ranks in no order, and one idle."""
    devices = stages * replicas + 1
    net = Network(np.full((devices, devices), 0.01), np.full((devices, devices), 1e9))
    work = Workload(stages, replicas, 1e6, 1e6, micro_batches=3, layers=3)
    stage_of = np.full(devices, -1)
    stage_of[np.random.default_rng(3).permutation(devices)[: work.tasklets]] = np.arange(work.tasklets) % stages
    return planned(net, work, stage_of, "paper")


def train(rank: int, count: int, made: Plan, steps: int, options: dict, warm_up: int, optimizer: object) -> dict:
    rank_of = {device: device for device in range(count)}
    config = CocktailConfig(**options)
    model, losses, sent = run_plan.train(made, rank_of, steps, config, warm_up, optimizer)
    state = None if model is None else torch.cat([p.detach().flatten() for p in model.parameters()])
    return {"state": state, "losses": losses, "sent": sent.tolist()}


def alone(made: Plan, steps: int) -> tuple[torch.nn.Sequential, list[float]]:
    """The whole model on all replicas' batches, in one process."""
    with torch.random.fork_rng():
        model = run_plan.part(range(3), 3)
    optimizer, losses, work = SGD(model.parameters()), [], made.workload
    sequences = max(work.micro_batches, work.stages) * run_plan.SEQUENCES
    for step in range(steps):
        pairs = [run_plan.batch(step, replica, sequences) for replica in range(work.replicas)]
        text, target = (torch.cat(part) for part in zip(*pairs, strict=True))
        loss = run_plan.loss_of(model(text), target)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return model, losses


@pytest.mark.parametrize("warm_up", [STEPS, 0], ids=["dense", "cocktail"])
@pytest.mark.parametrize(("stages", "replicas"), [(2, 2), (3, 1), (1, 3)])
def test_pipelines_train_what_one_process_does(tmp_path, stages, replicas, warm_up):
    made = plan(stages, replicas)
    ranks = run(train, len(made.names), tmp_path / "run", made, STEPS, LOSSLESS, warm_up, SGD)
    model, losses = alone(made, STEPS)
    begin = torch.cat([p.detach().flatten() for p in run_plan.part(range(3), 3).parameters()])
    whole = torch.cat([p.detach().flatten() for p in model.parameters()])
    for replica in range(replicas):
        parts = torch.cat([ranks[device]["state"] for device in made.mesh[:, replica]])
        rounding = 1e-4  # of float32 over the steps; CocktailSGD sends differences of models
        assert (parts - whole).norm() < rounding * (whole - begin).norm()
        torch.testing.assert_close(parts, whole, rtol=0, atol=1e-5)
        assert ranks[made.mesh[-1, replica]]["losses"] == pytest.approx(losses, rel=1e-5)
    assert ranks[made.idle[0]] == {"state": None, "losses": [], "sent": [0.0, 0.0, 0.0]}


def test_compressed_gradients_train_and_send_little(tmp_path):
    made = plan(2, 2)
    ranks = run(train, 5, tmp_path / "run", made, 40, {}, 5, partial(torch.optim.AdamW, lr=3e-3))
    losses = ranks[made.mesh[-1, 0]]["losses"]
    assert losses == ranks[made.mesh[-1, 1]]["losses"]
    assert losses[-1] < losses[5] - 0.5
    for device in made.mesh.flatten():
        total, dense, fp16 = ranks[device]["sent"]
        assert dense == pytest.approx(2 * fp16 * 5 / 40, rel=0.02)  # float32
        assert 0 < total - dense < fp16 * 35 / 40 / 50


def start(*options: str, ranks: int = 0) -> "subprocess.CompletedProcess[str]":
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(ranks)] if ranks else []
    command = [sys.executable, *torchrun, str(ROOT / "examples" / "run_plan.py"), *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "CUDA_VISIBLE_DEVICES": ""}
    environment["PYTHONPATH"] = str(ROOT)
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_example_trains_without_a_device():
    done = start("--steps", "30", "--without", "Oregon-1")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "without Oregon-1: 3 of the others keep their stage" in done.stdout
    assert sorted(re.findall(r"rank (\d)  (\S+) +stage (\d) of replica (\d)", done.stdout)) == [
        ("0", "Oregon-0", "0", "0"), ("1", "Ohio-0", "0", "1"), ("2", "Frankfurt-0", "1", "0"), ("3", "Frankfurt-1", "1", "1"),
    ]  # fmt: skip
    losses = [float(loss) for loss in re.findall(r"loss ([\d.]+)", done.stdout)]
    assert losses[-1] < losses[0] / 2
    assert int(re.findall(r"(\d+) times fewer than fp16", done.stdout)[0]) > 50


@pytest.mark.slow
def test_the_example_reads_a_plan_under_torchrun(tmp_path):
    (tmp_path / "plan.json").write_text(json.dumps(plan(2, 1).as_dict()))
    done = start("--steps", "3", "--dense", "--plan", str(tmp_path / "plan.json"), ranks=3)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("idle") == done.stdout.count("stages of") == 1
    assert "sent 0 bytes" in done.stdout


def test_the_example_tells_what_is_wrong(tmp_path, monkeypatch):
    (tmp_path / "plan.json").write_text(json.dumps(plan(2, 1).as_dict()))
    for options, message in (
        (["--without", "Paris"], "error: Paris: no such device. There are Oregon-0"),
        (["--without", "0", "--without", "1", "--without", "2"], "error: without: stage 0 has no device left"),
        (["--plan", str(tmp_path / "plan.json"), "--without", "0"], "error: --without: needs the network"),
        (["--plan", str(tmp_path / "no.json")], f"error: {tmp_path}/no.json: "),
    ):
        monkeypatch.setattr(sys, "argv", ["run_plan.py", *options])
        with pytest.raises(SystemExit) as told:
            run_plan.main()
        assert str(told.value).startswith(message)
        assert "\n" not in str(told.value)
