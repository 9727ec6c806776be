"""The run behind the table of step-by-step, shortened, and the problems that it makes up."""

import importlib
import json
import sys
from dataclasses import replace

import pytest
from helpers import ROOT

from fmcompress.distillation.arithmetic import evaluate
from fmcompress.distillation.tasks import task

EXAMPLE = ROOT / "examples" / "distill"


@pytest.fixture(scope="module")
def modules():
    sys.path.insert(0, str(EXAMPLE))
    return importlib.import_module("word_problems"), importlib.import_module("step_by_step")


def test_problems_have_one_right_answer_and_a_teacher_who_slips(modules):
    made, _ = modules
    some = made.problems(300, 0, "train")
    assert len({one.input for one in some}) == 300
    assert some == made.problems(300, 0, "train")
    for one in some:
        value = evaluate(one.label)
        assert 1 <= value <= made.LARGEST
        numbers = [int(word) for word in one.label.split() if word.isdigit()]
        assert all(f" {number}" in one.input for number in numbers)
    right = [one for one in some if one.teacher_label and task("svamp").right(one.teacher_label, one.label)]
    silent = [one for one in some if one.teacher_label is None]
    assert 0.7 < len(right) / len(some) < 0.9
    assert 0 < len(silent) < 30
    assert all(one.rationale is None or "So the answer" not in one.rationale for one in some)
    exact = made.problems(100, 1, "train", slip=0)
    assert all(one.teacher_label in (None, one.label) for one in exact)
    for one in exact:  # every line of a rationale adds up
        for line in (one.rationale or "").split(". ")[1:]:
            left, value = line.rstrip(".").split(" = ")
            assert evaluate(left) == evaluate(value)


def test_the_run_fills_a_table_and_goes_on_where_it_stopped(modules, tmp_path, monkeypatch):
    _, example = modules
    lesson = example.LESSONS["word problems"]
    monkeypatch.setitem(example.LESSONS, "word problems", replace(lesson, room=4))  # of what nobody has learned
    out = tmp_path / "results.json"
    arms = [example.Arm("word problems", method, 0.1, 0) for method in example.METHODS]
    data, teacher = example.prepare(example.LESSONS["word problems"], tmp_path, tmp_path)
    assert 0.7 < teacher["right"] < 0.9
    records = [example.run_arm(arm, data, steps=2) for arm in arms]
    assert [record["examples_seen"] for record in records] == [2 * 16] * 4
    assert all(record["tested"] == 300 and record["counts"]["examples"] == 100 for record in records)
    (row,) = example.table([{**records[0], "accuracy": value, "seed": seed} for seed, value in enumerate((0.2, 0.4))])
    assert (row["mean"], row["seeds"]) == (pytest.approx(0.3), 2)
    assert row["sd"] == pytest.approx(0.1414, abs=1e-3)
    every = [
        {**record, "seed": seed, "fraction": fraction} for record in records for seed in (0, 1) for fraction in example.FRACTIONS
    ]  # fmt: skip
    out.write_text(json.dumps({"teachers": {}, "arms": every}))
    before = example.run(tmp_path, out, ["word problems"], [0, 1], 2, 1)
    assert before["arms"] == every  # nothing was missing
    example.plot_results(list(example.table(every)), tmp_path / "plot.png")
    assert (tmp_path / "plot.png").read_bytes().startswith(b"\x89PNG")


def test_readme_and_docs_have_the_table_that_was_measured():
    found = json.loads((EXAMPLE / "results.json").read_text())
    assert len(found["arms"]) == 72
    methods = ("fine-tuning", "distillation", "step-by-step", "rationale-then-label")
    cells: dict[tuple[str, int], dict[str, str]] = {}
    for row in found["table"]:
        assert row["seeds"] == 3
        shown = f"{100 * row['mean']:.1f} ± {100 * row['sd']:.1f}"
        cells.setdefault((row["lesson"], row["examples"]), {})[row["method"]] = shown
    assert len(cells) == 6
    for page in (ROOT / "README.md", ROOT / "docs" / "distillation.md"):
        text = page.read_text()
        for (lesson, examples), shown in cells.items():
            assert f"| {lesson} | {examples:,} | {' | '.join(shown[method] for method in methods)} |" in text


def test_readme_and_docs_tell_what_a_recovery_regained():
    (case,) = json.loads((ROOT / "examples" / "recover" / "results.json").read_text()).values()
    taught = case["runs"]["teacher's logits"]
    assert len(taught["each"]) == 3
    assert all(one["mask_intact"] for run in case["runs"].values() for one in run["each"])
    shown = f"{100 * taught['mean']:.1f} ± {100 * taught['sd']:.1f} %"
    for page in (ROOT / "README.md", ROOT / "docs" / "distillation.md"):
        assert shown in page.read_text()
