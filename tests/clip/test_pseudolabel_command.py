"""fmcompress clip pseudolabel: from images on disk to a prompt, embeddings of classes, a picture and numbers."""

import csv
import itertools
import json

import numpy as np
import pytest
import tiny_models
import torch
from helpers import run_cli
from prompt_cases import clouds

from fmcompress.clip import EmbeddingSet, load_encoder
from fmcompress.clip.files import read_embeddings, write_embeddings
from fmcompress.clip.inputs import Inputs
from fmcompress.clip.prompt_files import load_prompt
from fmcompress.clip.prompt_inputs import class_tokens, make_prompt, read_pixels
from fmcompress.clip.pseudolabel_config import PseudolabelConfig
from fmcompress.clip.pseudolabel_run import tune
from fmcompress.errors import ConfigError

NAMES = ("cat", "dog", "owl")
SHORT = ["--epochs", "3", "--warmup-epochs", "1", "--iterations", "2", "--device", "cpu"]
QUICK = PseudolabelConfig(epochs=3, warmup_epochs=1, iterations=2)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """Folders of two models and of images by class, a list of classes, and a CSV of who is to be measured on."""
    folder = tmp_path_factory.mktemp("pseudolabel")
    for family in tiny_models.FAMILIES:
        tiny_models.save(family, folder / family)
    for number, name in enumerate(NAMES):
        tiny_models.make_images(folder / "images" / name, 8, seed=number)
    (folder / "classes.txt").write_text("\n".join(NAMES))
    rows = [f"{name}/{i}.png,{name},{'test' if i > 5 else 'train'}" for name in NAMES for i in range(8)]
    (folder / "labels.csv").write_text("\n".join(["name,label,split", *rows]))
    return folder


def tuned(place, family, modality, config=QUICK, **options):
    inputs = Inputs(place / family, device="cpu")
    text = inputs.text(None, place / "classes.txt")
    return tune(inputs, place / "images", text, modality, config, labels=place / "labels.csv", **options), inputs


@pytest.mark.parametrize(
    ("family", "modality"),
    [
        *itertools.product(("clip", "siglip"), ("text", "image", "multimodal", "linear")),
        ("siglip2", "text"), ("siglip2", "linear"), ("altclip", "linear"), ("align", "linear"),
    ],
)  # fmt: skip
def test_a_model_on_disk_is_tuned_and_its_zero_shot_part_is_the_encoders(family, modality, place):
    found, inputs = tuned(place, family, modality)
    model, text = found.tuned.model, found.text
    expected = found.images.vectors @ text.vectors.T * inputs.encoder.logit_scale
    given = torch.as_tensor(found.data)
    assert np.allclose(model.zero_shot(given, torch.arange(3)).detach().numpy(), expected, atol=1e-4)
    assert (len(found.parts.unlabelled), len(found.parts.test), len(found.tuned.history)) == (18, 6, 2)
    assert 0 <= found.as_dict()["tuned"]["accuracy"] <= 1
    json.dumps(found.as_dict(), allow_nan=False)
    said = found.predictions()
    assert (said.predicted[:, 0] == found.tuned.predict(found.data)).all()
    assert np.abs(said.cosines).max() <= 1 + 1e-5


def test_the_command_writes_a_prompt_embeddings_predictions_and_a_picture(place, tmp_path):
    files = {name: tmp_path / name for name in ("p.safetensors", "t.safetensors", "said.csv", "curve.png")}
    done = run_cli(
        "clip", "pseudolabel", place / "images", "--model", place / "clip", "--classes", place / "classes.txt",
        "--labels", place / "labels.csv", "--paradigm", "ssl", "--shots", 2, *SHORT, "--json", "-o",
        files["p.safetensors"], "--text-output", files["t.safetensors"], "--predictions", files["said.csv"],
        "--plot", files["curve.png"],
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    facts = json.loads(done.stdout)
    assert [one["k"] for one in facts["history"]] == [2, 4]
    assert (facts["unlabelled"], facts["labelled"], facts["test"], facts["lr"]) == (12, 6, 6, 0.1)
    assert files["curve.png"].read_bytes()[:4] == b"\x89PNG"
    classes, encoder = read_embeddings(files["t.safetensors"]), load_encoder(place / "clip", device="cpu")
    assert classes.names == NAMES
    prompt = make_prompt("text", Inputs(place / "clip", device="cpu").text(None, place / "classes.txt"), encoder)
    assert load_prompt(files["p.safetensors"], prompt, NAMES, encoder.identity) == NAMES
    assert np.allclose(prompt.text_features(torch.arange(3)).detach(), classes.vectors, atol=1e-6)
    said = list(csv.DictReader(files["said.csv"].open()))
    right = [row["predicted"] == row["label"] for row in said if row["split"] == "test"]
    assert np.mean(right) == facts["tuned"]["accuracy"]
    again = run_cli(
        "clip", "zeroshot", place / "images", "--model", place / "clip", "--text", files["t.safetensors"],
        "--labels", place / "labels.csv", "--device", "cpu", "--json",
    )  # fmt: skip
    assert again.returncode == 0, again.stderr


def test_matrices_suffice_for_a_linear_prompt(tmp_path):
    text, images, labels = clouds()
    names = tuple("abcd")
    splits = tuple("test" if row % 4 == 0 else "train" for row in range(len(images)))
    write_embeddings(tmp_path / "i.safetensors", EmbeddingSet(images, labels=labels, classes=names, splits=splits))
    write_embeddings(tmp_path / "t.safetensors", EmbeddingSet(text, names=names))
    done = run_cli(
        "clip", "pseudolabel", tmp_path / "i.safetensors", "--text", tmp_path / "t.safetensors", "--modality",
        "linear", "--paradigm", "trzsl", "--split-seed", 0, *SHORT, "-o", tmp_path / "p.safetensors",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "harmonic mean" in done.stdout
    assert "zero-shot" in done.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["-o", "p.npy"], "ends in .safetensors"),
        (["-o", "p.safetensors", "--modality", "image", "--text-output", "t.safetensors"], "changes images, too"),
        (["-o", "p.safetensors", "--plot", "p.txt"], "ends in .png, .svg or .pdf"),
        (["-o", "p.safetensors", "--epochs", "2", "--warmup-epochs", "5"], "warmup_epochs: expected fewer than 2"),
        (["-o", "p.safetensors"], "--classes or --text: missing"),
    ],
)
def test_bad_options_are_told_before_any_work(options, told, tmp_path):
    done = run_cli("clip", "pseudolabel", tmp_path, *[tmp_path / o if "." in o else o for o in options])
    assert done.returncode == 2
    assert told in done.stderr.replace("\n", " ")


def test_images_must_be_there_for_prompts_among_their_patches(place, tmp_path):
    with pytest.raises(ConfigError, match="expected a folder of images"):
        tune(Inputs(), tmp_path / "i.safetensors", EmbeddingSet(np.eye(3)), "image", QUICK)


def test_a_prompt_of_words_needs_their_tower_and_the_same_model(place):
    text = EmbeddingSet(np.eye(3, 16), names=NAMES, identity={"model": "other"})
    with pytest.raises(ConfigError, match="needs a model of transformers"):
        make_prompt("text", text)
    encoder = load_encoder(place / "clip", device="cpu")
    with pytest.raises(ConfigError, match="expected embeddings of the model"):
        make_prompt("text", text, encoder)
    for family, modality in (("siglip2", "image"), ("altclip", "text"), ("align", "image")):
        inputs = Inputs(place / family, device="cpu")
        with pytest.raises(ConfigError, match=f"got '{family}'. Use a linear prompt"):
            make_prompt(modality, inputs.text(None, place / "classes.txt"), inputs.encoder)
    with pytest.raises(ConfigError, match="modality: expected one of"):
        make_prompt("sound", text)


def test_pixels_are_those_that_the_encoder_embeds(place):
    encoder = load_encoder(place / "clip", device="cpu", batch_size=3)
    paths = sorted((place / "images" / "cat").iterdir())
    told = []
    pixels = read_pixels(encoder, paths, lambda done, total: told.append((done, total)))
    assert pixels.shape == (8, 3, 32, 32)
    assert told == [(3, 8), (6, 8), (8, 8)]
    features = torch.nn.functional.normalize(
        encoder.model.get_image_features(pixel_values=pixels).pooler_output, dim=-1
    )
    assert np.allclose(features.detach(), encoder.encode_images(paths), atol=1e-5)


def test_names_are_read_as_the_encoder_reads_its_texts(place):
    for family in ("clip", "siglip"):
        encoder = load_encoder(place / family, device="cpu")
        ids = class_tokens(encoder, ("cat", "Big_Dog"))
        expected = encoder.encode_text(["cat", "Big Dog"])
        features = torch.nn.functional.normalize(encoder.model.get_text_features(input_ids=ids).pooler_output, dim=-1)
        assert np.allclose(features.detach(), expected, atol=1e-5)
