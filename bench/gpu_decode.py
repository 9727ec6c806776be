"""Greedy decoding of a synthetic Llama of 8 billion parameters on a GPU, dense bfloat16 beside packed forms, batch 1.

All of them decode in the same way: a StaticDecoder, whose step is a CUDA graph. The weights are random and made on the
device; layers of one shape are copies of one another, each in memory of its own. The output layer and the embedding
are dense in every form, as the library packs by default. Tokens are checked against the model's own forward first.

python bench/gpu_decode.py [--forms "4 bits,50 % + 4 bits"] [--tokens 64] [--json FILE]
"""

import argparse
import copy
import sys
import time
from statistics import median
from typing import Any

import torch
from gpu import Row, Rows, arguments
from gpu_forms import FORMS, packed_layer
from torch import nn
from transformers import LlamaConfig, LlamaForCausalLM

from fmcompress.runtime import PackedLinear
from fmcompress.runtime.decode_speed import one_static_run, weight_bytes
from fmcompress.runtime.graph_decoding import StaticDecoder

WANTED = ("50 % + 4 bits", "4 bits", "2:4 + 4 bits", "50 %", "2:4")
TARGET = {"50 % + 4 bits": 2.0}  # times dense bfloat16 at least
LLAMA_8B = {
    "hidden_size": 4096,
    "intermediate_size": 14336,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": 8,
    "vocab_size": 128256,
}
TINY = {
    "hidden_size": 256,
    "intermediate_size": 512,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "vocab_size": 512,
}
# of the logits' spread: how far below the likeliest token the one that is decoded may be, since sums are taken in
# another order, in bfloat16; any other token is about 4 below
NEAR = 0.25
WEIGHTS = 1.28  # times 1 / √hidden: 0.02 at 4096. Of narrow models with smaller ones attention would say nothing


def synthetic(shape: dict[str, int], device: torch.device) -> LlamaForCausalLM:
    """A random dense model in bfloat16, made on the device."""
    spread = WEIGHTS / shape["hidden_size"] ** 0.5
    config = LlamaConfig(**shape, max_position_embeddings=8192, tie_word_embeddings=False, initializer_range=spread)
    devices = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices), torch.device(device):
        torch.manual_seed(0)
        model = LlamaForCausalLM._from_config(config, dtype=torch.bfloat16)
    model.generation_config.pad_token_id = 0
    return model.eval().requires_grad_(False)


def packed_twin(model: LlamaForCausalLM, sparsity: float, bits: int) -> LlamaForCausalLM:
    """A copy whose linear layers are packed; what is not packed is shared with the original."""
    done: dict[torch.Size, PackedLinear] = {}
    memo: dict[int, Any] = {id(tensor): tensor for tensor in [*model.parameters(), *model.buffers()]}
    for linear in (module for module in model.model.modules() if isinstance(module, nn.Linear)):
        shape = linear.weight.shape
        if shape not in done:
            done[shape] = packed_layer(linear.weight, sparsity, bits)
        memo[id(linear)] = copy.deepcopy(done[shape])
    return copy.deepcopy(model, memo)


def checked(name: str, decoder: StaticDecoder, ids: torch.Tensor) -> None:
    """Ends the case where a decoded token is not the likeliest, or near it, by the model's own forward."""
    decoder.prefill(ids)
    decoder.run(min(8, decoder.longest - decoder.length))
    tokens = torch.tensor([decoder.tokens(0)], device=decoder.device)
    with torch.no_grad():
        logits = decoder.model(tokens).logits[0, ids.shape[1] - 1 : -1].float()
    most, spread = logits.max(-1).values, logits.std(-1)
    chosen = logits.gather(1, tokens[0, ids.shape[1] :, None])[:, 0]
    off = ((most - chosen) / spread).max()
    if not off <= NEAR:  # NaN, too
        sys.exit(f"{name}: a token is {off:.3g} of the logits' spread below the likeliest")


def measure(name: str, model: LlamaForCausalLM, ids: torch.Tensor, options: argparse.Namespace) -> dict[str, Any]:
    """Seconds a token, and what goes with them."""
    begin = time.perf_counter()
    decoder = StaticDecoder(model, ids.shape[1] + options.tokens)
    checked(name, decoder, ids)
    ready_s = time.perf_counter() - begin
    rates = [one_static_run(decoder, ids, options.tokens) for _ in range(options.runs + 1)][1:]
    for note in decoder.notes:
        print(f"{name}: {note}", flush=True)
    facts = {"tokens_per_s": median(rate[0] for rate in rates), "prompt_per_s": median(rate[1] for rate in rates)}
    facts |= {"bytes_per_token": weight_bytes(model), "of_them_output_layer": model.lm_head.weight.nbytes}
    return {**facts, "decoded_by": decoder.by, "notes": decoder.notes, "ready_s": ready_s, "prompt": ids.shape[1]}


def main() -> None:
    """Dense first, then every form; one packed model at a time."""
    parser = arguments(__doc__)
    parser.add_argument("--tokens", type=int, default=0, help="decoded in a run; 0: 64, or 8 with --small")
    parser.add_argument("--prompt-length", type=int, default=0, help="0: 256, or 16 with --small")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--forms", default=",".join(WANTED), help="by commas")
    options = parser.parse_args()
    options.tokens = options.tokens or (8 if options.small else 64)
    length = options.prompt_length or (16 if options.small else 256)
    device, shape = torch.device(options.device), TINY if options.small else LLAMA_8B
    rows, dense = Rows(device, small=options.small, path=options.json), synthetic(shape, device)
    ids = torch.randint(shape["vocab_size"], (1, length), generator=torch.Generator().manual_seed(0)).to(device)
    size = f"Llama of {sum(parameter.numel() for parameter in dense.parameters()) / 1e9:.2f} B, prompt of {length}"
    flops = 2.0 * sum(module.weight.numel() for module in dense.modules() if isinstance(module, nn.Linear))
    facts = measure("dense", dense, ids, options)
    dense_s = 1 / facts["tokens_per_s"]
    common = {"group": "decode", "flops": flops, "rate": "bfloat16"}
    about = {"case": f"a token, dense bfloat16, {size}", "bytes": facts["bytes_per_token"]}
    rows.add(Row(**common, **about, seconds=dense_s, facts=facts))
    for name in options.forms.split(","):
        with rows.case():
            facts = measure(name, packed_twin(dense, *FORMS[name]), ids, options)
            about = {"case": f"a token, {name}, {size}", "bytes": facts["bytes_per_token"]}
            beside = {"baseline": "dense bfloat16", "baseline_s": dense_s, "least_speedup": TARGET.get(name)}
            rows.add(Row(**common, **about, **beside, seconds=1 / facts["tokens_per_s"], facts=facts))
    rows.end()


if __name__ == "__main__":
    main()
