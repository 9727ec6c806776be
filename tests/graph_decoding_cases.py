"""Tiny models of several kinds, and what they say."""

from typing import Any

import torch
from torch import Tensor

from fmcompress.runtime.generation import GREEDY
from fmcompress.runtime.graph_decoding import StaticDecoder

VOCABULARY, LONGEST, WINDOW = 97, 128, 64


def tiny(kind: str) -> Any:
    """A random model in float32, its weights large enough that it does not say one token all the time."""
    import transformers as hf

    shape = {"hidden_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4, "max_position_embeddings": LONGEST}
    llama = {**shape, "intermediate_size": 96, "num_key_value_heads": 2, "initializer_range": 0.2}
    gpt2 = {"n_embd": 64, "n_layer": 2, "n_head": 4, "n_positions": LONGEST, "initializer_range": 0.2}
    opt = {**shape, "ffn_dim": 96, "word_embed_proj_dim": 64, "init_std": 0.2}
    t5 = {"d_model": 16, "num_layers": 1, "d_ff": 16, "num_heads": 2}
    kinds = {
        "llama": (hf.LlamaForCausalLM, hf.LlamaConfig, llama),
        "mistral": (hf.MistralForCausalLM, hf.MistralConfig, {**llama, "sliding_window": WINDOW}),
        "qwen2": (hf.Qwen2ForCausalLM, hf.Qwen2Config, llama),
        "qwen3": (hf.Qwen3ForCausalLM, hf.Qwen3Config, {**llama, "head_dim": 16}),
        "gpt2": (hf.GPT2LMHeadModel, hf.GPT2Config, gpt2),
        "opt": (hf.OPTForCausalLM, hf.OPTConfig, opt),
        "bloom": (hf.BloomForCausalLM, hf.BloomConfig, {"hidden_size": 16, "n_layer": 1, "n_head": 2}),
        "t5": (hf.T5ForConditionalGeneration, hf.T5Config, t5),
    }
    model, config, options = kinds[kind]
    names = {"bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        made = model(config(**options, **names, vocab_size=VOCABULARY)).eval().requires_grad_(False)
    made.generation_config.eos_token_id = None
    return made


def prompt(length: int = 9) -> Tensor:
    return torch.randint(3, VOCABULARY, (1, length), generator=torch.Generator().manual_seed(1))


def generated(model: Any, input_ids: Tensor, new_tokens: int) -> list[int]:
    """The tokens that transformers finds."""
    ids = input_ids.to(model.device)
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=new_tokens, **GREEDY)
    return out[0, ids.shape[1] :].tolist()


def tokens_of(model: Any, *, new_tokens: int, **options: Any) -> list[int]:
    decoder = StaticDecoder(model, 9 + new_tokens, **options)
    assert not decoder.notes, decoder.notes
    return list(decoder.stream(prompt(), new_tokens, set()))
