"""fmcompress clip describe: over files of embeddings, over images with a model, and with a language model."""

import json

import numpy as np
import pytest
import tiny_models
from helpers import invoke

from fmcompress.clip import EmbeddingSet, normalised
from fmcompress.clip.files import write_embeddings
from fmcompress.clip.waffle import Control

CLASSES = ("hen", "snowy_owl", "goose")
BIRDS = {"goose": ["a long neck"], "hen": ["a red comb", "wings"], "snowy_owl": ["white feathers"], "cow": ["horns"]}


@pytest.fixture
def home(tmp_path):
    (tmp_path / "birds.json").write_text(json.dumps(BIRDS))
    rng = np.random.default_rng(0)
    vectors = normalised(rng.standard_normal((30, 16))).astype(np.float32)
    names = tuple(f"{n}.png" for n in range(30))
    found = EmbeddingSet(
        vectors, names, np.arange(30) % 3, CLASSES, np.arange(30) % 2, ("day", "night"), identity={"model": "x"}
    )
    write_embeddings(tmp_path / "images.safetensors", found)
    return tmp_path


def describe(capsys, home, *args, code=0):
    outcome = invoke(capsys, "clip", "describe", *args)
    assert outcome.code == code, outcome.stderr
    return outcome


def embed(home, identity="x"):
    """What a model would make of the prompts that were written."""
    texts = json.loads((home / "prompts.json").read_text())
    vectors = normalised(np.random.default_rng(1).standard_normal((len(texts), 16))).astype(np.float32)
    write_embeddings(home / "text.safetensors", EmbeddingSet(vectors, tuple(texts), identity={"model": identity}))
    return dict(zip(texts, vectors, strict=True))


def test_with_embeddings_alone(home, capsys):
    base = (home / "images.safetensors", "--descriptors", home / "birds.json", "--seeds", 3)
    describe(capsys, home, *base, "--out-prompts", home / "prompts.json")
    known = embed(home)
    assert "a photo of a snowy owl." in known
    assert "snowy owl, which has white feathers" in known
    assert not any(text.startswith("cow") for text in known)  # the images' classes
    outcome = describe(
        capsys, home, *base, "--text", home / "text.safetensors", "--json", "--explain", 4, "--plot", home / "p.svg"
    )
    told = json.loads(outcome.stdout)
    rows = np.random.default_rng(0)
    vectors = normalised(rng_rows(rows))
    weights = np.stack([(known["hen, which is a red comb"] + known["hen, which has wings"]) / 2,
                        known["snowy owl, which has white feathers"], known["goose, which is a long neck"]])  # fmt: skip
    expected = (vectors @ weights.T).argmax(1)
    assert told["predicted"] == [CLASSES[number] for number in expected]
    assert told["report"]["described"] == pytest.approx((expected == np.arange(30) % 3).mean())
    control = told["report"]["controls"][0]
    assert (control["kind"], len(control["accuracies"])) == ("waffle", 3)
    assert control["sd"] == Control("waffle", tuple(control["accuracies"])).sd
    assert set(told["groups"]) == {"names", "descriptors"}
    assert len({one["image"] for one in told["explanations"]}) == 4
    assert {one["kind"] for one in told["explanations"]} <= {"pred", "true"}
    assert "classes with descriptors are not among the classes" in told["notes"][0]
    assert (home / "p.svg").exists()
    shown = describe(capsys, home, *base, "--text", home / "text.safetensors", "--explain", 2).stdout
    assert "over 3 seeds; the descriptors are " in shown
    assert "I saw a" in shown


def rng_rows(rng):
    return rng.standard_normal((30, 16)).astype(np.float32)


def test_a_control_whose_texts_are_not_there_is_told(home, capsys):
    base = (home / "images.safetensors", "--descriptors", home / "birds.json", "--text", home / "text.safetensors")
    (home / "prompts.json").write_text(json.dumps([
        *(f"a photo of a {name}." for name in ("hen", "snowy owl", "goose")), "hen, which is a red comb",
        "hen, which has wings", "snowy owl, which has white feathers", "goose, which is a long neck"]))  # fmt: skip
    embed(home)
    told = json.loads(describe(capsys, home, *base, "--json").stdout)
    assert told["report"]["controls"] == []
    assert any("of its texts are not in" in note and "control waffle was not run" in note for note in told["notes"])
    (home / "prompts.json").write_text('["hen", "goose"]')
    embed(home)
    assert (
        "4 of 4 texts are not in it, such as 'hen, which is a red comb'" in describe(capsys, home, *base, code=2).stderr
    )
    describe(capsys, home, *base[:3], "--out-prompts", home / "prompts.json", "--force")
    embed(home, "another")
    assert "expected embeddings of the model that the images are of" in describe(capsys, home, *base, code=2).stderr


def test_with_a_model_and_a_language_model(tmp_path, capsys):
    model = tiny_models.save("clip", tmp_path / "model")
    for number, name in enumerate(CLASSES):
        tiny_models.make_images(tmp_path / "images" / name, 2, seed=number)
    (tmp_path / "birds.json").write_text(json.dumps(BIRDS))
    prompts = ("--descriptors", tmp_path / "birds.json", "--out-prompts", tmp_path / "p.json", "--seeds", 1)
    describe(capsys, tmp_path, tmp_path / "images", *prompts)  # without a model
    texts = json.loads((tmp_path / "p.json").read_text())
    embedding = ("clip", "embed", model, tmp_path / "p.json", "--template", "{}", "--out", tmp_path / "t.safetensors")
    assert invoke(capsys, *embedding, "--device", "cpu").code == 0
    base = (tmp_path / "images", "--model", model, "--device", "cpu", "--cache", tmp_path / "cache", "--seeds", 1)
    answers = tmp_path / "answers.jsonl"
    answers.write_text("")
    asked = (*base, "--language-model", answers, "--out-descriptors", tmp_path / "d.json")
    assert "answers 0 of 3 prompts" in describe(capsys, tmp_path, *asked, code=2).stderr
    missing = [json.loads(line) for line in (tmp_path / "answers.missing.jsonl").read_text().splitlines()]
    for line in missing:
        line["completions"] = ["- wings\n- a beak\nThat is all I know."]
    answers.write_text("".join(json.dumps(line) + "\n" for line in missing))
    outcome = describe(capsys, tmp_path, *asked, "--json", "--explain", 1)
    assert "3 lines of the language model were no descriptors" in outcome.stderr
    assert json.loads((tmp_path / "d.json").read_text()) == {name: ["wings", "a beak"] for name in sorted(CLASSES)}
    told = json.loads(outcome.stdout)
    assert told["classes"] == sorted(CLASSES)
    assert told["report"]["rows"] == 6
    again = describe(capsys, tmp_path, *base, "--descriptors", tmp_path / "d.json", "--json", "--explain", 1)
    birds = (*base, "--descriptors", tmp_path / "birds.json", "--json")
    from_file = json.loads(describe(capsys, tmp_path, *birds, "--text", tmp_path / "t.safetensors").stdout)
    by_model = json.loads(describe(capsys, tmp_path, *birds).stdout)
    assert from_file["report"] == by_model["report"]
    assert len(from_file["report"]["controls"]) == 1
    assert len(texts) == len(set(texts)) <= 3 + 4 + 3 * 30
    assert {**json.loads(again.stdout), "notes": told["notes"]} == told  # texts that are cut are told once


def test_wrong_input(home, capsys):
    images, birds = home / "images.safetensors", home / "birds.json"
    for args, told in (
        ((), "expected one of them"),
        (("--descriptors", birds, "--language-model", "x"), "expected one of them"),
        (("--descriptors", birds), "--model: missing"),
        (("--descriptors", birds, "--out-descriptors", home / "d.json"), "goes with --language-model"),
        (("--language-model", home / "none"), "expected a folder"),
        (("--descriptors", birds, "--agg", "median"), "agg: expected one of mean, max, sum"),
        (("--descriptors", birds, "--plot", home / "p.bmp"), "ends in .png"),
        (("--descriptors", birds, "--text", images), "texts are not in it"),
        (("--descriptors", birds, "--out-prompts", home / "p.txt"), "ends in .json"),
        (("--descriptors", birds, "--out-prompts", home / "p.json", "--control", "noise"), "control: expected one of"),
    ):
        assert told in describe(capsys, home, images, *args, code=2).stderr
    (home / "few.json").write_text('{"hen": ["wings"], "goos": ["x"], "snowy owl": []}')
    stderr = describe(capsys, home, images, "--descriptors", home / "few.json", code=2).stderr
    assert "1 of 3 classes are not among them: 'goose' (near: 'goos')" in stderr
    (home / "few.json").write_text('{"hen": ["wings"], "goose": ["x"], "snowy owl": []}')
    stderr = describe(capsys, home, images, "--descriptors", home / "few.json", code=2).stderr
    assert "1 of 3 classes have none: snowy_owl" in stderr
