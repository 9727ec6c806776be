"""A tiny random model of each family of two towers, with a tokenizer and an image processor of its own kind."""

import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

LETTERS = string.ascii_letters + string.digits + string.punctuation
TEXT = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {**TEXT, "image_size": 32, "patch_size": 8}
IDS = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
SIDE = {"height": 32, "width": 32}


def clip(folder: Path, tokens: int | None = None) -> Any:
    import transformers as t

    special = ["<|startoftext|>", "<|endoftext|>"]
    letters = {letter + end: 0 for letter in LETTERS for end in ("", "</w>")}
    vocab = {token: number for number, token in enumerate([*letters, "ca", "cat</w>", *special])}
    t.CLIPTokenizer(vocab=vocab, merges=[("c", "a"), ("ca", "t</w>")]).save_pretrained(folder)
    t.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIDE).save_pretrained(folder)
    count = tokens or len(vocab)
    ids = {"bos_token_id": count - 2, "eos_token_id": count - 1, "pad_token_id": count - 1}
    text = {**TEXT, "vocab_size": count, "max_position_embeddings": 24, **ids}
    return t.CLIPModel(t.CLIPConfig(text_config=text, vision_config=VISION, projection_dim=16))


def siglip(folder: Path) -> Any:
    import transformers as t

    _letters_tokenizer(folder, ["<pad>", "</s>"], "$A </s>")
    t.SiglipImageProcessorPil(size=SIDE).save_pretrained(folder)
    text = {**TEXT, "vocab_size": len(LETTERS) + 4, "max_position_embeddings": 64, **IDS}
    return t.SiglipModel(t.SiglipConfig(text_config=text, vision_config=VISION))


def siglip2(folder: Path) -> Any:
    import transformers as t

    special = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>"]
    vocab = {token: number for number, token in enumerate([*special, "▁", *LETTERS])}
    t.Siglip2Tokenizer(vocab=vocab, padding_side="right").save_pretrained(folder)
    t.Siglip2ImageProcessorPil(patch_size=8, max_num_patches=16).save_pretrained(folder)
    text = {**TEXT, "vocab_size": len(vocab), "max_position_embeddings": 64, **IDS}
    vision = {**TEXT, "patch_size": 8, "num_patches": 16}
    return t.Siglip2Model(t.Siglip2Config(text_config=text, vision_config=vision))


def align(folder: Path) -> Any:
    import transformers as t

    _letters_tokenizer(folder, ["[PAD]", "[UNK]", "[CLS]", "[SEP]"], "[CLS] $A [SEP]")
    t.EfficientNetImageProcessorPil(size=SIDE).save_pretrained(folder)
    text = {**TEXT, "vocab_size": len(LETTERS) + 6, "max_position_embeddings": 40}
    stages = {"kernel_sizes": [3, 3], "in_channels": [32, 16], "out_channels": [16, 16], "depthwise_padding": []}
    stages |= {"strides": [1, 2], "num_block_repeats": [1, 1], "expand_ratios": [1, 2], "hidden_dim": 16}
    vision = {"image_size": 32, "width_coefficient": 1.0, "depth_coefficient": 1.0, **stages}
    config = t.AlignConfig(text_config=text, vision_config=vision, projection_dim=16, temperature_init_value=0.05)
    return t.AlignModel(config)


def altclip(folder: Path) -> Any:
    import transformers as t

    _letters_tokenizer(folder, ["<s>", "<pad>", "</s>", "<unk>"], "<s> $A </s>", pad="<pad>")
    t.CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIDE).save_pretrained(folder)
    text = {**TEXT, "vocab_size": len(LETTERS) + 6, "max_position_embeddings": 40, "project_dim": 32}
    config = t.AltCLIPConfig(text_config={**text, "pad_token_id": 1}, vision_config=VISION, projection_dim=16)
    return t.AltCLIPModel(config)


FAMILIES: dict[str, Callable[[Path], Any]] = {f.__name__: f for f in (clip, siglip, siglip2, align, altclip)}


def save(family: str, folder: Path, seed: int = 0, **options: Any) -> Path:
    """A random model of that family, whose every tensor matters."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    model = FAMILIES[family](folder, **options)
    for name, parameter in model.named_parameters():
        if parameter.dim() and not name.startswith(("logit", "temperature")):
            size = 0.2 if parameter.dim() > 1 else 0.02
            parameter.data += size * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def make_images(folder: Path, count: int = 6, seed: int = 0) -> list[Path]:
    """Noise of several sizes and colours, as PNG files; their paths."""
    from PIL import Image

    folder.mkdir(parents=True, exist_ok=True)
    generator, paths = np.random.default_rng(seed), []
    for number in range(count):
        shape = (int(generator.integers(33, 60)), int(generator.integers(33, 60)), 3)
        pixels = generator.integers(0, 256, shape) * generator.random(3)
        paths.append(folder / f"{number}.png")
        Image.fromarray(pixels.astype(np.uint8)).save(paths[-1])
    return paths


def _letters_tokenizer(folder: Path, special: list[str], template: str, pad: str | None = None) -> None:
    """A token a letter, between the special ones that the template names."""
    from tokenizers import Regex, Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    unknown = next((token for token in special if "unk" in token.lower()), special[-1])
    vocab = {token: number for number, token in enumerate([*special, " ", *LETTERS])}
    tokenizer = Tokenizer(models.WordLevel(vocab, unk_token=unknown))
    tokenizer.pre_tokenizer = pre_tokenizers.Split(Regex("."), "isolated")
    pairs = [(token, vocab[token]) for token in special if token in template]
    tokenizer.post_processor = processors.TemplateProcessing(single=template, special_tokens=pairs)
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=pad or special[0], unk_token=unknown)
    fast.save_pretrained(folder)
