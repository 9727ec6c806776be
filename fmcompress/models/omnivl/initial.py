"""An OmniVL model that begins where a ViT and a BERT ended."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ...errors import CheckpointError, ConfigError, in_one_line
from .configuration import OmniVLConfig, OmniVLVisionConfig
from .modelling import OmniVLModel
from .visual_encoder import OmniVLVisualEncoder


@torch.no_grad()
def from_vit_(encoder: OmniVLVisualEncoder, vit: Any) -> None:
    """Overwrite a visual encoder by transformers' ViTModel: images give the ViT's hidden states, bit for bit.

    Videos then give what their frames do, each alone. Positions of another number of patches are interpolated.

    Raises ConfigError if the sizes of layers differ.
    """
    state = {name: tensor for name, tensor in vit.state_dict().items() if name.startswith(("layers.", "layernorm."))}
    own = dict(encoder.state_dict())
    for name, tensor in state.items():
        _check(name, own[name].shape if name in own else None, tensor)
    if encoder.config.num_hidden_layers != vit.config.num_hidden_layers:
        raise ConfigError(
            f"layers: expected {encoder.config.num_hidden_layers}, got a ViT of {vit.config.num_hidden_layers}."
        )
    embeddings, patches = vit.embeddings, encoder.patch_embeddings
    projection = embeddings.patch_embeddings.projection
    _check("patch_embeddings", patches.image_projection.weight.shape, projection.weight)
    encoder.load_state_dict(state, strict=False)
    patches.image_projection.load_state_dict(projection.state_dict())
    encoder.cls_token.copy_(embeddings.cls_token)
    encoder.position_embeddings.copy_(_as_many(embeddings.position_embeddings, encoder.position_embeddings.shape[1]))
    encoder.begin_videos_()


@torch.no_grad()
def from_bert_(model: OmniVLModel, bert: Any, *, class_token: int = 101) -> None:
    """Overwrite the three stacks of texts by transformers' BertModel: the text encoder then is the BERT.

    BERT's embedding of the first kind of token is added to that of each position, which BLIP's layers lack otherwise.
    Cross-attention, heads and projections keep what they have. Tokens that only the model knows, such as [ENC] and
    [DEC], get the embedding of [CLS].

    class_token  number of [CLS]; 101 in the vocabularies of BERT's authors

    Raises ConfigError if the sizes differ.
    """
    state = {f"encoder.{name}": tensor for name, tensor in bert.encoder.state_dict().items()}
    kinds = bert.embeddings.token_type_embeddings.weight[0]
    words = bert.embeddings.word_embeddings.weight
    positions = bert.embeddings.position_embeddings.weight + kinds
    for stack in (model.text_encoder, model.alignment_decoder, model.generation_decoder.bert):
        own = stack.state_dict()
        for name, tensor in state.items():
            _check(name, own[name].shape if name in own else None, tensor)
        if stack.config.num_hidden_layers != bert.config.num_hidden_layers:
            raise ConfigError(
                f"layers: expected {stack.config.num_hidden_layers}, got a BERT of {bert.config.num_hidden_layers}."
            )
        embeddings = stack.embeddings
        rows = embeddings.word_embeddings.weight
        if (
            len(rows) < len(words)
            or rows.shape[1] != words.shape[1]
            or len(positions) < len(embeddings.position_embeddings.weight)
        ):
            raise ConfigError(
                f"embeddings: expected at most {len(rows)} tokens of {rows.shape[1]} numbers, got {list(words.shape)}."
            )
        stack.load_state_dict(state, strict=False)
        rows[: len(words)] = words
        rows[len(words) :] = words[class_token]
        places = embeddings.position_embeddings.weight
        places.copy_(positions[: len(places)])
        embeddings.LayerNorm.load_state_dict(bert.embeddings.LayerNorm.state_dict())


def load_part(folder: str | Path, kind: str) -> Any:
    """A ViTModel ("vit") or BertModel ("bert") of a local folder. Raises CheckpointError if it is none."""
    import transformers

    name = {"vit": "ViTModel", "bert": "BertModel"}[kind]
    folder = Path(folder)
    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder. Give the folder of a {name}.")
    try:
        config = transformers.AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        if config.model_type != kind:
            raise CheckpointError(f"{folder}: expected a model of type {kind}, got {config.model_type}.")
        part, told = getattr(transformers, name).from_pretrained(
            folder, local_files_only=True, add_pooling_layer=False, output_loading_info=True, use_safetensors=True
        )
    except CheckpointError:
        raise
    except Exception as error:  # of a stranger's folder, in many classes
        raise CheckpointError(f"{folder}: does not load as {name} ({in_one_line(error)}).") from None
    lacking = sorted({*told["missing_keys"], *(one[0] for one in told["mismatched_keys"])})
    if lacking:  # transformers would draw them at random
        raise CheckpointError(
            f"{folder}: expected all tensors of a {name}; {len(lacking)} are missing or of another shape, such as "
            f"{lacking[0]}."
        )
    return part


def config_of_parts(vit: Any, bert: Any, *, vocabulary: int, **given: Any) -> OmniVLConfig:
    """A config of the sizes of a ViT and a BERT.

    vocabulary  tokens, of which the last two are [DEC] and [ENC]
    given       of OmniVLVisionConfig, such as num_frames, and projection_dim
    """
    projection = given.pop("projection_dim", 256)
    names = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "layer_norm_eps")
    vision = {
        name: getattr(vit.config, name) for name in (*names, "image_size", "patch_size", "qkv_bias", "hidden_act")
    }
    text = {name: getattr(bert.config, name) for name in (*names, "max_position_embeddings", "pad_token_id")}
    words = {"vocab_size": vocabulary, "sep_token_id": getattr(bert.config, "sep_token_id", None) or 102}
    return OmniVLConfig(
        vision_config=OmniVLVisionConfig(**{**vision, **given}).to_dict(),
        text_config={**text, **words, "bos_token_id": vocabulary - 2},
        projection_dim=projection,
        dec_token_id=vocabulary - 2,
        enc_token_id=vocabulary - 1,
    )


def _check(name: str, expected: torch.Size | None, tensor: Tensor) -> None:
    if expected is None or tuple(expected) != tuple(tensor.shape):
        raise ConfigError(f"{name}: expected {list(expected or ())} by the model's config, got {list(tensor.shape)}.")


def _as_many(positions: Tensor, wanted: int) -> Tensor:
    """Positions [1, 1 + patches, width] of a class token and a square of patches, for a square of others."""
    if positions.shape[1] == wanted:
        return positions
    side, other = round((positions.shape[1] - 1) ** 0.5), round((wanted - 1) ** 0.5)
    square = positions[:, 1:].unflatten(1, (side, side)).permute(0, 3, 1, 2)
    resized = nn.functional.interpolate(square, (other, other), mode="bicubic", align_corners=False)
    return torch.cat([positions[:, :1], resized.flatten(2).transpose(1, 2)], dim=1)
