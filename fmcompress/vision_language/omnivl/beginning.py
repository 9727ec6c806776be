"""The model that a training begins with: new, of a ViT and a BERT, or one that was trained before."""

from collections.abc import Iterable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from ...errors import CheckpointError, ConfigError, in_one_line
from ...models.omnivl import (
    OmniVLConfig,
    OmniVLModel,
    OmniVLVisionConfig,
    config_of_parts,
    from_bert_,
    from_vit_,
    load_part,
)
from .inputs import OmniVLInputs, make_inputs
from .options import SIZES, TrainOptions

FRAMES, TUBELET = 8, 2  # of a video, and of a patch of it; the paper does not say of how many


def begin(options: TrainOptions, texts: Iterable[str], folder: Path) -> OmniVLModel:
    """A model as options want it; its config, tokenizer and image processor are written into the folder.

    texts  that a new tokenizer is made for

    Raises ConfigError for sizes that do not fit, CheckpointError if a part does not load.
    """
    if options.start is None:
        return _new(options, texts, folder)
    inputs, model = OmniVLInputs(options.start), load_model(Path(options.start))
    for part in (model.config, inputs.tokenizer, inputs.processor):
        part.save_pretrained(folder)
    return model


def load_model(folder: Path) -> OmniVLModel:
    """A dense OmniVL checkpoint in float32, to be trained. Raises CheckpointError if a tensor is missing."""
    try:
        loaded: Any = OmniVLModel.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32, output_loading_info=True, use_safetensors=True
        )
        model, found = loaded
    except Exception as error:  # of a stranger's folder, in many classes
        raise CheckpointError(
            f"{folder}: does not load as a dense OmniVL model ({in_one_line(error)}). A packed one is made dense by "
            "fmcompress unpack."
        ) from None
    wrong = sorted({*found["missing_keys"], *found["unexpected_keys"], *(one[0] for one in found["mismatched_keys"])})
    if wrong:
        raise CheckpointError(
            f"{folder}: expected the tensors of a dense OmniVL model; {len(wrong)} are missing or others, such as "
            f"{wrong[0]}. Packed ones are made dense by fmcompress unpack."
        )
    return model  # type: ignore[no-any-return]


def new_model(config: OmniVLConfig, seed: int = 0) -> OmniVLModel:
    """A random model, drawn by the seed alone."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return OmniVLModel(config)


def _new(options: TrainOptions, texts: Iterable[str], folder: Path) -> OmniVLModel:
    size = SIZES[options.size]
    vit = None if options.vision_init is None else load_part(options.vision_init, "vit")
    bert = None if options.text_init is None else load_part(options.text_init, "bert")
    known = {"image_size": size.image_size, **({} if vit is None else {"image_size": vit.config.image_size})}
    tokenizer = make_inputs(
        folder, texts, image_size={**known, **options.vision}["image_size"],
        vocabulary=options.vocabulary or size.vocabulary, bert=options.text_init, vit=options.vision_init,
    )  # fmt: skip
    config = _config(options, tokenizer, vit, bert)
    try:
        model = new_model(config, options.seed)
    except (ValueError, KeyError) as error:  # such as heads that do not divide the width
        raise ConfigError(f"sizes of the model: {in_one_line(error)}") from None
    if vit is not None:
        from_vit_(model.visual_encoder, vit)
    if bert is not None:
        from_bert_(model, bert, class_token=tokenizer.cls_token_id)
    config.save_pretrained(folder)
    return model


def _config(options: TrainOptions, tokenizer: Any, vit: Any, bert: Any) -> OmniVLConfig:
    from transformers import BertConfig, BlipTextConfig, ViTConfig

    for given, kind in ((options.vision, OmniVLVisionConfig), (options.text, BlipTextConfig)):
        unknown = sorted(set(given) - set(kind().to_dict()))
        if unknown:
            raise ConfigError(
                f"{'vision' if given is options.vision else 'text'}: {unknown[0]} is no field of {kind.__name__}."
            )
    size = SIZES[options.size]
    part = vit or bert
    layers = size.layers if part is None else {name: getattr(part.config, name) for name in size.layers}
    try:
        of_vit = vit.config if vit else ViTConfig(**layers, image_size=size.image_size, patch_size=size.patch_size)
        own = {name: value for name, value in options.text.items() if name in layers}
        of_bert = bert.config if bert else BertConfig(**{**layers, **own}, max_position_embeddings=size.longest)
        of_bert.sep_token_id, of_bert.pad_token_id = tokenizer.sep_token_id, tokenizer.pad_token_id
        spread = {} if vit or bert else {"initializer_range": size.initializer_range}
        given = {"num_frames": options.frames or FRAMES, "tubelet_size": TUBELET, **spread, **options.vision}
        config = config_of_parts(
            SimpleNamespace(config=of_vit), SimpleNamespace(config=of_bert), vocabulary=len(tokenizer),
            projection_dim=options.projection_dim or size.projection_dim, **given,
        )  # fmt: skip
        facts = config.to_dict()
        return OmniVLConfig(**{**facts, **spread, "text_config": {**facts["text_config"], **spread, **options.text}})
    except (ValueError, TypeError) as error:
        raise ConfigError(f"sizes of the model: {in_one_line(error)}") from None
    except Exception as error:  # of transformers' strict configs
        raise ConfigError(f"sizes of the model: {in_one_line(error)}") from None
