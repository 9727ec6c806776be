"""Tiny random detectors and captioners, as folders that transformers could have written."""

import sys
from pathlib import Path
from typing import Any

import torch

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "clip"))

import tiny_models  # of two towers; tests take it from here

LETTERS = tiny_models.LETTERS

SIDE = {"height": 32, "width": 32}
TINY = {"hidden_size": 16, "intermediate_size": 24, "num_hidden_layers": 2, "num_attention_heads": 2}
VISION = {**TINY, "image_size": 32, "patch_size": 8}
LABELS = {"id2label": {0: "cat", 1: "dog", 2: "tree", 3: "house"}}
EDGES = {"shortest_edge": 32, "longest_edge": 64}
RESNET = {"embedding_size": 8, "hidden_sizes": [8, 8, 8, 8], "depths": [1, 1, 1, 1], "layer_type": "basic"}
HEADS = {"encoder_attention_heads": 2, "decoder_attention_heads": 2, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16}
LAYERS = {"encoder_layers": 1, "decoder_layers": 1, "d_model": 16, **HEADS}


def yolos(folder: Path) -> Any:
    import transformers as t

    t.YolosImageProcessorPil(size=EDGES).save_pretrained(folder)
    config = t.YolosConfig(**{**VISION, "image_size": [32, 32]}, num_detection_tokens=6, **LABELS)
    return t.YolosForObjectDetection(config)


def detr(folder: Path) -> Any:
    import transformers as t

    t.DetrImageProcessorPil(size=EDGES).save_pretrained(folder)
    backbone = t.ResNetConfig(**RESNET, out_features=["stage4"])
    return t.DetrForObjectDetection(t.DetrConfig(backbone_config=backbone, num_queries=6, **LAYERS, **LABELS))


def rt_detr(folder: Path) -> Any:
    import transformers as t

    t.RTDetrImageProcessorPil(size={"height": 64, "width": 64}).save_pretrained(folder)
    backbone = t.RTDetrResNetConfig(**RESNET, out_features=["stage2", "stage3", "stage4"])
    return t.RTDetrForObjectDetection(
        t.RTDetrConfig(
            backbone_config=backbone, encoder_in_channels=[8, 8, 8], encoder_hidden_dim=16, num_queries=6,
            decoder_in_channels=[16, 16, 16], num_denoising=0, **LAYERS, **LABELS,
        )
    )  # fmt: skip


def owlvit(folder: Path) -> Any:
    import transformers as t

    ids = _clip_tokenizer(folder)
    t.OwlViTImageProcessorPil(size=SIDE, crop_size=SIDE).save_pretrained(folder)
    text = {**TINY, "max_position_embeddings": 16, **ids, "pad_token_id": 0}
    return t.OwlViTForObjectDetection(t.OwlViTConfig(text_config=text, vision_config=VISION, projection_dim=16))


def blip(folder: Path) -> Any:
    import transformers as t

    words = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]", "a", "dog", "cat", "in", "the", "grass")
    (folder / "vocab.txt").write_text("\n".join(words))
    tokenizer = t.BertTokenizer.from_pretrained(folder)
    tokenizer.add_special_tokens({"additional_special_tokens": ["[DEC]", "[ENC]"]})
    t.BlipProcessor(t.BlipImageProcessorPil(size=SIDE), tokenizer).save_pretrained(folder)
    ids = {"bos_token_id": 5, "eos_token_id": 3, "sep_token_id": 3, "pad_token_id": 0}
    text = {**TINY, "vocab_size": len(words), "max_position_embeddings": 24, "projection_dim": 8, **ids}
    vision = {**VISION, "projection_dim": 8}
    config = t.BlipConfig(text_config=text, vision_config=vision, projection_dim=8, image_text_hidden_size=8)
    return t.BlipForConditionalGeneration(config)


def vit_gpt2(folder: Path) -> Any:
    import transformers as t

    ids = _clip_tokenizer(folder)
    t.ViTImageProcessorPil(size=SIDE).save_pretrained(folder)
    gpt2 = t.GPT2Config(n_embd=16, n_layer=1, n_head=2, n_positions=24, **ids)
    config = t.VisionEncoderDecoderConfig.from_encoder_decoder_configs(t.ViTConfig(**VISION), gpt2)
    config.decoder_start_token_id, config.pad_token_id = ids["bos_token_id"], ids["pad_token_id"]
    return t.VisionEncoderDecoderModel(config=config)


CLOSED, CAPTIONERS = (yolos, detr, rt_detr), (blip, vit_gpt2)


def save_vision(make: Any, folder: Path, seed: int = 0) -> Path:
    """A random model whose outputs differ between images."""
    torch.manual_seed(seed)
    folder.mkdir(parents=True, exist_ok=True)
    model = make(folder)
    for parameter in model.parameters():
        parameter.data += (0.2 if parameter.dim() > 1 else 0.02) * torch.randn_like(parameter)
    model.save_pretrained(folder)
    return folder


def _clip_tokenizer(folder: Path) -> dict[str, int]:
    """A token a letter; the numbers of the special ones, as a config has them."""
    import transformers as t

    names = [*(letter + end for letter in LETTERS for end in ("", "</w>")), "<|startoftext|>", "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(names)}
    t.CLIPTokenizer(vocab=vocab, merges=[], model_max_length=16).save_pretrained(folder)
    last = len(vocab) - 1
    return {"vocab_size": len(vocab), "bos_token_id": last - 1, "eos_token_id": last, "pad_token_id": last}
