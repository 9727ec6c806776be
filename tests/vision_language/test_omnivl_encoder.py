"""OmniVL as an encoder of fmcompress.clip: its embeddings, and clip's commands with it."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import invoke
from omnivl_folder import CAPTIONS, make_media, save_model

from fmcompress.clip import load_encoder
from fmcompress.vision_language.omnivl.inputs import OmniVLInputs


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("encoder")
    save_model(folder / "model")
    make_media(folder / "data")
    (folder / "classes.txt").write_text("red\ngreen\n")
    return folder


def test_embeddings_are_the_models(home: Path) -> None:
    encoder, inputs = load_encoder(home / "model", batch_size=4), OmniVLInputs(home / "model")
    model = encoder.model  # type: ignore[attr-defined]
    texts = [*CAPTIONS, "a text that is longer than the sixteen tokens " * 3]
    paths = sorted((home / "data").glob("*.png"))
    with torch.no_grad():
        text = model.get_text_features(*inputs.tokens(texts)).numpy()
        images = model.get_image_features(inputs.pixels(paths)).numpy()
    np.testing.assert_allclose(encoder.encode_text(texts), text, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_images(paths), images, atol=1e-5)
    assert encoder.dim == 16
    assert encoder.logit_scale == pytest.approx(math.exp(float(model.logit_scale)))
    assert encoder.logit_scale == pytest.approx(1 / float(model.temperature))
    assert encoder.identity["model"] == "omnivl"


def test_commands_of_clip(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    images, model = home / "data", ("--model", home / "model")
    found = invoke(capsys, "clip", "zeroshot", images, "--classes", home / "classes.txt", *model, "--json")
    assert found.code == 0, found.stderr
    assert json.loads(found.stdout)["rows"] == 18
    made = invoke(capsys, "clip", "embed", home / "model", images, "--out", tmp_path / "images.safetensors")
    assert made.code == 0, made.stderr
    pruned = ("--calibration", home / "data" / "videos.jsonl", "--sparsity", 0.5, "--format", "packed")
    assert invoke(capsys, "prune", home / "model", tmp_path / "packed", *pruned).code == 0
    beside = invoke(
        capsys, "clip", "compare", home / "model", tmp_path / "packed", "--images", images,
        "--classes", home / "classes.txt", "--json",
    )  # fmt: skip
    assert beside.code == 0, beside.stderr
