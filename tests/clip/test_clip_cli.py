"""fmcompress clip embed, zeroshot and groups, as a user types them."""

import json

import numpy as np
import pytest
import tiny_models
from helpers import invoke

from fmcompress.clip import read_embeddings


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A tiny CLIP, images of three classes, names and labels."""
    place = tmp_path_factory.mktemp("clip")
    tiny_models.save("clip", place / "model")
    for number, name in enumerate(("ape", "cat", "dog")):
        tiny_models.make_images(place / "images" / name, 4, seed=number)
    (place / "names.txt").write_text("dog\ncat\nape\n")
    rows = [f"{name}/{n}.png,{name},{'odd' if n % 2 else 'even'},{'train' if n == 0 else 'test'}"
            for name in ("ape", "cat", "dog") for n in range(4)]  # fmt: skip
    (place / "labels.csv").write_text("\n".join(["name,label,group,split", *rows]))
    return place


def test_embed_then_zeroshot_then_groups(place, tmp_path, capsys):
    images, text = tmp_path / "images.safetensors", tmp_path / "text.safetensors"
    cache = ("--cache", place / "cache", "--device", "cpu")
    done = invoke(capsys, "clip", "embed", place / "model", place / "images", "--out", images,
                  "--labels", place / "labels.csv", *cache)  # fmt: skip
    assert (done.code, done.stdout) == (0, f"{images}: 12 images, 16 numbers each\n")
    found = read_embeddings(images)
    assert (found.names[0], found.classes, found.group_names) == ("ape/0.png", ("ape", "cat", "dog"), ("even", "odd"))
    done = invoke(capsys, "clip", "embed", place / "model", place / "names.txt", "-o", text, "--template", "a {}",
                  "--template", "the {}.", "--json", *cache)  # fmt: skip
    facts = json.loads(done.stdout)
    assert (facts["rows"], facts["dim"], facts["classes"]) == (3, 16, ["dog", "cat", "ape"])
    assert facts["identity"] == found.identity
    files = "--out", tmp_path / "zero.csv", "--plot", tmp_path / "zero.svg"
    done = invoke(capsys, "clip", "zeroshot", images, "--text", text, "--top-k", 2, "--json", *files)
    facts = json.loads(done.stdout)
    assert (facts["split"], facts["rows"], facts["report"]["adjusted"] is not None) == ("test", 9, True)
    texts = read_embeddings(text)
    rows = [row for row, split in enumerate(found.splits) if split == "test"]
    predicted = (found.vectors[rows] @ texts.vectors.T).argmax(1)
    right = [found.classes[found.labels[row]] == texts.names[at] for row, at in zip(rows, predicted, strict=True)]
    assert facts["report"]["average"] == pytest.approx(np.mean(right))
    assert (tmp_path / "zero.svg").stat().st_size > 1000
    done = invoke(capsys, "clip", "groups", tmp_path / "zero.csv", "--json", "--train-labels", place / "labels.csv")
    assert json.loads(done.stdout)["reports"]["zero"] == facts["report"]


def test_zeroshot_from_folders_is_that_from_files(place, tmp_path, capsys):
    options = ("--model", place / "model", "--classes", place / "names.txt", "--device", "cpu")
    plain = invoke(capsys, "clip", "zeroshot", place / "images", *options, "--json")
    facts = json.loads(plain.stdout)
    assert (facts["rows"], facts["split"], facts["templates"]) == (12, "all", ["a photo of a {}."])
    assert {group["name"]: group["rows"] for group in facts["report"]["groups"]} == {"ape": 4, "cat": 4, "dog": 4}
    assert plain.stderr == "no groups are known: each class is one\n"
    cached = invoke(capsys, "clip", "zeroshot", place / "images", *options, "--json", "--cache", tmp_path / "cache")
    assert json.loads(cached.stdout)["report"] == facts["report"]
    table = invoke(capsys, "clip", "zeroshot", place / "images", *options, "--quiet")
    assert table.stderr == ""
    assert "prompts: 'a photo of a {}.'" in table.stdout
    assert f"{100 * facts['report']['worst']:.1f} %" in table.stdout


def test_flat_folders_are_named_but_not_counted(place, capsys):
    options = ("--model", place / "model", "--classes", place / "names.txt", "--device", "cpu")
    done = invoke(capsys, "clip", "zeroshot", place / "images" / "cat", *options)
    assert (done.code, "no labels, so that nothing was counted" in done.stdout) == (0, True)
    done = invoke(capsys, "clip", "zeroshot", place / "images" / "cat", *options, "--plot", place / "no.png")
    assert (done.code, "--plot: draws accuracies, and there are no labels" in done.stderr) == (2, True)


def test_groups_draws_methods_beside_each_other(place, tmp_path, capsys):
    for name, predicted in (("before", "aabb"), ("after", "aaab")):
        rows = [f"{n},{'ab'[n // 2]},{'gh'[n % 2]},{p}" for n, p in enumerate(predicted)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["name,label,group,predicted", *rows]))
    paths = (tmp_path / "before.csv", tmp_path / "after.csv")
    done = invoke(capsys, "clip", "groups", *paths, "--plot", tmp_path / "a.png")
    assert done.code == 0
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["average", "before", "after", "group", "g", "h"]
    assert "50.0 % (9.5 to 90.5)" in done.stdout
    assert (tmp_path / "a.png").read_bytes()[:4] == b"\x89PNG"
    again = invoke(capsys, "clip", "groups", *paths, "--plot", tmp_path / "a.png")
    assert (again.code, "is there already. Replace it with --force" in again.stderr) == (2, True)
    assert invoke(capsys, "clip", "groups", *paths, "--plot", tmp_path / "a.png", "--force").code == 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("embed", "model", "images", "--out", "a.npy"), "expected a name that ends in .safetensors"),
        (("embed", "model", "absent.txt", "--out", "a.safetensors"), "absent.txt: no such file or folder"),
        (("embed", "model", "images", "--out", "a.safetensors", "--template", "a {}"), "--template is for names"),
        (("embed", "model", "names.txt", "--out", "a.safetensors", "--labels", "labels.csv"), "--labels for images"),
        (("embed", "images", "images", "--out", "a.safetensors"), "holds neither model.safetensors"),
        (("embed", "model", "images", "--out", "no/a.safetensors"), "there is no folder"),
        (("zeroshot", "images", "--classes", "names.txt"), "--model: missing"),
        (("zeroshot", "absent", "--model", "model", "--classes", "names.txt"), "absent: no such file"),
        (("zeroshot", "images", "--model", "model"), "--classes or --text: missing"),
        (("zeroshot", "images", "--model", "model", "--text", "x", "--template", "{}"), "--template: is for --classes"),
        (("zeroshot", "images", "--model", "model", "--classes", "two.txt"), "1 of the images' classes are none"),
        (("zeroshot", "images", "--model", "model", "--classes", "names.txt", "--top-k", "9"), "expected 1 to 3"),
        (("zeroshot", "images", "--model", "model", "--classes", "names.txt", "--template", "x"), "expected one {}"),
        (("zeroshot", "images", "--model", "model", "--classes", "names.txt", "--split", "val"), "no row is of split"),
        (("groups", "labels.csv"), "expected a first line of label, predicted"),
    ],
)  # fmt: skip
def test_bad_input_is_told_in_one_line_and_nothing_is_written(place, tmp_path, capsys, monkeypatch, arguments, told):
    (place / "two.txt").write_text("dog\ncat\n")
    monkeypatch.chdir(place)
    before = sorted(place.iterdir())
    done = invoke(capsys, "clip", *arguments)
    assert (done.code, done.stdout) == (2, "")
    assert told in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stderr.count("\n") == 1
    assert sorted(place.iterdir()) == before


def test_embeddings_of_two_models_do_not_mix(place, tmp_path, capsys):
    other = tiny_models.save("clip", tmp_path / "other", seed=1)
    options = ("--device", "cpu", "--quiet")
    invoke(capsys, "clip", "embed", place / "model", place / "images", "-o", tmp_path / "i.safetensors", *options)
    invoke(capsys, "clip", "embed", other, place / "names.txt", "-o", tmp_path / "t.safetensors", *options)
    done = invoke(capsys, "clip", "zeroshot", tmp_path / "i.safetensors", "--text", tmp_path / "t.safetensors")
    assert (done.code, "but revision is" in done.stderr) == (2, True)


def test_longer_texts_are_noted(place, tmp_path, capsys):
    (tmp_path / "names.txt").write_text("x" * 60 + "\n")
    done = invoke(capsys, "clip", "embed", place / "model", tmp_path / "names.txt", "-o", tmp_path / "t.safetensors",
                  "--device", "cpu")  # fmt: skip
    assert "1 of 1 texts are longer than the model's 24 tokens: their ends were cut" in done.stderr


def test_rows_of_other_lengths_need_an_option(place, tmp_path, capsys):
    np.save(tmp_path / "i.npy", 3 * np.eye(4, 16, dtype=np.float32))
    arguments = ("clip", "zeroshot", tmp_path / "i.npy", "--classes", place / "names.txt", "--model", place / "model")
    done = invoke(capsys, *arguments, "--device", "cpu")
    assert (done.code, "--normalise" in done.stderr) == (2, True)
    assert invoke(capsys, *arguments, "--device", "cpu", "--normalise").code == 0
