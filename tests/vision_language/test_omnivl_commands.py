"""fmcompress omnivl retrieve, caption, answer, classify: what they print, write and refuse."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import Outcome, invoke
from omnivl_folder import make_media, save_model, write_manifest

Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("commands")
    save_model(folder / "model")
    make_media(folder / "data")
    lines = [json.loads(line) for line in (folder / "data" / "images.jsonl").read_text().splitlines()]
    splits = ["train"] * 9 + ["val"] * 3 + ["test"] * 6
    labelled = [
        {"image": line["image"], "label": line["text"].split()[1], "split": split}
        for line, split in zip(lines, splits, strict=True)
    ]
    write_manifest(folder / "data" / "labels.jsonl", labelled)
    asked = [{"image": line["image"], "question": "what colour?", "answer": "red"} for line in lines[:4]]
    write_manifest(folder / "data" / "questions.jsonl", asked)
    (folder / "classes.txt").write_text("red\ngreen\nblue\n")
    return folder


def run(capsys: Capture, command: str, *args: object) -> Outcome:
    return invoke(capsys, "omnivl", command, *args)


def facts(capsys: Capture, command: str, *args: object) -> dict[str, Any]:
    outcome = run(capsys, command, *args, "--json")
    assert outcome.code == 0, outcome.stderr
    return json.loads(outcome.stdout)  # type: ignore[no-any-return]


def test_retrieve_measures_both_directions(home: Path, tmp_path: Path, capsys: Capture) -> None:
    both = home / "data" / "both.jsonl"
    picture = tmp_path / "recall.png"
    found = facts(capsys, "retrieve", home / "model", both, "--rerank", 4, "--plot", picture)
    assert (found["texts"], found["media"]) == (9, 36)
    assert found["text to media"]["queries"] == 9
    assert found["media to text, re-ranked"]["queries"] == 36
    assert set(found["text to media"]["at"]) == {"1", "5", "10"}
    assert picture.read_bytes().startswith(b"\x89PNG")
    printed = run(capsys, "retrieve", home / "model", both).stdout
    assert "recall@10" in printed
    assert "re-ranked" not in printed


def test_what_is_measured_on_training_lines_is_told(home: Path, capsys: Capture) -> None:
    labels, told = home / "data" / "labels.jsonl", "9 of 18 lines that are measured are of split train"
    assert told in facts(capsys, "retrieve", home / "model", labels)["notes"]
    assert told in facts(capsys, "classify", home / "model", labels)["notes"]
    lines = [json.loads(line) for line in (home / "data" / "questions.jsonl").read_text().splitlines()]
    asked = write_manifest(home / "data" / "asked.jsonl", [{**line, "split": "train"} for line in lines])
    found = facts(capsys, "answer", home / "model", asked, "--answers", "red")
    assert "4 of 4 lines that are measured are of split train" in found["notes"]
    assert facts(capsys, "retrieve", home / "model", home / "data" / "both.jsonl")["notes"] == []


def test_retrieve_names_the_best_for_a_query(home: Path, capsys: Capture) -> None:
    queries = ("-q", "a red square", "-q", "up")
    found = facts(capsys, "retrieve", home / "model", home / "data", *queries, "--top", 3)
    assert [one["query"] for one in found["queries"]] == ["a red square", "up"]
    for one in found["queries"]:
        scores = [each["score"] for each in one["found"]]
        assert scores == sorted(scores, reverse=True)
        assert len(scores) == 3
    printed = run(capsys, "retrieve", home / "model", home / "data", *queries, "--top", 3).stdout
    assert printed.count("\n") == 6


def test_captions_are_printed_and_written(home: Path, tmp_path: Path, capsys: Capture) -> None:
    media = home / "data" / "0-0.png", home / "data" / "0-1.npy"
    found = facts(capsys, "caption", home / "model", *media, "--max-tokens", 4, "--out", tmp_path / "c.json")
    assert [one["video"] for one in found["captions"]] == [False, True]
    assert json.loads((tmp_path / "c.json").read_text()) == found
    drawn = [
        facts(capsys, "caption", home / "model", *media, "--temperature", 2, "--top-p", 1, "--seed", seed)["captions"]
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]
    printed = run(capsys, "caption", home / "model", *media, "--prompt", "a red", "--beams", 2).stdout
    assert printed.count(": a red") == 2


def test_answers(home: Path, tmp_path: Path, capsys: Capture) -> None:
    image = home / "data" / "0-0.png"
    found = facts(capsys, "answer", home / "model", image, "-q", "what colour?", "--answers", "red, blue")
    (one,) = found["answers"]
    assert one["answer"] == ("red", "blue")[one["scores"].index(max(one["scores"]))]
    assert found["right"] is None
    (tmp_path / "a.txt").write_text("red\n")
    of_manifest = facts(
        capsys, "answer", home / "model", home / "data" / "questions.jsonl", "--answers", tmp_path / "a.txt"
    )
    assert of_manifest["right"] == 1.0
    assert len(of_manifest["answers"]) == 4
    assert run(capsys, "answer", home / "model", image, "-q", "what colour?").code == 0


def test_a_model_trained_on_captions_warns_of_its_answers(home: Path, tmp_path: Path, capsys: Capture) -> None:
    options = ("--image-steps", 1, "--joint-steps", 0, "--batch-size", 4, "--from", home / "model")
    trained = run(capsys, "train", home / "data" / "images.jsonl", tmp_path / "out", *options)
    assert trained.code == 0, trained.stderr
    config = json.loads((tmp_path / "out" / "config.json").read_text())
    assert config["trained_on"] == ["captions"]
    found = facts(capsys, "answer", tmp_path / "out", home / "data" / "0-0.png", "-q", "what?")
    assert found["notes"] == ["the model was trained on captions, and never on questions: its answers mean little"]
    both = ("--image-steps", 1, "--joint-steps", 0, "--batch-size", 4, "--from", tmp_path / "out")
    assert run(capsys, "train", home / "data" / "questions.jsonl", tmp_path / "two", *both).code == 0
    assert json.loads((tmp_path / "two" / "config.json").read_text())["trained_on"] == ["captions", "questions"]
    assert facts(capsys, "answer", tmp_path / "two", home / "data" / "0-0.png", "-q", "what?")["notes"] == []


def test_classes_by_name_and_by_probe(home: Path, capsys: Capture) -> None:
    labels = home / "data" / "labels.jsonl"
    found = facts(capsys, "classify", home / "model", labels, "--template", "a {} square")
    assert len(found["classes"]) == 18
    assert 0 <= found["accuracy"] <= 1
    alone = facts(capsys, "classify", home / "model", home / "data" / "0-0.npy", "--classes", home / "classes.txt")
    assert alone["accuracy"] is None
    assert alone["classes"][0]["class"] in ("red", "green", "blue")
    pytest.importorskip("sklearn")
    probed = facts(capsys, "classify", home / "model", labels, "--probe")
    assert len(probed["classes"]) == 6


def test_what_has_no_label_is_not_counted(home: Path, capsys: Capture) -> None:
    lines = [{"image": "0-0.png", "label": "red"}, {"image": "0-1.png", "text": "a caption"}]
    mixed = write_manifest(home / "data" / "mixed.jsonl", lines)
    told = run(capsys, "classify", home / "model", mixed, "--classes", home / "classes.txt").stdout
    assert len(told.splitlines()) == 3
    assert "% of 1" in told.splitlines()[-1]


def test_answers_to_choose_from_are_read_before_the_model(home: Path, capsys: Capture) -> None:
    image = home / "data" / "0-0.png"
    found = run(capsys, "answer", home / "nowhere", image, "-q", "what colour?", "--answers", ", ,")
    assert found.code == 2
    assert "--answers: expected answers between commas" in found.stderr


def test_a_classifier_is_fine_tuned_pruned_and_used(home: Path, tmp_path: Path, capsys: Capture) -> None:
    labels = home / "data" / "labels.jsonl"
    tuned = ("--fine-tune", tmp_path / "tuned", "--epochs", 3, "--learning-rate", 1e-3)
    found = facts(capsys, "classify", home / "model", labels, *tuned)
    assert found["epochs"] <= 3
    assert len(found["classes"]) == 6
    pruned = ("--images", home / "data", "--sparsity", 0.5, "--exclude", "temporal", "--format", "packed")
    assert invoke(capsys, "prune", tmp_path / "tuned", tmp_path / "packed", *pruned).code == 0
    used = facts(capsys, "classify", tmp_path / "packed", home / "data" / "0-0.png", home / "data" / "0-0.npy")
    assert {one["class"] for one in used["classes"]} <= {"red", "green", "blue"}
    again = run(capsys, "classify", home / "model", labels, *tuned)
    assert again.code == 2
    assert "is there already" in again.stderr


@pytest.mark.parametrize(
    ("command", "args", "message"),
    [
        ("retrieve", ("data",), "--query: there is none"),
        ("retrieve", ("data", "-q", "a", "--plot", "r.png"), "--plot: draws recalls"),
        ("retrieve", ("data/questions.jsonl",), "line 1: a question is no text to find"),
        ("retrieve", ("data/both.jsonl", "data"), "a manifest stands alone"),
        ("caption", ("none.png",), "none.png: no such file"),
        ("caption", ("classes.txt",), "expected an image"),
        ("caption", ("data/0-0.png", "--beams", 2, "--temperature", 1), "Leave one of them out"),
        ("answer", ("data/0-0.png",), "--question: there is none"),
        ("classify", ("data/0-0.png",), "--classes: there are none"),
        ("classify", ("data/both.jsonl", "--probe"), "labels: expected a manifest"),
        ("classify", ("data/labels.jsonl", "--probe", "--fine-tune", "x"), "Leave one of them out"),
    ],
    ids=str,
)
def test_what_is_wrong_is_said_in_one_line(
    home: Path, capsys: Capture, monkeypatch: pytest.MonkeyPatch, command: str, args: tuple[Any, ...], message: str
) -> None:
    monkeypatch.chdir(home)
    outcome = run(capsys, command, "model", *args)
    assert outcome.code == 2
    assert message in outcome.stderr
    assert outcome.stderr.count("\n") == 1


def test_another_model_is_refused(home: Path, capsys: Capture) -> None:
    outcome = run(capsys, "caption", home / "data", home / "data" / "0-0.png")
    assert outcome.code == 2
    assert "holds no config of OmniVL" in outcome.stderr
