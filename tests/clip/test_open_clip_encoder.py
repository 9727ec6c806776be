"""A tiny random model of open_clip, in a folder as open_clip writes it: against open_clip itself."""

import json
import sys

import numpy as np
import pytest
import tiny_models
import torch

from fmcompress.clip import load_encoder
from fmcompress.errors import CheckpointError, ConfigError

CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 32, "patch_size": 8, "head_width": 16},
    "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 2},
}
TEXTS = ["a photo of a cat", "dog", "word " * 30]


@pytest.fixture(scope="module")
def open_clip():
    return pytest.importorskip("open_clip", reason="open_clip_torch is not installed; it needs torchvision")


@pytest.fixture(scope="module")
def folder(open_clip, tmp_path_factory):
    from safetensors.torch import save_file

    folder = tmp_path_factory.mktemp("open_clip")
    torch.manual_seed(0)
    model = open_clip.CLIP(**CONFIG)
    tensors = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, folder / "open_clip_model.safetensors")
    facts = {"model_cfg": CONFIG, "preprocess_cfg": {"mean": [0.5] * 3, "std": [0.5] * 3}}
    (folder / "open_clip_config.json").write_text(json.dumps(facts))
    return folder


def test_embeddings_are_those_of_open_clip(open_clip, folder, tmp_path):
    from PIL import Image

    encoder = load_encoder(folder, device="cpu", batch_size=2)
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{folder}")
    model.eval()
    paths = tiny_models.make_images(tmp_path / "images", 5)
    with torch.no_grad():
        tokens = open_clip.get_tokenizer(f"local-dir:{folder}")(TEXTS)
        texts = model.encode_text(tokens, normalize=True).numpy()
        pixels = torch.stack([transform(Image.open(path)) for path in paths])
        images = model.encode_image(pixels, normalize=True).numpy()
    assert abs(encoder.encode_text(TEXTS) - texts).max() < 1e-6
    assert abs(encoder.encode_images(paths) - images).max() < 1e-6
    alone = np.concatenate([encoder.encode_text([text]) for text in TEXTS])
    assert abs(alone - texts).max() < 1e-6
    assert encoder.logit_scale == pytest.approx(1 / 0.07)
    assert "2 of 6 texts are longer" in encoder.notes[0]
    assert encoder.encode_text([]).shape == (0, 16)


def test_folders_that_do_not_load_are_told(open_clip, folder, tmp_path):
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(CheckpointError, match="no config of open_clip"):
        load_encoder(tmp_path)
    facts = json.loads((folder / "open_clip_config.json").read_text())
    (tmp_path / "open_clip_config.json").write_text(json.dumps(facts))
    with pytest.raises(CheckpointError, match=r"holds no \.safetensors"):
        load_encoder(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"damaged")
    with pytest.raises(CheckpointError, match="open_clip does not load it"):
        load_encoder(tmp_path)
    facts["model_cfg"]["text_cfg"]["hf_model_name"] = "someone/else"
    (tmp_path / "open_clip_config.json").write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="its text tower is someone/else of a hub"):
        load_encoder(tmp_path)


def test_without_open_clip_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "open_clip", None)
    (tmp_path / "open_clip_config.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"pip install 'fmcompress\[open-clip\]'"):
        load_encoder(tmp_path)
