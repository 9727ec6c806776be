"""`fmcompress theory diagnose` from end to end: what it prints, its JSON, its picture, and what it refuses."""

import json
import subprocess
import sys

import numpy as np
import pytest
from helpers import invoke

SCORES = "name,animal,dog,cat\npoodle,0.8,0.9,0.2\nbeagle,0.8,0.8,0.1\nsiamese,0.8,0.2,0.9\ncar,0.1,0.3,0.25\n"
TASK = {
    "name", "verdict", "reason", "positives", "negatives", "prompts", "fewest", "best_prompt", "error", "by_chance",
    "curve", "by_auc", "functoriality_residual", "identical", "fine_tuning",
}  # fmt: skip


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "scores.csv").write_text(SCORES)
    (tmp_path / "animals.csv").write_text("name,label\ncar,0\npoodle,1\nbeagle,1\nsiamese,1\n")
    (tmp_path / "kinds.csv").write_text("name,label\ncar,\npoodle,d\nbeagle,d\nsiamese,c\n")
    (tmp_path / "h.csv").write_text("child,parent\npoodle,dog\nbeagle,dog\ndog,animal\nsiamese,cat\ncat,animal\n")
    return tmp_path


def test_tables_on_standard_output_and_notes_beside(folder, capsys):
    done = invoke(capsys, "theory", "diagnose", folder / "scores.csv", folder / "animals.csv")
    assert done.code == 0
    assert "one prompt" in done.stdout
    assert "'animal' is right on all 4 objects (off by 0 at most, 0.5 allowed)" in done.stdout
    assert "thresholds are fitted to these labels" in done.stderr
    assert "with random scores 0.75 of these prompts would part a task so small" in done.stderr
    quiet = invoke(capsys, "theory", "diagnose", folder / "scores.csv", folder / "animals.csv", "--quiet")
    assert (quiet.code, quiet.stderr, quiet.stdout) == (0, "", done.stdout)


def test_json_has_all_that_was_found(folder, capsys):
    done = invoke(capsys, "theory", "diagnose", folder / "scores.csv", folder / "kinds.csv", "--json")
    assert (done.code, done.stderr) == (0, "")
    facts = json.loads(done.stdout)
    assert facts.keys() == {"level", "verdict", "objects", "unknown", "prompts", "settings", "tasks"}
    assert (facts["level"], facts["verdict"], facts["objects"], facts["unknown"]) == ("scores", "one prompt", 4, 1)
    assert facts["settings"] == {
        "prompts": 5, "calibration": "prompt", "tolerance": 0.5, "resolution": pytest.approx(9e-7), "seed": 0,
        "square": False, "residual_values": "as given",
    }  # fmt: skip
    assert [(task["name"], task["prompts"]) for task in facts["tasks"]] == [("c", ["cat"]), ("d", ["dog"])]
    task = facts["tasks"][1]
    assert task.keys() == TASK
    assert task["best_prompt"]["name"] == "dog"
    assert task["best_prompt"]["margin"] == pytest.approx(0.6)
    assert [step["prompts"] for step in task["curve"]] == [1, 2, 3]
    assert task["curve"][0]["exact"] == {"names": ["dog"], "error": task["error"], "wrong": 0}
    assert task["by_auc"][0]["auc"] == 1
    assert task["identical"] == {
        "pairs": 0, "bitwise": 0, "tolerance": facts["settings"]["resolution"], "least_wrong": 0, "listed": [],
    }  # fmt: skip
    assert task["fine_tuning"].keys() == {
        "separable", "margin", "rank", "folds", "prompt", "probe", "balanced", "nearest", "majority",
    }  # fmt: skip


def test_options_reach_the_diagnosis(folder, capsys):
    (folder / "pets.csv").write_text("name,label\ncar,0\npoodle,0\nbeagle,1\nsiamese,1\n")
    options = ("--prompts", 1, "--calibration", "none", "--tolerance", 0.25, "--seed", 3, "--resolution", 0.125)
    done = invoke(capsys, "theory", "diagnose", folder / "scores.csv", folder / "pets.csv", *options, "--json")
    facts = json.loads(done.stdout)
    assert facts["settings"] == {
        "prompts": 1, "calibration": "none", "tolerance": 0.25, "resolution": 0.125, "seed": 3, "square": False,
        "residual_values": "as given",
    }  # fmt: skip
    assert facts["verdict"] == "nothing"
    assert facts["tasks"][0]["identical"]["listed"] == [["beagle", "poodle"]]


def test_a_hierarchy_is_decided_exactly(folder, capsys):
    labels = folder / "of-h.csv"
    labels.write_text("name,label\npoodle,1\nbeagle,1\nsiamese,1\nanimal,0\n")
    done = invoke(capsys, "theory", "diagnose", folder / "h.csv", labels, "--hierarchy")
    assert done.code == 0
    assert "2 joined by OR are: 'dog', 'siamese'" in done.stdout
    assert "2 objects without label may be prompts" in done.stderr
    facts = json.loads(invoke(capsys, "theory", "diagnose", folder / "h.csv", labels, "--hierarchy", "--json").stdout)
    assert (facts["level"], facts["verdict"], facts["objects"], facts["unknown"]) == ("hierarchy", "k prompts", 6, 2)
    assert facts["tasks"][0]["prompts"] == ["dog", "siamese"]
    few = invoke(capsys, "theory", "diagnose", folder / "h.csv", labels, "--hierarchy", "--prompts", 1, "--json")
    assert json.loads(few.stdout)["verdict"] == "fine-tuning"


def test_equivalent_objects_of_a_hierarchy(folder, capsys):
    (folder / "h.csv").write_text("dog,hound\nhound,dog\ncat,animal\n")
    (folder / "l.csv").write_text("name,label\ndog,1\nhound,0\n")
    refused = invoke(capsys, "theory", "diagnose", folder / "h.csv", folder / "l.csv", "--hierarchy")
    assert refused.code == 2
    assert "'dog' < 'hound' < 'dog' is a cycle of 2" in refused.stderr
    done = invoke(
        capsys, "theory", "diagnose", folder / "h.csv", folder / "l.csv", "--hierarchy", "--equivalent", "--json"
    )
    assert json.loads(done.stdout)["verdict"] == "nothing"
    assert json.loads(done.stdout)["tasks"][0]["equivalent"] == [["dog", "hound"]]


def test_embeddings_and_names_of_their_own(folder, capsys):
    np.save(folder / "e.npy", 3 * np.eye(4))
    (folder / "names.txt").write_text("poodle\nbeagle\nsiamese\ncar\n")
    (folder / "prompts.txt").write_text("p\nq\nr\ns\n")
    done = invoke(
        capsys, "theory", "diagnose", folder / "e.npy", folder / "animals.csv", "--text", folder / "e.npy", "--normalise",
        "--objects", folder / "names.txt", "--prompt-names", folder / "prompts.txt", "--json",
    )  # fmt: skip
    assert json.loads(done.stdout)["tasks"][0]["prompts"] == ["p", "q", "r"]
    square = invoke(
        capsys, "theory", "diagnose", folder / "e.npy", folder / "animals.csv", "--objects", folder / "names.txt",
        "--square", "--json",
    )  # fmt: skip
    assert json.loads(square.stdout)["tasks"][0]["functoriality_residual"]["value"] == 0


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--hierarchy", "--plot", "a.png"], "--hierarchy: has names of its own, no embeddings and no picture"),
        (["--equivalent"], "--equivalent: is for a hierarchy"),
        (["--normalise"], "--normalise: is for embeddings"),
        (["--square"], "scores: expected a square matrix, objects by objects, got 4 by 3"),
        (["--tolerance", "0.7"], "tolerance: expected a number from 0 to 0.5, got 0.7"),
        (["--plot", "a.gif"], "a.gif: expected a name that ends in .png, .svg or .pdf"),
        (["--plot", "none/a.png"], "there is no folder none"),
        (["--prompts", "0"], "Invalid value"),
    ],
)
def test_what_cannot_be_meant_ends_with_2_and_a_line(folder, capsys, monkeypatch, options, told):
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    done = invoke(capsys, "theory", "diagnose", "scores.csv", "animals.csv", *options)
    assert (done.code, done.stdout) == (2, "")
    assert told in done.stderr
    assert sorted(folder.iterdir()) == before


def test_a_picture_is_drawn_and_kept(folder, capsys):
    pytest.importorskip("matplotlib")
    line = ("theory", "diagnose", folder / "scores.csv", folder / "kinds.csv", "--plot", folder / "a.svg")
    assert invoke(capsys, *line).code == 0
    drawn = (folder / "a.svg").read_bytes()
    refused = invoke(capsys, *line)
    assert refused.code == 2
    assert "is there already" in refused.stderr
    assert invoke(capsys, *line, "--force").code == 0
    assert (folder / "a.svg").read_bytes() == drawn


def test_a_diagnosis_needs_no_torch():
    code = "import sys, fmcompress.theory.diagnosis, fmcompress.theory.order_diagnosis, fmcompress.theory.tasks"
    code += ", fmcompress.theory.score_files, fmcompress.theory.diagnosis_pictures"
    heavy = "{'torch', 'sklearn', 'scipy', 'matplotlib'}"
    subprocess.run([sys.executable, "-c", f"{code}; assert not {heavy} & sys.modules.keys()"], check=True)
