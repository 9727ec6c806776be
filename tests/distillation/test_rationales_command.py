"""fmcompress distill rationales: reports of completions that exist, a model that is asked, one red line."""

import json

import pytest
from helpers import invoke, make_checkpoint

from fmcompress.distillation.examples import read_examples
from fmcompress.language_model import ScriptedLanguageModel

ROWS = [{"input": f"{n} and 1?", "label": f"( {n}.0 + 1.0 )"} for n in range(12)]
TOLD = [f"Add. The answer is ({n} + 1)." if n > 2 else ["Hm.", "No. The answer is (7).", ""][n] for n in range(12)]


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    (folder / "palm").mkdir(parents=True)
    (folder / "svamp_train.json").write_text("\n".join(map(json.dumps, ROWS)))
    (folder / "palm" / "train_CoT_0.json").write_text(json.dumps(TOLD))
    return folder


def ask(capsys, *args):
    return invoke(capsys, "distill", "rationales", *args, "--task", "svamp")


def test_a_report_of_completions(capsys, data, tmp_path):
    out = tmp_path / "out.jsonl"
    done = ask(capsys, data, out, "--completions", data / "palm")
    assert done.code == 0
    first, *_, last = done.stdout.splitlines()[1:]
    assert first.split() == ["train", "+", "valid", "12", "9", "0.7500", "2", "0"]
    assert last == f"{out}: 12 examples, 10 with a rationale, 2 whose completion is of no use"
    assert read_examples(out)[4].rationale == "Add."
    pattern = data / "palm" / "train*.json"
    told = json.loads(ask(capsys, data, out, "--completions", pattern, "--force", "--keep-right", "--json").stdout)
    assert told["teacher_report"]["train + valid"]["accuracy"] == 0.75  # of all, whatever is kept
    assert (told["with_rationale"], told["dropped_as_wrong"], told["unparsed"]) == (9, 1, 2)
    again = json.loads(ask(capsys, out, tmp_path / "again.jsonl", "--json").stdout)  # what was written is read again
    assert again["teacher_report"] == told["teacher_report"]


def test_without_a_teacher_data_are_converted(capsys, data, tmp_path):
    told = json.loads(ask(capsys, data, tmp_path / "o.jsonl", "--json", "--valid-share", "0").stdout)
    assert (told["rows"], told["teacher_report"], told["teacher"]) == (12, {}, None)
    assert {one.split for one in read_examples(tmp_path / "o.jsonl")} == {"train"}


def test_a_file_of_answers_is_a_teacher(capsys, data, tmp_path):
    (tmp_path / "p.txt").write_text("{input}\n")
    lines = [{"prompt": row["input"], "completion": text} for row, text in zip(ROWS, TOLD, strict=True)]
    (tmp_path / "a.jsonl").write_text("".join(json.dumps(one) + "\n" for one in lines))
    given = ("--language-model", tmp_path / "a.jsonl", "--prompt", tmp_path / "p.txt", "--json")
    told = json.loads(ask(capsys, data, tmp_path / "o.jsonl", *given).stdout)
    assert told["teacher_report"]["train + valid"]["right"] == 9


def test_a_checkpoint_is_a_teacher_and_its_answers_are_kept(capsys, data, tmp_path):
    model = make_checkpoint(tmp_path / "model")
    (tmp_path / "p.txt").write_text("Solve {input}")
    given = ("--language-model", model, "--prompt", tmp_path / "p.txt", "--max-tokens", 4, "--limit", 2, "--json")
    told = json.loads(ask(capsys, data, tmp_path / "o.jsonl", *given).stdout)
    assert (told["with_rationale"], told["unparsed"]) == (0, 4)  # it is random: nothing that it says parses
    kept = (tmp_path / "o.answers.jsonl").read_text()
    assert len(kept.splitlines()) == 4
    assert json.loads(ask(capsys, data, tmp_path / "o.jsonl", *given, "--force").stdout) == told
    assert (tmp_path / "o.answers.jsonl").read_text() == kept


@pytest.mark.parametrize(
    ("args", "told"),
    [
        (["--completions", "palm", "--language-model", "x"], "--language-model, --completions: expected one of them"),
        (["--completions", "nowhere/*.json"], "--completions nowhere/*.json: there is no such file"),
        (["--limit", "3"], "go with --language-model"),
        (["--keep-right"], "--keep-right: there is no teacher"),
        (["--language-model", "nowhere"], "language model 'nowhere': expected a folder"),
        (["--language-model", "nowhere", "--samples", "3"], "samples: without a temperature"),
        (["--language-model", "nowhere", "--split", "dev"], "split: expected one of train, valid, test, got 'dev'"),
        (["--valid-share", "2"], "valid share: expected 0 or more and less than 1"),
    ],
)
def test_one_line_for_what_cannot_be(capsys, data, tmp_path, args, told):
    done = ask(capsys, data, tmp_path / "o.jsonl", *args)
    assert done.code == 2
    assert done.stderr.startswith("error: ")
    assert told in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "o.jsonl").exists()


def test_files_that_are_there_or_have_another_name(capsys, data, tmp_path):
    (tmp_path / "o.jsonl").write_text("mine")
    assert "Replace it with --force" in ask(capsys, data, tmp_path / "o.jsonl").stderr
    assert "expected a name that ends in .jsonl" in ask(capsys, data, tmp_path / "o.csv").stderr
    assert (tmp_path / "o.jsonl").read_text() == "mine"


def test_a_stopped_run_says_how_it_goes_on(capsys, data, tmp_path, monkeypatch):
    def stopped(prompt):
        raise KeyboardInterrupt

    monkeypatch.setattr("fmcompress.language_model.language_model", lambda *_, **__: ScriptedLanguageModel(stopped))
    done = ask(capsys, data, tmp_path / "o.jsonl", "--language-model", "x")
    assert done.code == 130
    assert f"Answers are kept in {tmp_path / 'o.answers.jsonl'}: the same command goes on" in done.stderr
