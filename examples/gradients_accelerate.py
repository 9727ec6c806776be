"""Compressed gradients in Hugging Face Accelerate, on made-up data: pip install accelerate transformers, then

torchrun --nproc-per-node 2 examples/gradients_accelerate.py [--steps 200]
"""

import argparse

import torch
from accelerate import Accelerator
from torch import nn

from fmcompress.gradients import CocktailConfig
from fmcompress.gradients.traffic import traffic
from fmcompress.gradients.trainers import CocktailKwargs


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    steps = parser.parse_args().steps
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=not torch.cuda.is_available())
    config = CocktailConfig(random_fraction=0.2)
    compressed = CocktailKwargs(config, {"start_iteration": 5}).attach(accelerator)  # before prepare()
    model = nn.Sequential(nn.Linear(64, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 8))
    teacher = torch.randn(64, 8).to(accelerator.device) / 8
    ddp, optimizer = accelerator.prepare(model, torch.optim.SGD(model.parameters(), lr=0.05))
    generator = torch.Generator().manual_seed(accelerator.process_index)  # other data on every worker
    losses = []
    for _ in range(steps):
        x = torch.randn(64, 64, generator=generator).to(accelerator.device)
        loss = (ddp(x) - x @ teacher).square().mean()
        optimizer.zero_grad()
        accelerator.backward(loss)
        optimizer.step()
        losses.append(loss.item())
    dense = steps * traffic([p.numel() for p in model.parameters()], config, accelerator.num_processes).dense_bytes
    accelerator.print(f"loss {losses[0]:.3f} before, {losses[-1]:.3f} after {steps} steps")
    accelerator.print(f"sent {compressed.state.bytes_sent:,} bytes; dense fp16: {dense:,.0f}")
    accelerator.end_training()


if __name__ == "__main__":
    main()
