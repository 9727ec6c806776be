"""Hessians of experts and of GPT-2's Conv1D against what an ordinary model of transformers computes."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import streamed
from torch import Tensor

from fmcompress.calibration import Group, HessianCollector, StreamedModel, finish_groups

IDS = (torch.arange(3 * 20) * 37 % 2000).view(3, 20)
SIZES: dict[str, Any] = {
    "vocab_size": 2048,
    "hidden_size": 32,
    "num_hidden_layers": 1,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "intermediate_size": 24,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
}


def save(folder: Path, kind: str, **options: Any) -> Any:
    """A random model whose biases are not zero, and which transformers holds whole."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    torch.manual_seed(0)
    model = AutoModelForCausalLM.from_config(CONFIG_MAPPING[kind](**options))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    model.save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder, experts_implementation="eager").eval()


def collect(model: StreamedModel, batches: int) -> dict[str, Group]:
    """The finished group of each layer of the first block, by the tensor's name."""
    named = {name: (tensor, place) for name, tensor, place in model.places(0)}
    parts = IDS.split(-(-len(IDS) // batches))
    with torch.no_grad(), model.loaded(0) as block:
        collector = HessianCollector({name: place for name, (_, place) in named.items()})
        for part in parts:
            batch = model.embed(part)
            collector.next_batch(None)
            model.run_block(0, block, batch)
        collector.detach()
    groups: dict[str, Group] = {}
    for group in collector.groups():
        finish_groups([group], "block")
        groups |= {named[name][0]: group for name in group.layers}
        group.energy = {named[name][0]: energy for name, energy in group.energy.items()}
    return groups


def close(group: Group, name: str, inputs: Tensor, weight: Tensor) -> None:
    """inputs [tokens, cols], weight [rows, cols]."""
    inputs, weight = inputs.double(), weight.double()
    hessian = inputs.T @ inputs / len(inputs)
    assert group.tokens == len(inputs)
    torch.testing.assert_close(group.hessian.double(), hessian, rtol=1e-4, atol=1e-4 * float(hessian.abs().max()))
    assert group.energy[name] == pytest.approx(float(((weight @ hessian) * weight).sum()), rel=1e-4)


@pytest.mark.parametrize("batches", [1, 3])
@pytest.mark.parametrize("kind", ["mixtral", "gpt_oss"])
def test_each_expert_sees_its_own_tokens(tmp_path: Path, kind: str, batches: int) -> None:
    whole = save(tmp_path, kind, **SIZES)
    experts, given = whole.model.layers[0].mlp.experts, {}
    experts.register_forward_pre_hook(lambda _, args: given.update(hidden=args[0], chosen=args[1]))
    with torch.no_grad():
        whole(input_ids=IDS, use_cache=False)
    groups = collect(streamed(tmp_path), batches)
    reached = [(given["chosen"] == expert).any(1) for expert in range(4)]
    assert 0 < min(int(tokens.sum()) for tokens in reached) < IDS.numel()
    for expert, chosen in enumerate(reached):
        tokens = given["hidden"][chosen]
        up, down = experts.gate_up_proj[expert].detach(), experts.down_proj[expert].detach()
        if kind == "mixtral":
            rows = up.chunk(2)
            gate, linear = (tokens @ part.T for part in rows)
            names = [f"model.layers.0.block_sparse_moe.experts.{expert}.w{n}.weight" for n in (1, 3, 2)]
            assert groups[names[0]] is groups[names[1]]
            for name, part in zip(names, rows, strict=False):
                close(groups[name], name, tokens, part)
            close(groups[names[2]], names[2], torch.nn.functional.silu(gate) * linear, down)
        else:
            name = f"model.layers.0.mlp.experts.gate_up_proj[{expert}]"
            close(groups[name], name, tokens, up.T)
            inner = experts._apply_gate(tokens @ up + experts.gate_up_proj_bias[expert]).detach()
            name = f"model.layers.0.mlp.experts.down_proj[{expert}]"
            close(groups[name], name, inner, down.T)


@pytest.mark.parametrize("batches", [1, 3])
def test_conv1d(tmp_path: Path, batches: int) -> None:
    whole = save(tmp_path, "gpt2", vocab_size=2048, n_embd=32, n_layer=1, n_head=4)
    block, seen = whole.transformer.h[0], {}
    layers = {name: block.get_submodule(name) for name in ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj")}
    for name, layer in layers.items():
        layer.register_forward_pre_hook(lambda _, args, name=name: seen.update({name: args[0].flatten(0, 1)}))
    with torch.no_grad():
        whole(input_ids=IDS, use_cache=False)
    groups = collect(streamed(tmp_path), batches)
    assert len(groups) == 4
    for name, layer in layers.items():
        tensor = f"transformer.h.0.{name}.weight"
        close(groups[tensor], tensor, seen[name], layer.weight.detach().T)


def test_experts_of_llama4_see_only_what_was_routed_to_them(tmp_path: Path) -> None:
    """All experts are multiplied with all tokens there, those of others as zeros."""
    options = {**SIZES, "num_experts_per_tok": 1, "head_dim": 8, "intermediate_size_mlp": 64}
    whole = save(tmp_path, "llama4_text", **options, pad_token_id=0)
    experts, given = whole.model.layers[0].feed_forward.experts, {}
    experts.register_forward_pre_hook(lambda _, args: given.update(hidden=args[0]))
    with torch.no_grad():
        whole(input_ids=IDS, use_cache=False)
    groups = collect(streamed(tmp_path), 1)
    hidden = given["hidden"].view(4, -1, 32)
    for expert in range(4):
        tokens = hidden[expert][hidden[expert].any(1)]
        name = f"model.layers.0.feed_forward.experts.gate_up_proj[{expert}]"
        if len(tokens):
            close(groups[name], name, tokens, experts.gate_up_proj[expert].detach().T)
        else:
            assert name not in groups
    assert sum(group.tokens for name, group in groups.items() if "gate_up_proj[" in name) == IDS.numel()
