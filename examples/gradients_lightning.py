"""Compressed gradients in Lightning, on made-up data: pip install lightning, then

torchrun --nproc-per-node 2 examples/gradients_lightning.py [--steps 200]

Where Lightning writes checkpoints, every worker adds a file of what it has not sent yet: fit(ckpt_path=…) goes on.
"""

import argparse
import os

import torch
from lightning.pytorch import LightningModule, Trainer
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from fmcompress.gradients import CocktailConfig
from fmcompress.gradients.lightning import CocktailStrategy
from fmcompress.gradients.traffic import traffic


class Regression(LightningModule):
    """A small network that keeps its losses."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 8))
        self.losses: list[float] = []

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        loss = (self.net(batch[0]) - batch[1]).square().mean()
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.05)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    x, teacher = torch.randn(8192, 64), torch.randn(64, 8) / 8
    data = DataLoader(TensorDataset(x, x @ teacher), batch_size=64, shuffle=True)
    config, model = CocktailConfig(random_fraction=0.2), Regression()
    strategy = CocktailStrategy(config, {"start_iteration": 5})
    workers = int(os.environ["LOCAL_WORLD_SIZE"])
    trainer = Trainer(
        strategy=strategy, devices=workers, max_steps=steps, logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    trainer.fit(model, data)
    dense = steps * traffic([p.numel() for p in model.parameters()], config, trainer.world_size).dense_bytes
    if trainer.is_global_zero:
        print(f"loss {model.losses[0]:.3f} before, {model.losses[-1]:.3f} after {steps} steps")
        print(f"sent {strategy.state.bytes_sent:,} bytes; dense fp16: {dense:,.0f}")


if __name__ == "__main__":
    main()
