"""Compressed gradients in the transformers Trainer, on made-up data: pip install accelerate transformers, then

torchrun --nproc-per-node 2 examples/gradients_trainer.py OUT [--steps 200]

OUT gets the trainer's checkpoints, with what every worker has not sent yet: train(resume_from_checkpoint=True) goes on.
"""

import argparse

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from fmcompress.gradients import CocktailConfig
from fmcompress.gradients.traffic import traffic
from fmcompress.gradients.trainers import CocktailCallback


class Regression(nn.Module):
    """What the Trainer asks of a model: a loss."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(nn.Linear(64, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 8))

    def forward(self, x: torch.Tensor, labels: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"loss": (self.net(x) - labels).square().mean()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("out")
    parser.add_argument("--steps", type=int, default=200)
    args = parser.parse_args()
    torch.manual_seed(0)
    x, teacher = torch.randn(8192, 64), torch.randn(64, 8) / 8
    data = [{"x": row, "labels": target} for row, target in zip(x, x @ teacher, strict=True)]
    options = TrainingArguments(
        args.out, max_steps=args.steps, per_device_train_batch_size=64, learning_rate=0.05, optim="sgd",
        lr_scheduler_type="constant", logging_steps=1, save_steps=100, report_to=[], disable_tqdm=True,
        ddp_find_unused_parameters=False, use_cpu=not torch.cuda.is_available(),
    )  # fmt: skip
    trainer, config = Trainer(Regression(), options, train_dataset=data), CocktailConfig(random_fraction=0.2)
    callback = CocktailCallback(config, {"start_iteration": 5}).attach(trainer)  # before train()
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    dense = traffic([p.numel() for p in trainer.model.parameters()], config, options.world_size).dense_bytes
    if trainer.is_world_process_zero():
        print(f"loss {losses[0]:.3f} before, {losses[-1]:.3f} after {args.steps} steps")
        print(f"sent {callback.state.bytes_sent:,} bytes; dense fp16: {args.steps * dense:,.0f}")


if __name__ == "__main__":
    main()
