"""Tiny OmniVL models and inputs for them."""

from typing import Any

import torch
from torch import Tensor

from fmcompress.models.omnivl import OmniVLConfig, OmniVLModel

PAD, END, BEGIN, ENC, DEC = 0, 1, 2, 3, 4
LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def tiny_config(vocabulary: int = 50, **vision: Any) -> OmniVLConfig:
    """Images of 28 x 28 pixels in 16 patches, videos of 8 frames in tubes of 2, texts of at most 16 tokens."""
    return OmniVLConfig(
        vision_config={**LAYERS, "image_size": 28, "patch_size": 7, "num_frames": 8, "tubelet_size": 2, **vision},
        text_config={
            **LAYERS,
            "vocab_size": vocabulary,
            "max_position_embeddings": 16,
            "sep_token_id": END,
            "pad_token_id": PAD,
            "bos_token_id": DEC,
        },
        projection_dim=16,
        enc_token_id=ENC,
        dec_token_id=DEC,
    )


def tiny_omnivl(seed: int = 0, *, config: OmniVLConfig | None = None, trained: bool = False) -> OmniVLModel:
    """A random model.

    trained  as after training: what begins at zero does not any more, and the kernel of videos is its own
    """
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = OmniVLModel(config or tiny_config()).eval()
        if trained:
            with torch.no_grad():
                for parameter in model.parameters():
                    parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def pixels(items: int, *frames: int, seed: int = 0) -> Tensor:
    """Images [items, 3, 28, 28], or videos where frames are given."""
    return torch.randn(items, *frames, 3, 28, 28, generator=torch.Generator().manual_seed(seed))


def texts(items: int, tokens: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Token ids and mask [items, tokens]; each text one token longer than the one before, until they are full."""
    ids = torch.randint(5, 50, (items, tokens), generator=torch.Generator().manual_seed(seed))
    ids[:, 0] = BEGIN
    for row in range(items):
        end = min(tokens - 1, 2 + row)
        ids[row, end], ids[row, end + 1 :] = END, PAD
    return ids, (ids != PAD).long()
