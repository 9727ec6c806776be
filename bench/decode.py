"""Decoding of a synthetic Llama, dense beside every packed form, batch 1, all in turn in one process.

python bench/decode.py [--hidden 2048 --intermediate 5632 --layers 16] [--tokens 32 --runs 5] [--json FILE]

The weights are random, so that nothing is read off the text; a token costs the same whatever it says. Layers of one
shape are copies of one another, each in memory of its own.
"""

import argparse
import copy
import json
from dataclasses import asdict
from pathlib import Path

import torch
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from fmcompress import NM, Grid, LayerResult, Unstructured, magnitude, round_to_nearest
from fmcompress.memory import return_freed_memory
from fmcompress.runtime import PackedLinear, PackedWeight
from fmcompress.runtime.decode_speed import copy_rate, measure_decoding

FORMS = {
    "50 %": (Unstructured(0.5, "row"), None),
    "2:4": (NM(2, 4), None),
    "8 bits": (None, Grid(8, 128)),
    "4 bits": (None, Grid(4, 128)),
    "4 bits asymmetric": (None, Grid(4, 128, symmetric=False)),
    "3 bits": (None, Grid(3, 128)),
    "50 % + 4 bits": (Unstructured(0.5, "row"), Grid(4, 128)),
    "2:4 + 4 bits": (NM(2, 4), Grid(4, 128)),
}


def synthetic(args: argparse.Namespace) -> LlamaForCausalLM:
    config = LlamaConfig(
        hidden_size=args.hidden,
        intermediate_size=args.intermediate,
        num_hidden_layers=args.layers,
        num_attention_heads=args.hidden // 64,
        num_key_value_heads=max(1, args.hidden // 256),
        vocab_size=4096,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).to(torch.bfloat16).eval()
    model.generation_config.pad_token_id = 0
    return model.requires_grad_(False)


def packed_twin(model: LlamaForCausalLM, pattern, grid) -> nn.Module:
    """A copy whose linear layers are packed; what is not packed is shared with the original."""
    linears = [m for _, block in model.model.named_children() for m in block.modules() if isinstance(m, nn.Linear)]
    done: dict[torch.Size, PackedWeight] = {}
    memo = {id(tensor): tensor for tensor in model.parameters()}
    for linear in linears:
        shape = linear.weight.shape
        if shape not in done:
            done[shape] = PackedWeight.of(solved(linear.weight, pattern, grid), pattern)
        memo[id(linear)] = PackedLinear(copy.deepcopy(done[shape]))
    return copy.deepcopy(model, memo)


def solved(weight: torch.Tensor, pattern, grid) -> LayerResult:
    pruned = None if pattern is None else magnitude(weight, pattern)
    if grid is None:
        return pruned
    return round_to_nearest(weight if pruned is None else pruned.weight, grid)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--hidden", type=int, default=2048)
    parser.add_argument("--intermediate", type=int, default=5632)
    parser.add_argument("--layers", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=32)
    parser.add_argument("--prompt-length", type=int, default=256)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--forms", default=None, help="only those whose names match one of these, by commas")
    parser.add_argument("--json", type=Path, default=None)
    args = parser.parse_args()
    return_freed_memory()
    dense = synthetic(args)
    models = {"dense float32": copy.deepcopy(dense).float(), "dense bfloat16": dense}
    wanted = FORMS if args.forms is None else {name: FORMS[name] for name in args.forms.split(",")}
    for name, (pattern, grid) in wanted.items():
        models[name] = packed_twin(dense, pattern, grid)
    ids = torch.randint(4096, (1, args.prompt_length), generator=torch.Generator().manual_seed(0))
    speeds = measure_decoding(models, ids, args.tokens, args.runs)
    rate = copy_rate(torch.device("cpu"))
    weights = sum(m.weight.numel() for m in dense.model.modules() if isinstance(m, nn.Linear))
    print(
        f"{weights:,} weights in linear layers; {torch.get_num_threads()} threads; copy reads {rate / 1e9:.1f} GB/s\n"
    )
    print("| model | tokens/s | × float32 | × bfloat16 | MB a token | GB/s | of copy | prompt tokens/s | × bfloat16 |")
    print("|---|---:|---:|---:|---:|---:|---:|---:|---:|")
    for speed in speeds:
        of = [speed.tokens_per_second / other.tokens_per_second for other in speeds[:2]]
        print(
            f"| {speed.name} | {speed.tokens_per_second:.2f} | {of[0]:.2f} | {of[1]:.2f} "
            f"| {speed.bytes_per_token / 1e6:.0f} | {speed.bytes_per_second / 1e9:.1f} "
            f"| {100 * speed.bytes_per_second / rate:.0f} % | {speed.prefill_per_second:.0f} "
            f"| {speed.prefill_per_second / speeds[1].prefill_per_second:.2f} |"
        )
    if args.json is not None:
        rows = [{**asdict(speed), "bytes_per_second": speed.bytes_per_second} for speed in speeds]
        args.json.write_text(json.dumps({"weights": weights, "copy_bytes_per_second": rate, "models": rows}, indent=1))


if __name__ == "__main__":
    main()
