"""fmcompress caption from images to files and a page, with tiny models and answers of a file."""

import json
import shutil
import subprocess
import sys

import pytest
import tiny_vision as tiny
from helpers import ROOT, invoke, make_checkpoint
from report_cases import Page
from tiny_vision import tiny_models

from fmcompress.vision_language.visual_clues.run import read_descriptions

HOSTILE = "<script>alert(1)</script>"
CLUES = {
    "0.png": {"tags": ["noise"], "objects": [{"name": HOSTILE, "box": [0, 0, 20, 20]}], "pixels": True},
    "1": {"captions": ["a picture of noise"]},
    "elsewhere.png": {"tags": ["x"]},
}


@pytest.fixture
def home(tmp_path):
    tiny_models.save("clip", tmp_path / "clip")
    tiny_models.make_images(tmp_path / "images", 2)
    (tmp_path / "clues.json").write_text(json.dumps(CLUES))
    (tmp_path / "words.txt").write_text("cat\ndog\nnoise\n")
    (tmp_path / "answers.jsonl").write_text("")
    return tmp_path


def caption(capsys, home, *args, code=0, writer="answers.jsonl", images=("images",)):
    base = ("caption", *(home / image for image in images), "--encoder", home / "clip", "--device", "cpu")
    outcome = invoke(capsys, *base, "--language-model", home / writer, *args)
    assert outcome.code == code, outcome.stderr
    return outcome


def answer(home, texts):
    """Fill in what the file of answers was asked."""
    lines = [json.loads(line) for line in (home / "answers.missing.jsonl").read_text().splitlines()]
    for line in lines:
        line["completions"] = texts
    with (home / "answers.jsonl").open("a") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)
    return lines


def test_from_given_clues_to_a_page(home, capsys):
    given = ("--clues", home / "clues.json", "--candidates", 3)
    results = ("--out", home / "d.json", "--explain", home / "page.html", "--write-clues", home / "all.json")
    assert "answers 0 of 2 prompts with 3 texts each" in caption(capsys, home, *given, *results, code=2).stderr
    assert not [path for path in home.iterdir() if path.name in ("d.json", "page.html", "all.json")]
    asked = answer(home, [f"{HOSTILE} Noise. More noise.", "Noise & sand.", "Noise & sand."])
    assert len(asked) == 2
    outcome = caption(capsys, home, *given, *results, "--json")
    assert "1 of its images are not among those given" in outcome.stderr
    assert "0.png: 1 of 3 candidates repeated another one" in outcome.stderr
    told = json.loads(outcome.stdout)
    assert told == json.loads((home / "d.json").read_text())
    found = read_descriptions(home / "d.json")
    assert [one.image for one in found] == ["0.png", "1.png"]
    assert [one.prompt for one in found] == [line["prompt"] for line in asked]
    for one in found:
        scores = [candidate.score for candidate in one.candidates]
        assert one.chosen == scores.index(max(scores))
        assert one.paragraph == " ".join(part.text for part in one.sentences if part.kept)
    text = (home / "page.html").read_text()
    page = Page(text)
    assert HOSTILE not in text
    assert page.count("script") == 0
    assert text.count("data:image/jpeg;base64,") == 2
    again = caption(capsys, home, "--clues", home / "all.json", "--candidates", 3)
    assert [line.strip() for line in again.stdout.splitlines()[1::2]] == [one.paragraph for one in found]
    assert "is there already" in caption(capsys, home, *given, *results, code=2).stderr
    caption(capsys, home, *given, *results, "--force", "--quiet")


def test_a_vocabulary_a_detector_a_captioner_and_a_model_that_writes(home, capsys):
    words = ("--vocabulary", home / "words.txt", "--attributes", home / "words.txt", "--tags", 2)
    make_checkpoint(home / "llama")
    detector = ("--detector", tiny.save_vision(tiny.yolos, home / "yolos"), "--detector-threshold", 0, "--objects", 2)
    captioner = ("--captioner", tiny.save_vision(tiny.blip, home / "blip"), "--caption-objects", 1)
    writes = ("--candidates", 4, "--max-tokens", 12, "--style", "story", "--score", "sentences", "--json")
    kept = ("--answers", home / "kept.jsonl", "--cache", home / "cache")
    args = (*words, *detector, *captioner, *writes)
    first = json.loads(caption(capsys, home, *args, *kept, writer="llama").stdout)["descriptions"]
    for one in first:
        clues = one["clues"]
        scores = [tag["score"] for tag in clues["tags"]]
        assert (len(scores), scores) == (2, sorted(scores, reverse=True))
        assert len(clues["captions"]) == 1
        assert {len(thing["attributes"]) for thing in clues["objects"]} == {3}
        assert sum(len(thing["captions"]) for thing in clues["objects"]) == 1
        assert one["prompt"].startswith("There is a picture with ")
        assert len(one["candidates"]) == 4
    assert len((home / "kept.jsonl").read_text().splitlines()) == 2
    shutil.rmtree(home / "llama")
    make_checkpoint(home / "llama", hidden=16)  # writes something else, but is not asked again
    again = json.loads(caption(capsys, home, *args, *kept, writer="llama").stdout)["descriptions"]
    assert [one["candidates"] for one in again] == [one["candidates"] for one in first]
    other = json.loads(caption(capsys, home, *args, "--seed", 1, writer="llama").stdout)["descriptions"]
    same = json.loads(caption(capsys, home, *args, "--seed", 1, writer="llama").stdout)["descriptions"]
    assert same == other
    assert [one["candidates"] for one in other] != [one["candidates"] for one in first]


def test_a_detector_of_words_looks_for_the_tags(home, capsys):
    owl = ("--detector", tiny.save_vision(tiny.owlvit, home / "owl"), "--detector-threshold", 0)
    assert "looks for words. Give a vocabulary" in caption(capsys, home, *owl, code=2).stderr
    found = (*owl, "--vocabulary", home / "words.txt", "--tags", 1, "--candidates", 1)
    caption(capsys, home, *found, code=2)
    answer(home, ["Noise."])
    told = json.loads(caption(capsys, home, *found, "--json").stdout)["descriptions"]
    for one in told:
        tag = one["clues"]["tags"][0]["text"]
        assert {thing["name"]["text"] for thing in one["clues"]["objects"]} == {tag}


def test_clues_of_one_image_are_not_taken_for_another(home, capsys):
    for folder in "ab":
        tiny_models.make_images(home / "two" / folder, 1)
    (home / "short.json").write_text('{"0.png": {"tags": ["x"]}}')
    refused = caption(capsys, home, "--clues", home / "short.json", images=("two",), code=2).stderr
    assert "'0.png' would be the clues of 'a/0.png' and 'b/0.png'" in refused


def test_wrong_input(home, capsys):
    (home / "bad.png").write_text("no image")
    (home / "few.json").write_text('{"0.png": {"tags": ["x"]}}')
    given = ("--clues", home / "clues.json")
    for args, told in (
        ((), "--clues, --vocabulary, --detector, --captioner: expected one at least"),
        (("--vocabulary", home / "words.txt", "--attributes", home / "words.txt"), "--attributes: are of objects"),
        (("--clues", home / "few.json"), "has no clues of 1 of 2 images, such as '1.png'"),
        ((*given, "--no-filter", "--threshold", 0.1), "--no-filter, --threshold"),
        ((*given, "--out", home / "d.txt"), "ends in .json"),
        ((*given, "--explain", home / "no" / "p.html"), "there is no folder"),
        ((*given, "--out", home / "d.json", "--write-clues", home / "d.json"), "is to hold two things"),
        ((*given, "--answers", home / "a.txt"), "ends in .jsonl"),
        ((*given, "--candidates", 0), "samples: expected at least 1"),
        ((*given, "--score", "x"), "score: expected one of"),
        ((*given, "--style", "x", "--candidates", 1), "style: expected one of best, story"),
        ((*given, "--caption-objects", 1), "need a captioner"),
        ((*given, "--name-objects"), "needs a vocabulary and a detector"),
        (("--detector", home / "clip"), "expected a model that detects objects"),
    ):
        assert told in caption(capsys, home, *args, code=2).stderr
    for images, told in (
        (("none.png",), "no such file or folder"), (("bad.png",), "cannot be read as an image"),
        (("images", "images/0.png"), "is given twice"),
    ):  # fmt: skip
        assert told in caption(capsys, home, *given, images=images, code=2).stderr
    (home / "d.json").write_text("[]")
    with pytest.raises(ValueError, match="expected what fmcompress caption --out writes"):
        read_descriptions(home / "d.json")


def test_the_import_needs_no_torch():
    code = "import sys, fmcompress.vision_language.visual_clues as v; v.to_prompt; v.ClueFile; v.select; v.describe; "
    code += "sys.exit(any(name in sys.modules for name in ('torch', 'transformers')))"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
