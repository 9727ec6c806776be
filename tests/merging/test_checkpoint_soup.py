"""Greedy soups on disk: the bits of the soup, one score a trial, a kill and going on, nothing left behind."""

import json
import math

import pytest
import torch
from helpers import folder_bytes, invoke
from merging_cases import all_tensors, assert_same_bits, random_tensors, run_merge, write_model

from fmcompress.errors import CheckpointError, ConfigError, Interrupted
from fmcompress.merging.checkpoint_soup import checkpoint_soup

TRUTH = {name: tensor for name, tensor in random_tensors(0).items() if tensor.is_floating_point()}


class Distance:
    """Scores a checkpoint by how near it is to the truth, and counts what it was asked for."""

    def __init__(self, fail_at: int | None = None) -> None:
        self.asked: list[str] = []
        self.fail_at = fail_at

    def __call__(self, folder) -> float:
        if len(self.asked) == self.fail_at:
            raise KeyboardInterrupt
        self.asked.append(folder.name)
        found = all_tensors(folder)
        return -math.fsum(float((found[name].double() - one.double()).square().sum()) for name, one in TRUTH.items())


@pytest.fixture
def models(tmp_path):
    """Three models near the truth, whose errors average out, and one that is broken."""
    folders = []
    for number, noise in enumerate((0.03, 3.0, 0.02, 0.025)):
        generator, tensors = torch.Generator().manual_seed(number), random_tensors(0)
        for name in TRUTH:
            tensors[name] = tensors[name] + noise * torch.randn(tensors[name].shape, generator=generator)
        folders.append(write_model(tmp_path / f"m{number}", tensors, shards=1 + number % 2))
    return folders


def test_the_soup_is_the_uniform_average_of_the_chosen(tmp_path, models) -> None:
    score = Distance()
    soup, facts = checkpoint_soup(models, tmp_path / "out", score)
    assert soup.members == (0, 2, 3)
    assert soup.score > max(soup.singles)
    assert score.asked == ["m0", "m1", "m2", "m3", *["average"] * 3]
    uniform = run_merge(tmp_path / "uniform", "uniform", [models[member] for member in soup.members])
    assert_same_bits(all_tensors(tmp_path / "out"), uniform)
    assert Distance()(tmp_path / "out") == soup.score
    written = json.loads((tmp_path / "out" / "fmcompress-merge.json").read_text())
    assert written["soup"] == json.loads(json.dumps(facts["soup"]))
    assert written["soup"]["members"] == [0, 2, 3]
    assert written["soup"]["candidates"] == ["m0", "m1", "m2", "m3"]
    assert {path.name for path in tmp_path.iterdir()} == {"m0", "m1", "m2", "m3", "out", "uniform"}


def test_where_no_average_is_better_the_best_model_comes_back(tmp_path, models) -> None:
    soup, _ = checkpoint_soup(models[:2], tmp_path / "out", Distance())
    assert soup.members == (0,)
    assert_same_bits(all_tensors(tmp_path / "out"), all_tensors(models[0]))


@pytest.mark.parametrize("stop", [1, 4, 5, 6])
def test_a_killed_soup_goes_on_and_scores_nothing_twice(tmp_path, models, stop) -> None:
    checkpoint_soup(models, tmp_path / "whole", Distance())
    first = Distance(fail_at=stop)
    with pytest.raises(Interrupted, match="what was scored is kept: the same command with --resume goes on"):
        checkpoint_soup(models, tmp_path / "out", first)
    assert [path.name for path in (tmp_path / "out.soup").iterdir()] == ["journal.jsonl"]
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match=r"left from an interrupted run\. Add --resume to go on"):
        checkpoint_soup(models, tmp_path / "out", Distance())
    with pytest.raises(ConfigError, match="tie was '>' in the earlier run and is '>=' now"):
        checkpoint_soup(models, tmp_path / "out", Distance(), tie=">=", resume=True)
    (tmp_path / "out.soup" / "average.partial" / "output").mkdir(parents=True)  # as a kill leaves it
    second = Distance()
    checkpoint_soup(models, tmp_path / "out", second, resume=True)
    assert len(first.asked) + len(second.asked) == 7
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")
    assert not (tmp_path / "out.soup").exists()


def test_force_starts_anew(tmp_path, models) -> None:
    with pytest.raises(Interrupted):
        checkpoint_soup(models, tmp_path / "out", Distance(fail_at=5))
    score = Distance()
    checkpoint_soup(models, tmp_path / "out", score, tie=">=", force=True)
    assert len(score.asked) == 7
    with pytest.raises(ConfigError, match=r"is not empty\. Choose another folder, or --force to replace it"):
        checkpoint_soup(models, tmp_path / "out", score)
    checkpoint_soup(models[:1], tmp_path / "out", score, force=True)
    assert_same_bits(all_tensors(tmp_path / "out"), all_tensors(models[0]))


def test_nothing_is_left_where_nothing_was_scored(tmp_path, models) -> None:
    before = {path.name for path in tmp_path.iterdir()}
    with pytest.raises(KeyboardInterrupt):
        checkpoint_soup(models, tmp_path / "out", Distance(fail_at=0))
    other = write_model(tmp_path / "other", {"a": torch.ones(3)})
    with pytest.raises(CheckpointError):
        checkpoint_soup([*models, other], tmp_path / "out", Distance())
    with pytest.raises(ConfigError, match="tie: expected > or >="):
        checkpoint_soup(models, tmp_path / "out", Distance(), tie="=")
    assert {path.name for path in tmp_path.iterdir()} == before | {"other"}


def test_a_folder_of_someone_else_is_left_alone(tmp_path, models) -> None:
    (tmp_path / "out.soup").mkdir()
    (tmp_path / "out.soup" / "recipe.txt").write_text("carrots")
    for force in (False, True):
        with pytest.raises(ConfigError, match="is in the way, and not of an interrupted soup"):
            checkpoint_soup(models, tmp_path / "out", Distance(), force=force)
    assert (tmp_path / "out.soup" / "recipe.txt").exists()


def test_a_journal_of_something_else_is_refused(tmp_path, models) -> None:
    with pytest.raises(Interrupted):
        checkpoint_soup(models, tmp_path / "out", Distance(fail_at=2))
    journal = tmp_path / "out.soup" / "journal.jsonl"
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([lines[0], '{"block": 0, "layers": []}']) + "\n")
    with pytest.raises(ConfigError, match="one of its lines is no trial"):
        checkpoint_soup(models, tmp_path / "out", Distance(), resume=True)


def test_the_command_takes_a_program_of_the_users_own(tmp_path, models, capsys) -> None:
    program = tmp_path / "score.py"
    program.write_text(
        "import json, pathlib, sys\n"
        "folder = pathlib.Path(sys.argv[1])\n"
        "facts = folder / 'fmcompress-merge.json'\n"
        "print(len(json.loads(facts.read_text())['sources']) if facts.exists() else 0)\n"
    )
    command = f"python {program} {{model}}"
    done = invoke(capsys, "soup", *models[:3], tmp_path / "out", "--command", command, "--plot", tmp_path / "p.svg")
    assert done.code == 0, done.stderr
    assert f"{tmp_path / 'out'}: 3 of 3 models, score 3, best single model 0" in done.stdout
    assert (tmp_path / "p.svg").exists()
    options = ("--command", command, "--lower-is-better", "--json")
    done = invoke(capsys, "soup", *models[:3], tmp_path / "other", *options)
    assert json.loads(done.stdout)["members"] == [0]
    done = invoke(capsys, "soup", *models[:3], tmp_path / "third")
    assert (done.code, done.stderr.count("\n")) == (2, 1)
    assert "expected one of --text and --command" in done.stderr
