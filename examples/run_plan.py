"""Train a tiny language model as a plan says: pipelines through the stages, CocktailSGD between the replicas.

python examples/run_plan.py [--plan plan.json] [--steps 100] [--dense] [--network network.yaml --without NAME]

Starts a process for every device of the plan on this machine, idle ones too; on machines of your own, start one on each
with torchrun, in the order of the devices. Without --plan it plans for five made-up devices on two continents.

--dense    average dense gradients instead, to compare with
--network  that the plan was made for, to plan anew from
--without  a device that has left, by name or number; may be given several times: the others go on
"""

import argparse
import os
import sys
import tempfile
from functools import partial
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from torch import Tensor, nn
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.nn.functional import cross_entropy

from fmcompress.errors import ConfigError, FmcompressError
from fmcompress.gradients import CocktailConfig, CocktailSGD
from fmcompress.gradients.traffic import traffic
from fmcompress.scheduling import Network, Plan, Workload, read_plan, schedule
from fmcompress.scheduling.mesh import device_mesh, layers_of, place_of_stage
from fmcompress.scheduling.replan import kept, replan

WIDTH, HEADS, LENGTH, SEQUENCES = 64, 4, 64, 4  # of the model; of a sequence; sequences of a micro-batch
ADAM, WARM_UP = partial(torch.optim.AdamW, lr=3e-3), 10  # dense steps, while Adam's moments settle
WORDS = [["the", "a", "every"], ["old", "red", "small"], ["cat", "ship", "tree", "mind"], ["sees", "has", "likes"]]


def made_up() -> tuple[Network, Plan]:
    ways = [("Oregon", "Ohio", 25, 1.1), ("Oregon", "Frankfurt", 70, 0.5), ("Ohio", "Frankfurt", 50, 0.6)]
    links = [dict(zip(("a", "b", "delay_ms", "bandwidth_gbps"), way, strict=True)) for way in ways]
    inside = {"delay_ms": 1, "bandwidth_gbps": 5}
    network = Network.from_regions({"Oregon": 2, "Ohio": 1, "Frankfurt": 2}, links, inside=inside)
    work = Workload(stages=2, replicas=2, activation_bytes=4e6, gradient_bytes=2e7, micro_batches=4, layers=4)
    return network, schedule(network, work, budget_s=30)  # ends long before: every rank has the same plan


class Embedding(nn.Module):
    """Of bytes and their places: [sequences, LENGTH] -> [sequences, LENGTH, WIDTH]."""

    def __init__(self) -> None:
        super().__init__()
        self.byte, self.place = nn.Embedding(128, WIDTH), nn.Embedding(LENGTH, WIDTH)

    def forward(self, text: Tensor) -> Tensor:
        return self.byte(text) + self.place.weight


class Block(nn.TransformerEncoderLayer):
    """A causal one: [sequences, LENGTH, WIDTH], the same out."""

    def __init__(self) -> None:
        super().__init__(WIDTH, HEADS, 4 * WIDTH, dropout=0.0, batch_first=True, norm_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x, nn.Transformer.generate_square_subsequent_mask(LENGTH), is_causal=True)


def part(layers: range, count: int) -> nn.Sequential:
    """Some of a model's `count` layers, with what comes before the first and after the last; always the same ones."""
    modules: list[nn.Module] = []
    for layer in layers:
        torch.manual_seed(layer)
        modules += [Embedding()] * (layer == 0) + [Block()]
        modules += [nn.LayerNorm(WIDTH), nn.Linear(WIDTH, 128)] * (layer == count - 1)
    return nn.Sequential(*modules)


def batch(step: int, replica: int, sequences: int) -> tuple[Tensor, Tensor]:
    """Made-up sentences, other ones for every step and replica, and for each byte the next one; [sequences, LENGTH]."""
    chance, lines = torch.Generator().manual_seed(1_000_003 * step + replica), []
    for _ in range(sequences):
        line = ""
        while len(line) <= LENGTH:
            picked = [kind[int(torch.randint(len(kind), (1,), generator=chance))] for kind in WORDS + WORDS[:3]]
            line += " ".join(picked) + ". "
        lines.append(list(line[: LENGTH + 1].encode()))
    text = torch.tensor(lines)
    return text[:, :-1], text[:, 1:]


def loss_of(logits: Tensor, target: Tensor) -> Tensor:
    return cross_entropy(logits.transpose(1, 2), target)


def train(
    plan: Plan, rank_of: dict[int, int], steps: int, config: CocktailConfig, warm_up: int, optimizer_of: Any = ADAM
) -> tuple[nn.Sequential | None, list[float], Tensor]:
    """This rank's layers and losses, if any; bytes to other replicas, in all, in the warm-up, and as dense fp16."""
    mesh, stages = device_mesh(plan, rank_of=rank_of), plan.workload.stages
    if mesh.get_coordinate() is None:  # idle
        return None, [], torch.zeros(3, dtype=torch.float64)
    stage, replica = mesh.get_coordinate()
    model = part(layers_of(plan, dist.get_rank(), rank_of), plan.split[-1][1])
    replicas = mesh.get_group("dp")
    sgd = CocktailSGD(model, optimizer_of(model.parameters()), config, group=replicas, start_iteration=warm_up)
    here = PipelineStage(model, stage, stages, torch.device("cpu"), group=mesh.get_group("pp"))
    here.stage_index_to_group_rank = place_of_stage(mesh)
    micro_batches = max(plan.workload.micro_batches, stages)  # 1F1B wants at least one a stage
    pipeline, losses, sent = Schedule1F1B(here, micro_batches, loss_of), [], [0]
    for step in range(steps):
        sgd.optimizer.zero_grad()
        text, target = batch(step, replica, micro_batches * SEQUENCES)
        of_step: list[Tensor] = []
        last = {"target": target, "losses": of_step} if here.is_last else {}
        pipeline.step(*([text] if here.is_first else []), **last)
        sgd.step()
        sent.append(sgd.bytes_sent)
        if here.is_last:
            mean = torch.stack(of_step).mean().detach()
            dist.all_reduce(mean, group=replicas)
            losses.append(float(mean) / plan.workload.replicas)
            if replica == 0 and (step % 10 == 0 or step == steps - 1):
                print(f"step {step:4}  loss {losses[-1]:.3f}", flush=True)
    fp16 = steps * traffic([p.numel() for p in model.parameters()], config, plan.workload.replicas).dense_bytes
    sgd.average_()  # one model for all replicas
    sgd.close()
    return model, losses, torch.tensor([sent[-1], sent[min(warm_up, steps)], fp16], dtype=torch.float64)


def work(rank: int, plan: Plan, rank_of: dict[int, int], args: argparse.Namespace, store: str) -> None:
    torch.set_num_threads(1)
    if rank == 0:
        show(plan, rank_of)
    dist.init_process_group("gloo", init_method=store, rank=rank, world_size=len(rank_of))
    warm_up = args.steps if args.dense else WARM_UP
    *_, sent = train(plan, rank_of, args.steps, CocktailConfig(), warm_up)
    dist.all_reduce(sent)
    if rank == 0:
        total, dense, fp16 = sent.tolist()
        print(f"sent {total:,.0f} bytes between replicas; dense fp16: {fp16:,.0f}")
        if total > dense:
            fewer = fp16 * (1 - warm_up / args.steps) / (total - dense)
            print(f"after {warm_up} dense steps {fewer:.0f} times fewer than fp16")
    dist.barrier()  # nobody leaves while another one is still at work
    dist.destroy_process_group()


def planned(args: argparse.Namespace) -> tuple[Plan, dict[int, int]]:
    """The plan, and the rank of every device that is there."""
    network, plan = made_up() if args.plan is None else (None, read_plan(args.plan))
    if args.network:
        from fmcompress.scheduling.files import read_network

        network = read_network(args.network)
    gone: set[int] = set()
    if args.without:
        if network is None:
            raise ConfigError("--without: needs the network that the plan was made for. Give it by --network.")
        gone = {network.number(name) for name in args.without}
        before, plan = plan, replan(plan, network, sorted(gone))
        if os.environ.get("RANK", "0") == "0":
            print(f"without {', '.join(args.without)}: {kept(before, plan)} of the others keep their stage")
    return plan, {device: rank for rank, device in enumerate(sorted({*range(len(plan.names))} - gone))}


def show(plan: Plan, rank_of: dict[int, int]) -> None:
    stages, replicas = plan.mesh.shape
    print(f"{stages} stages of {replicas} replicas, {plan.cost_s:.3g} s of communication a step")
    for device, rank in rank_of.items():
        layers, does = layers_of(plan, rank, rank_of), "idle"
        if layers:
            does = f"stage {plan.stage_of[device]} of replica {plan.replica_of[device]}, layers {[*layers]}"
        print(f"rank {rank}  {plan.names[device]:12} {does}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--plan")
    parser.add_argument("--network")
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--dense", action="store_true")
    parser.add_argument("--without", action="append", default=[], metavar="NAME")
    args = parser.parse_args()
    try:
        plan, rank_of = planned(args)
    except FmcompressError as error:
        sys.exit(f"error: {error}")
    if "RANK" not in os.environ:
        with tempfile.TemporaryDirectory() as folder:
            mp.spawn(work, (plan, rank_of, args, f"file://{folder}/store"), len(rank_of))
    elif int(os.environ["WORLD_SIZE"]) == len(rank_of):
        work(int(os.environ["RANK"]), plan, rank_of, args, "env://")
    else:
        sys.exit(f"error: expected {len(rank_of)} ranks, one for each device that is there. See --nproc-per-node.")


if __name__ == "__main__":
    main()
