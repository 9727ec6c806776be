"""A tiny random model of each architecture that the README names, with what it takes to calibrate it."""

import shutil
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from helpers import DEMO, make_text

TEXT: dict[str, Any] = {
    "vocab_size": 2048,
    "hidden_size": 32,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
GROUPED = {**TEXT, "num_key_value_heads": 2, "intermediate_size": 64}
HEADED = {**GROUPED, "head_dim": 8}
ENCODER = {**TEXT, "intermediate_size": 64}
VISION = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
VISION |= {"image_size": 32, "patch_size": 8}
T5 = {
    "vocab_size": 2048,
    "decoder_start_token_id": 0,
    "d_model": 32,
    "d_kv": 8,
    "d_ff": 64,
    "num_layers": 2,
    "num_heads": 4,
}
EXPERTS = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
DEEPSEEK = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16, "first_k_dense_replace": 1}
DEEPSEEK |= {"n_group": 2, "topk_group": 2, "q_lora_rank": 16, "kv_lora_rank": 16, "v_head_dim": 8}
DEEPSEEK |= {"qk_rope_head_dim": 8, "qk_nope_head_dim": 8}


@dataclass(frozen=True)
class Kind:
    """An architecture: its config type, the class that is saved, and how many layers each of its blocks holds."""

    config: str
    model: str
    layers: tuple[int, ...]
    options: dict[str, Any] = field(default_factory=dict)
    inputs: tuple[str, ...] = ("text",)


LANGUAGE = {
    "llama": Kind("llama", "LlamaForCausalLM", (7, 7), HEADED),
    "mistral": Kind("mistral", "MistralForCausalLM", (7, 7), {**HEADED, "sliding_window": 8}),
    "qwen2": Kind("qwen2", "Qwen2ForCausalLM", (7, 7), GROUPED),
    "qwen3": Kind("qwen3", "Qwen3ForCausalLM", (7, 7), HEADED),
    "gemma2": Kind("gemma2", "Gemma2ForCausalLM", (7, 7), {**HEADED, "sliding_window": 8}),
    "gemma3": Kind("gemma3_text", "Gemma3ForCausalLM", (7, 7), {**HEADED, "sliding_window": 8}),
    "phi": Kind("phi", "PhiForCausalLM", (6, 6), GROUPED),
    "phi3": Kind("phi3", "Phi3ForCausalLM", (4, 4), GROUPED),
    "opt": Kind("opt", "OPTForCausalLM", (6, 6), {**TEXT, "ffn_dim": 64, "word_embed_proj_dim": 32}),
    "gpt2": Kind("gpt2", "GPT2LMHeadModel", (4, 4), TEXT),
    "gpt_neox": Kind("gpt_neox", "GPTNeoXForCausalLM", (4, 4), {**TEXT, "intermediate_size": 64}),
    "bloom": Kind("bloom", "BloomForCausalLM", (4, 4), TEXT),
    "falcon": Kind("falcon", "FalconForCausalLM", (4, 4), TEXT),
}
# attention, and for each of four experts gate, up and down, of which the last three store the first two as one; some
# have a shared expert besides
MIXTURES = {
    "mixtral": Kind(
        "mixtral", "MixtralForCausalLM", (16, 16), {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    "qwen3_moe": Kind("qwen3_moe", "Qwen3MoeForCausalLM", (16, 16), {**HEADED, **EXPERTS}),
    "qwen3_5_moe": Kind(
        "qwen3_5_moe_text",
        "Qwen3_5MoeForCausalLM",
        (19, 19),
        {
            **HEADED,
            **EXPERTS,
            "layer_types": ["full_attention"] * 2,
            "shared_expert_intermediate_size": 16,
        },
    ),
    "deepseek_v3": Kind(
        "deepseek_v3",
        "DeepseekV3ForCausalLM",
        (8, 20),
        {**GROUPED, **DEEPSEEK, "num_key_value_heads": 4},
    ),
    "jetmoe": Kind(
        "jetmoe",
        "JetMoeForCausalLM",
        (17, 17),
        {**TEXT, "num_key_value_heads": 2, "kv_channels": 8, "intermediate_size": 32, "num_local_experts": 4},
    ),
    "gpt_oss": Kind(
        "gpt_oss", "GptOssForCausalLM", (12, 12), {**HEADED, "num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    "granitemoe": Kind(
        "granitemoe", "GraniteMoeForCausalLM", (12, 12), {**GROUPED, "num_local_experts": 4, "num_experts_per_tok": 2}
    ),
    "llama4": Kind(
        "llama4_text",
        "Llama4ForCausalLM",
        (15, 15),
        {
            **HEADED,
            "intermediate_size_mlp": 64,
            "num_local_experts": 4,
        },
    ),
}
OTHERS = {
    "bert": Kind("bert", "BertForMaskedLM", (6, 6), ENCODER),
    "bert, bare": Kind("bert", "BertModel", (6, 6), ENCODER),
    "roberta": Kind("roberta", "RobertaForMaskedLM", (6, 6), {**ENCODER, "pad_token_id": 1, "bos_token_id": 0}),
    "distilbert": Kind(
        "distilbert",
        "DistilBertForMaskedLM",
        (6, 6),
        {"vocab_size": 2048, "dim": 32, "n_layers": 2, "n_heads": 4, "hidden_dim": 64, "max_position_embeddings": 64},
    ),
    "vit": Kind("vit", "ViTForImageClassification", (6, 6), VISION, ("images",)),
    "clip": Kind(
        "clip",
        "CLIPModel",
        (6, 6, 6, 6),
        {
            "text_config": ENCODER,
            "vision_config": VISION,
            "projection_dim": 16,
        },
        ("text", "images"),
    ),
    "clip, vision": Kind("clip_vision_model", "CLIPVisionModel", (6, 6), VISION, ("images",)),
    "siglip": Kind(
        "siglip",
        "SiglipModel",
        (6, 6, 6, 6),
        {
            "text_config": ENCODER,
            "vision_config": VISION,
        },
        ("text", "images"),
    ),
    "t5": Kind("t5", "T5ForConditionalGeneration", (6, 6, 10, 10), T5),
    "t5, gated": Kind("t5", "T5ForConditionalGeneration", (7, 7, 11, 11), {**T5, "feed_forward_proj": "gated-gelu"}),
    "bart": Kind(
        "bart",
        "BartForConditionalGeneration",
        (6, 6, 10, 10),
        {
            "vocab_size": 2048,
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "max_position_embeddings": 64,
        },
    ),
}
ZOO = {**LANGUAGE, **MIXTURES, **OTHERS}


def save(kind: Kind, folder: Path, dtype: torch.dtype = torch.float32) -> Path:
    """A random model of that kind, with tokenizer or image processor."""
    import transformers

    torch.manual_seed(0)
    config = transformers.CONFIG_MAPPING[kind.config](**kind.options)
    model = getattr(transformers, kind.model)._from_config(config, dtype=dtype)
    for (
        name,
        parameter,
    ) in model.named_parameters():  # transformers leaves some that it only expects from a file as they come
        if not torch.isfinite(parameter).all() or parameter.dim() > 2:
            torch.nn.init.normal_(parameter, std=0.02)
        elif parameter.dim() == 1:  # biases of zero would hide that they are forgotten
            parameter.data += 0.02 * torch.randn_like(parameter)
        if "router" in name or "embed_tokens" in name:  # tokens that differ, so that each expert gets some
            torch.nn.init.normal_(parameter, std=float(parameter.dim() > 1))
    model.save_pretrained(folder)
    if "text" in kind.inputs:
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copyfile(DEMO / "model" / name, folder / name)
    if "images" in kind.inputs:
        size = {"height": 32, "width": 32}
        transformers.ViTImageProcessor(size=size).save_pretrained(folder)
    return folder


def load(folder: Path, kind: Kind) -> Any:
    """The model as transformers loads it, which must find every tensor and know each."""
    import transformers

    model, info = getattr(transformers, kind.model).from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return model.eval()


def make_images(folder: Path, count: int = 8) -> Path:
    """Noise as PNG files."""
    from PIL import Image

    folder.mkdir()
    generator = np.random.default_rng(0)
    for number in range(count):
        pixels = generator.integers(0, 256, (40, 48, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def calibration(kind: Kind, folder: Path) -> dict[str, Path]:
    """The paths that prepare() takes for a kind."""
    folder.mkdir(exist_ok=True)
    paths: dict[str, Path] = {}
    if "text" in kind.inputs:
        paths["calibration"] = make_text(folder / "text.txt", 4000)
    if "images" in kind.inputs:
        paths["images"] = make_images(folder / "images")
    return paths
