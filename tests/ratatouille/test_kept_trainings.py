"""A recipe that was killed goes on where it stopped; folders that are not its own are refused."""

import json
import os
from pathlib import Path

import pytest
import torch
from fake_training import Recorder

from fmcompress.errors import CheckpointError, ConfigError, DiskError
from fmcompress.ratatouille.kept import Kept, digest


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("stop", ["probe", "auxiliary-two", "target-002-from-two", "target-001-from-fused"])
def test_a_killed_recipe_ends_with_the_same_weights(tmp_path, stop):
    whole, killed, again = Recorder(), Recorder(stop_before=stop), Recorder()
    wanted = whole.recipe().cook()
    with pytest.raises(KeyboardInterrupt):
        killed.recipe(tmp_path / "kept").cook()
    found = again.recipe(tmp_path / "kept").cook()
    assert killed.names + again.names == whole.names  # what was finished is not trained again
    for method, dish in wanted.items():
        assert same(found[method].weights, dish.weights)
        assert found[method].chosen == dish.chosen
        assert found[method].candidates == dish.candidates
    third = Recorder()
    assert same(third.recipe(tmp_path / "kept").cook("soup")["soup"].weights, wanted["soup"].weights)
    assert third.names == []


@pytest.mark.parametrize("before", [True, False])
def test_a_recipe_that_is_killed_at_any_write_goes_on(tmp_path, monkeypatch, before):
    """Every file appears by a rename: none of them, the first included, leaves a folder that is of no use."""
    rename, kills = os.replace, 0
    wanted = Recorder().recipe().cook("ratatouille")["ratatouille"].weights

    def killed(*paths):
        if not before:
            rename(*paths)
        raise KeyboardInterrupt

    for number in range(100):
        left = iter(range(number))

        def replace(*paths, left=left):
            return killed(*paths) if next(left, None) is None else rename(*paths)

        with monkeypatch.context() as patched:
            patched.setattr(os, "replace", replace)
            patched.setattr(Path, "replace", replace)
            try:
                Recorder().recipe(tmp_path / f"{number}").cook("ratatouille")
            except KeyboardInterrupt:
                kills += 1
        found = Recorder().recipe(tmp_path / f"{number}").cook("ratatouille")["ratatouille"]
        assert same(found.weights, wanted)
        if kills <= number:
            break
    assert kills == 1 + 2 * 6  # the recipe, then weights and facts of six trainings


def test_more_runs_can_be_added_later(tmp_path):
    Recorder().recipe(tmp_path, runs=2).cook("ratatouille")
    more, told = Recorder(), []
    more.recipe(tmp_path, runs=4, progress=lambda *one: told.append(one)).cook("ratatouille")
    assert told == [(number, 3, name) for number, name in enumerate(more.names, 1)]  # of what was missing
    assert more.names == ["auxiliary-two", "target-002-from-two", "target-003-from-pretrained"]


@pytest.mark.parametrize(
    ("options", "key"), [({"seed": 1}, "seed"), ({"with_pretrained": False}, "with_pretrained"), ({"settings": {"steps": 2}}, "settings")]
)  # fmt: skip
def test_another_recipe_is_refused(tmp_path, options, key):
    Recorder().recipe(tmp_path).cook("erm")
    with pytest.raises(ConfigError, match=rf"{key} was .* Use the same, or another folder"):
        Recorder().recipe(tmp_path, **options)


def test_settings_must_be_json(tmp_path):
    with pytest.raises(ConfigError, match="settings: expected JSON"):
        Recorder().recipe(tmp_path / "kept", settings={"rate": torch.tensor(1.0)})
    assert not (tmp_path / "kept").exists()


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "letter.txt").write_text("Dear")
    with pytest.raises(ConfigError, match=r"no recipe\.json"):
        Recorder().recipe(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["letter.txt"]
    with pytest.raises(DiskError, match="cannot be written"):
        Recorder().recipe(tmp_path / "letter.txt" / "below")


def test_damaged_weights_are_told_not_used(tmp_path):
    Recorder().recipe(tmp_path).cook("erm")
    path = tmp_path / "target-001-from-pretrained.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="is not what its facts say"):
        Recorder().recipe(tmp_path).cook("erm")
    path.write_bytes(data[:-2])
    with pytest.raises(CheckpointError, match="cut short"):
        Recorder().recipe(tmp_path).cook("erm")


def test_weights_without_facts_are_of_a_training_that_was_cut_off(tmp_path):
    Recorder().recipe(tmp_path).cook("erm")
    (tmp_path / "target-001-from-pretrained.json").unlink()
    again = Recorder()
    again.recipe(tmp_path).cook("erm")
    assert again.names == ["target-001-from-pretrained"]


def test_facts_of_another_job_are_refused(tmp_path):
    Recorder().recipe(tmp_path).cook("erm")
    path = tmp_path / "target-000-from-pretrained.json"
    facts = json.loads(path.read_text())
    facts["job"]["seed"] += 1
    path.write_text(json.dumps(facts))
    with pytest.raises(ConfigError, match="of another job"):
        Recorder().recipe(tmp_path).cook("erm")
    path.write_text("[1")
    with pytest.raises(ConfigError, match="is no JSON object"):
        Recorder().recipe(tmp_path).cook("erm")


@pytest.mark.parametrize(
    "dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool]
)
def test_tensors_come_back_as_they_were(tmp_path, dtype):
    kept = Kept(tmp_path, {})
    weights = {
        "a.b": torch.arange(6).to(dtype).view(2, 3).t(), "scalar": torch.tensor(1).to(dtype), "none": torch.empty(0, 3, dtype=dtype)
    }  # fmt: skip
    facts = kept.write("one", weights, {"validation": 0.1})
    found = kept.read("one")
    assert found is not None
    assert same(found[0], weights)
    assert all(found[0][name].dtype == dtype and found[0][name].shape == weights[name].shape for name in weights)
    assert found[1] == facts == {"validation": 0.1, "sha256": digest(weights)}
    assert kept.read("two") is None
