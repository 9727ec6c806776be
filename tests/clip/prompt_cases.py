"""A tiny two-tower model in float64, and a prompt of each kind around it."""

import hashlib

import numpy as np
import torch
from transformers import CLIPConfig, CLIPModel, SiglipConfig, SiglipModel

from fmcompress.clip.prompt_models import LinearPrompt, TextPrompt, VisualPrompt
from fmcompress.clip.towers import TextTower, VisionTower
from fmcompress.clip.unified_prompt import UnifiedPrompt
from fmcompress.clip.vectors import normalised

KINDS = ["linear", "text", "image", "multimodal"]
CLASSES = torch.arange(4)
SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
WORDS = {"vocab_size": 40, "max_position_embeddings": 16, "bos_token_id": 38, "eos_token_id": 39, "pad_token_id": 39}
PATCHES = {"image_size": 16, "patch_size": 8, "num_channels": 3}
# begin, one to three tokens of a name, end, padding as the tokenizer of CLIP writes it
IDS = torch.tensor([[38, 5, 39, 39, 39], [38, 6, 7, 39, 39], [38, 8, 9, 10, 39], [38, 11, 39, 39, 39]])
SIGLIP_IDS = torch.tensor([[5, *[1] * 15], [6, 7, *[1] * 14], [8, 9, 10, *[1] * 13], [11, *[1] * 15]])


def clip(**words):
    torch.manual_seed(0)
    config = CLIPConfig(text_config={**SMALL, **WORDS, **words}, vision_config={**SMALL, **PATCHES}, projection_dim=12)
    return CLIPModel(config).double().eval()


def siglip():
    torch.manual_seed(0)
    words = {"vocab_size": 40, "max_position_embeddings": 16, "projection_size": 16}
    return SiglipModel(SiglipConfig(text_config={**SMALL, **words}, vision_config={**SMALL, **PATCHES})).double().eval()


def pixels(count=3):
    return torch.randn(count, 3, 16, 16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


def unit(features):
    return torch.nn.functional.normalize(features.pooler_output, dim=-1)


def made(kind, model, places=3):
    """A prompt of each kind, and images as it takes them."""
    ids = IDS if model.config.model_type == "clip" else SIGLIP_IDS
    text = unit(model.get_text_features(input_ids=ids)).detach()
    embeddings = unit(model.get_image_features(pixel_values=pixels())).detach()
    words, eyes = TextTower(model, ids, places), VisionTower(model)
    if kind == "linear":
        return LinearPrompt(text, 10.0), embeddings
    if kind == "text":
        return TextPrompt(text, 10.0, words), embeddings
    if kind == "image":
        return VisualPrompt(text, 10.0, eyes, places), pixels()
    return UnifiedPrompt(text, 10.0, words, eyes, places), pixels()


def digest(model):
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in model.state_dict().values())).hexdigest()


def clouds(per_class=25, seed=0, dim=12, off=0.8):
    """Images in clouds around class centres, and text that points only roughly at them."""
    rng = np.random.default_rng(seed)
    centres = normalised(np.random.default_rng(9).normal(size=(4, dim)))
    labels = rng.permutation(np.repeat(np.arange(4), per_class))
    images = normalised(centres[labels] + 0.12 * rng.normal(size=(4 * per_class, dim)))
    text = normalised(centres + off * normalised(np.random.default_rng(8).normal(size=(4, dim))))
    return text, images, labels
