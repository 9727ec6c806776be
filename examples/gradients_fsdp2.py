"""Replicas sharded with FSDP2, which exchange compressed gradients, on made-up data:

torchrun --nproc-per-node 2 examples/gradients_fsdp2.py [--steps 200] [--shards 1]

--shards  workers that share a replica, over a fast network; the replicas are what a slow one is between
"""

import argparse

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import fully_shard

from fmcompress.gradients import CocktailAllReduce, CocktailConfig
from fmcompress.gradients.traffic import traffic


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--shards", type=int, default=1)
    args = parser.parse_args()
    dist.init_process_group("gloo")  # on GPUs nccl, and "cuda" below
    torch.manual_seed(0)
    replicas = dist.get_world_size() // args.shards
    mesh = init_device_mesh("cpu", (replicas, args.shards), mesh_dim_names=("replica", "shard"))
    model = nn.Sequential(nn.Linear(64, 512), nn.Tanh(), nn.Linear(512, 512), nn.Tanh(), nn.Linear(512, 8))
    blocks, teacher, config = [model[0], model[2]], torch.randn(64, 8) / 8, CocktailConfig(random_fraction=0.2)
    for module in [*blocks, model]:
        fully_shard(module, mesh=mesh["shard"])
    shared = CocktailAllReduce(config, group=mesh.get_group("replica"), start_iteration=5)
    model.set_all_reduce_hook(shared)  # what is in no block
    for i, block in enumerate(blocks, 1):
        block.set_all_reduce_hook(CocktailAllReduce(config, stream=i, start_iteration=5, workers=shared.workers))
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
    generator, losses = torch.Generator().manual_seed(1 + dist.get_rank()), []  # other data on every worker
    for _ in range(args.steps):
        x = torch.randn(64, 64, generator=generator)
        loss = (model(x) - x @ teacher).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    dense = args.steps * traffic([p.to_local().numel() for p in model.parameters()], config, replicas).dense_bytes
    if dist.get_rank() == 0:
        print(f"loss {losses[0]:.3f} before, {losses[-1]:.3f} after {args.steps} steps")
        print(f"sent {shared.workers.bytes_sent:,} bytes; dense fp16: {dense:,.0f}")
    dist.barrier()  # nobody leaves while another one is still at work
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
