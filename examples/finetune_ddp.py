"""Fine-tune a language model on a text with DistributedDataParallel and compressed gradients.

torchrun --nproc-per-node 2 examples/finetune_ddp.py CHECKPOINT --text TEXT [--exchange cocktail] [--steps 300]

--exchange  dense (float32), fp16, cocktail, cocktail-no-feedback, cocktail-sgd, cocktail-sgd-delayed; and to compare
            with: powersgd, topk (the largest of every bucket, with error feedback, gathered from all), none (every
            worker for itself; the models are averaged at the end)

The learning rate falls linearly to zero, as in transformers' Trainer.

Prints one line of JSON: the losses, held-out loss before and after, seconds and bytes a step. bench/finetune.py runs
all of them.
"""

import argparse
import json
import lzma
import time
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.algorithms.ddp_comm_hooks import default_hooks, powerSGD_hook
from transformers import AutoModelForCausalLM, AutoTokenizer

from fmcompress.gradients import CocktailConfig, CocktailSGD, CocktailState, cocktail_hook

HELD_OUT = 64  # windows from the end of the text


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument("--text", type=Path, required=True, help="plain, or compressed as .xz")
    parser.add_argument("--exchange", default="cocktail")
    parser.add_argument("--steps", type=int, default=300)
    parser.add_argument("--warmup", type=int, default=10, help="steps that send dense gradients first")
    parser.add_argument("--batch", type=int, default=8, help="windows of a worker's step")
    parser.add_argument("--length", type=int, default=128, help="tokens of a window")
    parser.add_argument("--lr", type=float, default=3e-4)
    parser.add_argument("--random-fraction", type=float, default=0.1)
    parser.add_argument("--topk-fraction", type=float, default=0.2)
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--rank", type=int, default=1, help="of powersgd")
    parser.add_argument("--interface", default="lo", help="network interface whose bytes are counted")
    parser.add_argument("--threads", type=int, default=1)
    return parser.parse_args()


def windows_of(args: argparse.Namespace) -> Tensor:
    """The text's tokens, [windows, length] int64."""
    raw = args.text.read_bytes()
    text = (lzma.decompress(raw) if args.text.suffix == ".xz" else raw).decode("utf-8", errors="replace")
    tokenizer = AutoTokenizer.from_pretrained(args.checkpoint)
    tokens = torch.tensor(tokenizer(text[: 40 * args.length * (args.steps * args.batch * 2 + 256)]).input_ids)
    return tokens[: len(tokens) // args.length * args.length].view(-1, args.length)


def topk_hook(state: dict, bucket: dist.GradBucket) -> torch.futures.Future[Tensor]:
    """The largest elements of each bucket as float16 with int32 places, gathered; the rest stays for later."""
    buffer = bucket.buffer()
    state["left"] -= bucket.is_last()
    if state["left"] >= 0:
        return default_hooks.allreduce_hook(None, bucket)
    residual = state["residual"].setdefault(bucket.index(), torch.zeros_like(buffer))
    if len(residual) != len(buffer):  # DDP has built its buckets anew
        residual = state["residual"][bucket.index()] = torch.zeros_like(buffer)
    total = buffer + residual
    places = total.abs().topk(max(1, int(state["fraction"] * len(total))), sorted=False).indices
    values = total[places].half()
    total[places] -= values.float()
    residual.copy_(total)
    payload = torch.cat((places.int().view(torch.uint8), values.view(torch.uint8)))
    workers = dist.get_world_size()
    parts = [torch.empty_like(payload) for _ in range(workers)]
    dist.all_gather(parts, payload)
    buffer.zero_()
    for part in parts:
        at, sent = part.split([4 * len(places), 2 * len(places)])
        buffer.index_add_(0, at.view(torch.int32), sent.clone().view(torch.half).float() / workers)
    future: torch.futures.Future[Tensor] = torch.futures.Future()
    future.set_result(buffer)
    return future


def average(model: nn.Module) -> None:
    """Give every worker the mean of all models."""
    for parameter in model.parameters():
        dist.all_reduce(parameter.detach())
        parameter.detach().div_(dist.get_world_size())


def exchange_by(args: argparse.Namespace, model: nn.Module, optimizer: torch.optim.Optimizer) -> tuple:
    """The model to call, and what takes a step."""
    feedback = args.exchange != "cocktail-no-feedback"
    config = CocktailConfig(args.random_fraction, args.topk_fraction, args.bits, error_feedback=feedback)
    if args.exchange.startswith("cocktail-sgd"):
        delay = int(args.exchange == "cocktail-sgd-delayed")
        sgd = CocktailSGD(model, optimizer, config, delay=delay, start_iteration=args.warmup)
        return model, sgd.step, sgd.average_
    if args.exchange == "none":
        return model, optimizer.step, lambda: average(model)
    ddp = nn.parallel.DistributedDataParallel(model)
    if args.exchange.startswith("cocktail"):
        state = CocktailState(model.named_parameters(), config, start_iteration=args.warmup)
        ddp.register_comm_hook(state, cocktail_hook)
    elif args.exchange == "fp16":
        ddp.register_comm_hook(None, default_hooks.fp16_compress_hook)
    elif args.exchange == "powersgd":
        first = max(2, args.warmup)
        state = powerSGD_hook.PowerSGDState(None, args.rank, first, min_compression_rate=1, use_error_feedback=True)
        ddp.register_comm_hook(state, powerSGD_hook.powerSGD_hook)
    elif args.exchange == "topk":
        # 48 bits an element, gathered from all: as many bytes as to the servers and back
        fraction = 2 * config.bits_per_parameter / dist.get_world_size() / 48
        ddp.register_comm_hook({"residual": {}, "fraction": fraction, "left": args.warmup}, topk_hook)
    elif args.exchange != "dense":
        raise SystemExit(f"--exchange: {args.exchange!r} is none of those that --help lists.")
    return ddp, optimizer.step, lambda: None


def bytes_out(interface: str) -> int:
    """What the kernel has sent through an interface: of all processes, protocol included."""
    return int(Path(f"/sys/class/net/{interface}/statistics/tx_bytes").read_text())


@torch.no_grad()
def held_out(model: nn.Module, windows: Tensor) -> float:
    return float(torch.stack([model(input_ids=part, labels=part).loss for part in windows.split(8)]).mean())


def main() -> None:
    args = options()
    torch.set_num_threads(args.threads)
    dist.init_process_group("gloo")
    rank, workers = dist.get_rank(), dist.get_world_size()
    windows = windows_of(args)
    model = AutoModelForCausalLM.from_pretrained(args.checkpoint, dtype=torch.float32)
    optimizer = torch.optim.AdamW(model.parameters(), lr=args.lr)
    before = held_out(model, windows[-HELD_OUT:])
    decay = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, args.steps)
    called, step, finish = exchange_by(args, model, optimizer)
    order = torch.randperm(len(windows) - HELD_OUT, generator=torch.Generator().manual_seed(0))
    losses, seconds, counts = [], [], []
    for i in range(args.steps):
        first = (i * workers + rank) * args.batch
        part = windows[order[torch.arange(first, first + args.batch) % len(order)]]
        dist.barrier()
        begin = time.perf_counter()
        counts.append(bytes_out(args.interface))
        optimizer.zero_grad()
        loss = called(input_ids=part, labels=part).loss
        loss.backward()
        step()
        decay.step()
        seconds.append(time.perf_counter() - begin)
        mean = loss.detach().clone()
        dist.all_reduce(mean)
        losses.append(float(mean) / workers)
    finish()
    after = held_out(model, windows[-HELD_OUT:])
    if rank == 0:
        first = min(args.warmup + 2, args.steps - 2)  # all of what is compressed
        late, sent = sorted(seconds[first:]), counts[-1] - counts[first]
        facts = {
            "seconds_a_step": late[len(late) // 2],
            "bytes_a_step": sent / (args.steps - 1 - first) / (workers if args.interface == "lo" else 1),
        }
        print(json.dumps({"exchange": args.exchange, "before": before, "after": after, **facts, "losses": losses}))
    dist.destroy_process_group()


if __name__ == "__main__":
    main()
