"""A model of which only one block is in memory gives the logits of the whole one."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, linears, make_checkpoint, streamed
from torch import Tensor

from fmcompress.calibration import StreamedModel
from fmcompress.checkpoint import Checkpoint
from fmcompress.errors import CheckpointError

SIZES: dict[str, Any] = {
    "vocab_size": 128,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED: dict[str, Any] = {"num_key_value_heads": 2, "intermediate_size": 64}
HEADED: dict[str, Any] = {**GROUPED, "head_dim": 8}
IDS = (torch.arange(2 * 17) * 7 % 125 + 3).view(2, 17)

ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": HEADED,
    "mistral": {**HEADED, "sliding_window": 8},
    "ministral": HEADED,
    "qwen2": GROUPED,
    "qwen3": HEADED,
    "qwen3_5_text": HEADED,
    "gemma": HEADED,
    "gemma2": {**HEADED, "sliding_window": 8},
    "gemma3_text": {**HEADED, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "phi": GROUPED,
    "phi3": GROUPED,
    "opt": {"ffn_dim": 64, "word_embed_proj_dim": 32},
    "gpt2": {},
    "gpt_bigcode": {},
    "stablelm": GROUPED,
    "starcoder2": GROUPED,
    "granite": GROUPED,
    "cohere": GROUPED,
    "cohere2": GROUPED,
    "olmo": GROUPED,
    "olmo2": GROUPED,
    "olmo3": GROUPED,
    "smollm3": GROUPED,
    "exaone4": GROUPED,
    "glm": HEADED,
    "glm4": HEADED,
    "nemotron": GROUPED,
    "persimmon": {"intermediate_size": 64},
    "helium": HEADED,
    "ernie4_5": GROUPED,
    "seed_oss": HEADED,
    "gpt_oss": {**HEADED, "num_local_experts": 4, "num_experts_per_tok": 2},
    "xglm": {"ffn_dim": 64},
    "lfm2": GROUPED,
    "mamba": {"intermediate_size": 64},
    "gpt_neox": {"intermediate_size": 64},  # renamed on loading
    "falcon": {},  # its blocks return tuples, as those that follow
    "bloom": {},
    "mpt": {},
    "gptj": {"rotary_dim": 4},
    "gpt_neo": {"attention_types": [[["global", "local"], 1]]},
    "codegen": {"rotary_dim": 4},
}
# transformers merges the experts of these on loading, which StreamedModel does not, or hands more than hidden states
# from block to block: refused, never wrong
REFUSED: dict[str, dict[str, Any]] = {
    "rwkv": {"attention_hidden_size": 32, "context_length": 64},
    "xlstm": {"num_heads": 4},
    "mixtral": {**GROUPED, "num_local_experts": 4},
    "llama4_text": {**HEADED, "intermediate_size_mlp": 64, "num_local_experts": 4},  # asks a weight for its device
    "qwen3_moe": {**HEADED, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16},
}


def save(folder: Path, kind: str, options: dict[str, Any], dtype: torch.dtype = torch.float32) -> Any:
    """A tiny random model of that architecture, as it loads again from where it was saved."""
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**{**SIZES, **options})
    model = AutoModelForCausalLM.from_config(config, dtype=dtype)
    for parameter in model.parameters():  # transformers leaves some that it only expects from a file as they come
        if not torch.isfinite(parameter).all() or parameter.dim() > 2:
            torch.nn.init.normal_(parameter, std=0.02)
    model.save_pretrained(folder)
    return AutoModelForCausalLM.from_pretrained(folder, dtype=dtype).eval()


def stream_logits(model: StreamedModel, ids: Tensor, mask: Tensor | None = None) -> Tensor:
    with torch.no_grad():
        batch = model.embed(ids, mask)
        for index in range(len(model.blocks)):
            with model.loaded(index) as block:
                batch.hidden = model.run_block(index, block, batch)
        return model.logits(ids, batch.hidden)


@pytest.mark.parametrize("kind", ARCHITECTURES)
def test_logits_are_those_of_the_whole_model(tmp_path: Path, kind: str) -> None:
    whole = save(tmp_path, kind, ARCHITECTURES[kind])
    with torch.no_grad():
        want = whole(input_ids=IDS, use_cache=False).logits
    got = stream_logits(streamed(tmp_path), IDS)
    assert float(want.std()) > 1e-3
    torch.testing.assert_close(got, want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", REFUSED)
def test_other_architectures_are_refused_or_right(tmp_path: Path, kind: str) -> None:
    whole = save(tmp_path, kind, REFUSED[kind])
    try:
        got = stream_logits(streamed(tmp_path), IDS)
    except CheckpointError as error:
        assert "unknown architecture" in str(error)
        return
    with torch.no_grad():
        torch.testing.assert_close(got, whole(input_ids=IDS, use_cache=False).logits, rtol=0, atol=1e-4)


@pytest.mark.parametrize("kind", ["llama", "mistral", "gemma2", "opt"])
def test_padded_batch(tmp_path: Path, kind: str) -> None:
    whole = save(tmp_path, kind, ARCHITECTURES[kind])
    mask = torch.ones_like(IDS)
    mask[1, 9:] = 0
    model = streamed(tmp_path)
    batch = model.embed(IDS, mask)
    assert batch.real is not None
    assert batch.real.equal(mask.bool())
    with torch.no_grad():
        want = whole(input_ids=IDS, attention_mask=mask, use_cache=False).logits
    torch.testing.assert_close(stream_logits(model, IDS, mask)[mask.bool()], want[mask.bool()], rtol=0, atol=1e-4)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_matches_too(tmp_path: Path, dtype: torch.dtype) -> None:
    whole = save(tmp_path, "llama", HEADED, dtype)
    with torch.no_grad():
        want = whole(input_ids=IDS, use_cache=False).logits
    assert stream_logits(streamed(tmp_path, dtype), IDS).equal(want)


def test_tied_output_layer(tmp_path: Path) -> None:
    whole = save(tmp_path, "llama", {**HEADED, "tie_word_embeddings": True})
    assert "lm_head.weight" not in Checkpoint(tmp_path).tensors
    with torch.no_grad():
        want = whole(input_ids=IDS, use_cache=False).logits
    torch.testing.assert_close(stream_logits(streamed(tmp_path), IDS), want, rtol=0, atol=1e-4)


def test_only_what_runs_holds_memory(tmp_path: Path) -> None:
    model = streamed(make_checkpoint(tmp_path / "model", blocks=3))

    def held() -> set[str]:
        return {name for name, parameter in model.model.named_parameters() if not parameter.is_meta}

    assert held() == set()
    with model.loaded(1):
        assert held() == {name for name in dict(model.model.named_parameters()) if name.startswith("model.layers.1.")}
    assert held() == set()
    model.embed(IDS)
    assert held() == set()
    with model.outside_kept():
        model.embed(IDS)
        assert held() == {"model.embed_tokens.weight"}
    assert held() == set()


def test_run_block_leaves_the_batch_as_it_is(tmp_path: Path) -> None:
    model = streamed(make_checkpoint(tmp_path / "model"))
    batch = model.embed(IDS)
    before = batch.hidden.clone()
    with torch.no_grad(), model.loaded(0) as block:
        first = model.run_block(0, block, batch)
        assert model.run_block(0, block, batch).equal(first)
    assert batch.hidden.equal(before)


def test_block_from_another_checkpoint(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    first, second = make_checkpoint(tmp_path / "a"), make_checkpoint(tmp_path / "b")
    path = second / "model.safetensors"
    save_file({name: 2 * tensor for name, tensor in load_file(path).items()}, path, metadata={"format": "pt"})
    model = streamed(first)
    with model.loaded(0, Checkpoint(second)) as block:
        twice = {name: layer.weight.clone() for name, layer in linears(block).items()}
    with model.loaded(0) as block:
        for name, layer in linears(block).items():
            assert twice[name].equal(2 * layer.weight)


def change_config(folder: Path, **changes: Any) -> Path:
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, **changes}))
    return folder


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model_type": "no_such_model"}, "unknown architecture: transformers"),
        ({"model_type": "vit"}, "unknown architecture"),
        ({"model_type": "phi"}, r"unknown architecture: PhiForCausalLM wants \d+ tensor"),
        ({"num_hidden_layers": 3}, "unknown architecture: LlamaForCausalLM wants 9 tensor"),
        ({"hidden_size": "many"}, "unknown architecture"),
    ],
)
def test_unknown_architectures(tmp_path: Path, changes: dict[str, Any], message: str) -> None:
    folder = change_config(make_checkpoint(tmp_path / "model"), **changes)
    with pytest.raises(CheckpointError, match=message):
        StreamedModel(Checkpoint(folder), CPU, torch.float32)


def test_config_of_another_size(tmp_path: Path) -> None:
    folder = change_config(make_checkpoint(tmp_path / "model"), intermediate_size=96)
    model = streamed(folder)
    with (
        pytest.raises(CheckpointError, match=r"mlp\.gate_proj\.weight: expected shape \[96, 32\] by config.json"),
        model.loaded(0),
    ):
        pass
