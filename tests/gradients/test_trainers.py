"""The hook in other people's trainers, between real processes."""

import os
import sys
from importlib.util import find_spec

import pytest
import torch
from gradients.workers import SMALL, batch, flat, loss_of, run, toy
from torch import nn

from fmcompress.errors import ConfigError
from fmcompress.gradients import CocktailAllReduce, CocktailConfig, CocktailState

CONFIG = CocktailConfig(**SMALL)
OPTIONS = {"start_iteration": 1, "min_numel": 100}


def as_torchrun(rank: int, count: int) -> None:
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank), WORLD_SIZE=str(count), MASTER_ADDR="127.0.0.1")
    os.environ.update(MASTER_PORT="29400", ACCELERATE_USE_CPU="true")


def accelerate(rank: int, count: int) -> dict:
    as_torchrun(rank, count)
    from accelerate import Accelerator

    from fmcompress.gradients.trainers import CocktailKwargs

    accelerator = Accelerator(cpu=True)
    kwargs = CocktailKwargs(CONFIG, OPTIONS).attach(accelerator)
    model = toy()
    prepared, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.05))
    losses = []
    for step in range(40):
        optimizer.zero_grad()
        loss = loss_of(prepared, rank, step)
        accelerator.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    return {"flat": flat(model), "losses": losses, "iteration": kwargs.state.iteration}


def test_accelerate(tmp_path):
    results = run(accelerate, 2, tmp_path / "run")
    assert torch.equal(results[0]["flat"], results[1]["flat"])
    assert results[0]["iteration"] == 40
    assert sum(results[0]["losses"][-10:]) < 0.9 * sum(results[0]["losses"][:10])


class Regression(nn.Module):
    """What the Trainer asks of a model."""

    def __init__(self) -> None:
        super().__init__()
        self.net = toy()

    def forward(self, x, y):
        return {"loss": (self.net(x) - y).square().mean()}


def transformers_trainer(rank: int, count: int, folder: str, steps: int, resume: bool) -> dict:
    as_torchrun(rank, count)
    from transformers import Trainer, TrainingArguments

    from fmcompress.gradients.trainers import CocktailCallback

    data = [{"x": x, "y": y} for step in range(16) for x, y in zip(*batch(0, step), strict=True)]
    args = TrainingArguments(
        folder, max_steps=steps, per_device_train_batch_size=16, learning_rate=0.05, optim="sgd", use_cpu=True,
        save_steps=4, report_to=[], lr_scheduler_type="constant", disable_tqdm=True, save_only_model=False,
    )  # fmt: skip
    trainer = Trainer(Regression(), args, train_dataset=data)
    callback = CocktailCallback(CONFIG, OPTIONS).attach(trainer)
    trainer.train(resume_from_checkpoint=resume)
    return {"flat": flat(trainer.model), "state": callback.state.state_dict()}


def test_transformers_trainer_and_its_checkpoints(tmp_path):
    whole = run(transformers_trainer, 2, tmp_path / "run", str(tmp_path / "whole"), 8, False)
    run(transformers_trainer, 2, tmp_path / "half", str(tmp_path / "parts"), 4, False)
    resumed = run(transformers_trainer, 2, tmp_path / "resumed", str(tmp_path / "parts"), 8, True)
    assert torch.equal(whole[0]["flat"], whole[1]["flat"])
    assert whole[0]["state"]["iteration"] == 8
    for first, second in zip(whole, resumed, strict=True):
        assert torch.equal(first["flat"], second["flat"])
        for name, held in first["state"]["parameters"].items():
            assert torch.equal(held["residual"], second["state"]["parameters"][name]["residual"]), name


def lightning(rank: int, count: int, folder: str, steps: int, resume: str | None) -> dict:
    as_torchrun(rank, count)
    os.environ.update(TORCHELASTIC_RUN_ID="test", GROUP_RANK="0", LOCAL_WORLD_SIZE=str(count))
    from lightning.pytorch import LightningModule, Trainer
    from lightning.pytorch.callbacks import ModelCheckpoint

    from fmcompress.gradients.lightning import CocktailStrategy

    class Module(LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net, self.losses = toy(), []

        def training_step(self, _):
            loss = loss_of(self.net, rank, self.global_step)
            self.losses.append(loss.item())
            return loss

        def on_train_batch_end(self, *_):
            if self.global_step == 10:
                self.trainer.save_checkpoint(f"{folder}/tenth.ckpt")

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), lr=0.05)

    strategy = CocktailStrategy(CONFIG, OPTIONS, bucket_cap_mb=0.01)
    trainer = Trainer(
        accelerator="cpu", devices=count, strategy=strategy, max_steps=steps, logger=False, enable_progress_bar=False,
        enable_model_summary=False, use_distributed_sampler=False,
        callbacks=[ModelCheckpoint(folder, every_n_train_steps=15)],
    )  # fmt: skip
    module = Module()
    trainer.fit(module, torch.utils.data.DataLoader(range(40), batch_size=None), ckpt_path=resume)
    return {"flat": flat(module.net), "losses": module.losses, "state": strategy.state.state_dict()}


ENDS = ("", ".cocktail-0", ".cocktail-1")
NO_LIGHTNING = pytest.mark.skipif(not find_spec("lightning"), reason="lightning is not installed")


@NO_LIGHTNING
def test_lightning_and_its_checkpoints(tmp_path):
    folder, link = tmp_path / "checkpoints", tmp_path / "last.ckpt"
    whole = run(lightning, 2, tmp_path / "whole", str(folder), 40, None)
    link.symlink_to(folder / "tenth.ckpt")
    resumed = run(lightning, 2, tmp_path / "resumed", str(tmp_path / "other"), 40, str(link))
    assert torch.equal(whole[0]["flat"], whole[1]["flat"])
    assert whole[0]["state"]["iteration"] == 40
    assert sum(whole[0]["losses"][-10:]) < 0.9 * sum(whole[0]["losses"][:10])
    for first, second in zip(whole, resumed, strict=True):
        assert second["losses"] == first["losses"][10:]
        assert torch.equal(first["flat"], second["flat"])
        for name, held in first["state"]["parameters"].items():
            assert held["residual"].any()
            assert torch.equal(held["residual"], second["state"]["parameters"][name]["residual"]), name
    names = {path.name for path in folder.iterdir()}  # that of step 15 is removed
    assert names == {f"{name}.ckpt{end}" for name in ("tenth", "epoch=0-step=30") for end in ENDS}


@NO_LIGHTNING
def test_lightning_says_what_is_missing_and_takes_one_hook(tmp_path):
    from fmcompress.gradients.lightning import CocktailStrategy

    with pytest.raises(ConfigError, match="one hook"):
        CocktailStrategy(ddp_comm_hook=print)
    strategy, checkpoint = CocktailStrategy(), tmp_path / "dense.ckpt"
    torch.save({"optimizer_states": []}, checkpoint)
    strategy.state = CocktailState(toy().named_parameters())
    with pytest.raises(ConfigError, match="cocktail-0: is missing"):
        strategy.load_optimizer_state_dict(strategy.load_checkpoint(checkpoint))


def fsdp2(rank: int, count: int, shards: int) -> dict:
    """Replicas of a model, each sharded over some workers; its first layer is a group of its own."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import fully_shard

    mesh = init_device_mesh("cpu", (count // shards, shards), mesh_dim_names=("replica", "shard"))
    model = toy()
    fully_shard(model[0], mesh=mesh["shard"])
    fully_shard(model, mesh=mesh["shard"])
    reduce = CocktailAllReduce(CONFIG, group=mesh.get_group("replica"), start_iteration=1)
    model.set_all_reduce_hook(reduce)
    model[0].set_all_reduce_hook(CocktailAllReduce(CONFIG, stream=1, start_iteration=1, workers=reduce.workers))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    losses = []
    for step in range(40):
        optimizer.zero_grad()
        loss = loss_of(model, rank, step)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    whole = torch.cat([parameter.full_tensor().detach().reshape(-1) for parameter in model.parameters()])
    return {"flat": whole, "losses": losses, "iteration": reduce.iteration}


@pytest.mark.skipif(sys.platform == "win32", reason="gloo there has no reduce-scatter")
@pytest.mark.parametrize(("count", "shards"), [(2, 1), (4, 2)])
def test_fsdp2(tmp_path, count, shards):
    results = run(fsdp2, count, tmp_path / "run", shards)
    assert all(torch.equal(result["flat"], results[0]["flat"]) for result in results)
    assert results[0]["iteration"] == 40
    assert sum(results[0]["losses"][-10:]) < 0.9 * sum(results[0]["losses"][:10])
