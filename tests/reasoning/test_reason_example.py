"""The example in short: a small model learns a little of every part, and what is measured of it holds."""

import json
import sys

import pytest
from helpers import ROOT

sys.path.append(str(ROOT / "examples" / "reason"))
import fictional
from fictional import PARTS, Stage, measured, problems_to_measure, rows_of, summary, table, trained

from fmcompress.reasoning.problems import generate

QUESTIONS = 12
STAGES = (Stage((1,), ("chain",), 20, 8), Stage((1, 2), (*PARTS, "chain"), 40, 8))


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    told = trained(0, STAGES, folder, width=32)
    problems = problems_to_measure(QUESTIONS, None, None)
    return told, problems, measured(folder, problems, ("selection-inference", "direct"))


def test_every_part_has_as_many_rows_and_is_learned(run):
    told, _, _ = run
    rows = [row for some in rows_of(generate(24, seed=1, pairs=0), 0, PARTS) for row in some]
    assert {part: sum(row.part == part for row in rows) for part in PARTS} == {
        "selection": 24, "inference": 48, "halt": 24, "direct": 24,
    }  # fmt: skip
    assert told["losses"].keys() == {*PARTS, "chain"}
    assert all(loss < 4 for loss in told["losses"].values())  # from ln of some 130 words


def test_all_traces_are_valid_and_all_questions_counted(run):
    _, problems, found = run
    asked = sum(map(len, problems.values()))
    assert asked == QUESTIONS + 2 * (QUESTIONS // 4)
    steps, direct = found["selection-inference"], found["direct"]
    assert steps["valid_traces"] == sum(steps["states"].values()) == asked
    assert direct["valid_traces"] == 0
    for one in (steps, direct):
        assert sum(group["questions"] for group in one["groups"].values()) == asked
    assert steps["asked_of_the_model"]["prefixes"] > direct["asked_of_the_model"]["prefixes"] == QUESTIONS


def test_equal_seeds_learn_the_same(run, tmp_path):
    told, _, _ = run
    again = trained(0, STAGES, tmp_path, width=32)
    assert again["losses"] == told["losses"]


def test_the_table_is_of_means_and_deviations():
    def seed(share):
        return {"methods": {"direct": {"groups": {"1": {"accuracy": share, "questions": 10}}}}}

    found = summary({"0": seed(0.25), "1": seed(0.75)})
    assert found["direct"]["1"] == {"accuracy": 0.5, "sd": pytest.approx(0.3536, abs=1e-4)}
    assert "50.0 ± 35.4" in table(found)
    assert fictional.METHODS.keys() == {"selection-inference", "direct"}


def test_readme_and_docs_have_the_table_that_was_measured():
    found = json.loads((ROOT / "examples" / "reason" / "results.json").read_text())
    assert found["summary"] == summary(found["seeds"])
    assert len(found["seeds"]) == 3
    steps, direct = (found["summary"][name] for name in ("selection-inference", "direct"))
    names = {**{str(depth): f"depth {depth}" for depth in range(1, 6)}, "fears": "`fears`", "colours": "`colours`"}
    for page in (ROOT / "README.md", ROOT / "docs" / "reasoning.md"):
        text = page.read_text()
        for group, one in direct.items():
            both = [f"{100 * each['accuracy']:.1f} ± {100 * each['sd']:.1f}" for each in (steps[group], one)]
            ahead = 100 * (steps[group]["accuracy"] - one["accuracy"])
            assert f"| {names.get(group, group)} | {both[0]} | {both[1]} | {ahead:+.1f} |" in text
    runs = [seed["methods"]["selection-inference"] for seed in found["seeds"].values()]
    sound, checked = (sum(run[f"{kind}_inferences"] for run in runs) for kind in ("sound", "checked"))
    assert f"{sound:,} of {checked:,} inferences follow" in (ROOT / "README.md").read_text()
    assert all(run["valid_traces"] == 850 for run in runs)
