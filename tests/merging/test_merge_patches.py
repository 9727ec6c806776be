"""Patches are merged onto their base: the same bits as the models that they make, and one line where they do not fit."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import folder_bytes, invoke
from merging_cases import all_tensors, assert_same_bits, random_tensors, run_merge, write_model
from torch import Tensor

MLP = "model.layers.1.mlp.weight"
METHODS = {
    "task_arithmetic": "{weight: 0.6, lambda: 0.9}",
    "ties": "{weight: 0.7, density: 0.3}",
    "dare_ties": "{weight: 0.7, density: 0.3}",
    "uniform": "{}",
}


def changed(base: dict[str, Tensor], seed: int) -> dict[str, Tensor]:
    """A model near it: of three tensors one is equal, one changed in a few places, one everywhere."""
    noise = random_tensors(seed)
    tensors = {}
    for number, (name, tensor) in enumerate(base.items()):
        moved = (tensor + 0.05 * noise[name].to(tensor.dtype)).to(tensor.dtype)
        few = torch.arange(tensor.numel()).view(tensor.shape) % 50 == seed
        still = number % 3 == seed % 3 or not tensor.is_floating_point()
        tensors[name] = tensor if still else moved if number % 3 == 1 else torch.where(few, moved, tensor)
    return tensors


@pytest.fixture
def home(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    """A base, two models of it, and a patch of each."""
    base = random_tensors(0, torch.bfloat16)
    for name, tensors in {"base": base, "one": changed(base, 1), "two": changed(base, 2)}.items():
        folder = write_model(tmp_path / name, tensors, shards=2)
        (folder / "tokenizer.json").write_text('{"model": {"vocab": {"a": 0, "b": 1}}}')
    for name in ("one", "two"):
        make(tmp_path, capsys, name)
    return tmp_path


def make(home: Path, capsys: pytest.CaptureFixture[str], name: str, base: str = "base") -> None:
    shutil.rmtree(home / f"{name}-patch", ignore_errors=True)
    done = invoke(capsys, "patch", "make", home / base, home / name, home / f"{name}-patch", "--quiet")
    assert done.code == 0, done.stderr


def merge(home: Path, capsys: pytest.CaptureFixture[str], out: str, models: list[str], method: str, base: str) -> Any:
    """The command's outcome, with a recipe in a file."""
    listed = ", ".join(f"{{model: {home / name}}}" for name in models)
    text = f"models: [{listed}]\nmerge_method: {method}\nparameters: {METHODS[method]}\n"
    (home / "recipe.yaml").write_text(text + (f"base_model: {home / base}\n" if base else ""))
    return invoke(capsys, "merge", home / "recipe.yaml", home / out, "--json", "--quiet")


@pytest.mark.parametrize("method", METHODS)
def test_two_patches_onto_a_base_are_the_two_models(
    home: Path, capsys: pytest.CaptureFixture[str], method: str
) -> None:
    models = ["one", "two"] if method != "uniform" else ["base", "one", "two"]  # a base is the layout of such a merge
    patched = [name if name == "base" else f"{name}-patch" for name in models]
    ours = merge(home, capsys, "ours", patched, method, "base")
    assert ours.code == 0, ours.stderr
    theirs = merge(home, capsys, "theirs", models, method, "base")
    assert theirs.code == 0, theirs.stderr
    got, wanted = folder_bytes(home / "ours"), folder_bytes(home / "theirs")
    assert got.keys() == wanted.keys()
    assert [name for name in got if got[name] != wanted[name]] == ["fmcompress-merge.json"]  # names and digests
    assert not torch.equal(all_tensors(home / "ours")[MLP], all_tensors(home / "base")[MLP])
    digests = [one["digest"] for one in json.loads(ours.stdout)["sources"]]
    assert len(set(digests)) == 3


def test_patches_without_the_base_in_the_average(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = merge(home, capsys, "ours", ["one-patch", "two-patch"], "uniform", "base")
    assert done.code == 0, done.stderr
    assert merge(home, capsys, "theirs", ["one", "two"], "uniform", "one").code == 0
    assert (home / "ours" / "model-00001-of-00002.safetensors").read_bytes() == (
        home / "theirs" / "model-00001-of-00002.safetensors"
    ).read_bytes()


def test_patches_cut_into_blocks_are_the_same(home: Path) -> None:
    def merged(out: str, names: list[str], **change: Any) -> dict[str, Tensor]:
        fields = {"base_model": str(home / "base"), "parameters": {"weight": 0.7, "density": 0.3}}
        return run_merge(home / out, "ties", [home / name for name in names], change=change, **fields)

    assert_same_bits(merged("ours", ["one-patch", "two-patch"], block_entries=4096), merged("theirs", ["one", "two"]))


def refused(outcome: Any, code: int, *wanted: str) -> None:
    assert (outcome.code, outcome.stderr.count("\n")) == (code, 1), outcome.stderr
    for words in wanted:
        assert words in outcome.stderr, outcome.stderr


def test_what_does_not_fit_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def tried(models: list[str], base: str, method: str = "task_arithmetic") -> Any:
        outcome = merge(home, capsys, "out", models, method, base)
        assert not list(home.glob("out*"))
        return outcome

    for base in ("", "one-patch"):
        refused(tried(["one-patch", "two"], base, "uniform"), 2, "one-patch: a patch, which needs the model")
    write_model(home / "other", random_tensors(5, torch.bfloat16))
    refused(tried(["one-patch", "two-patch"], "other"), 2, "one-patch: BASE: ", "other: tensor", "is not the one that")
    make(home, capsys, "two", base="other")  # a wrong patch among right ones is named
    refused(tried(["one-patch", "two-patch"], "base"), 2, "two-patch: BASE: ", "base: tensor", "is not the one that")
    write_model(home / "wide", {**random_tensors(0, torch.bfloat16), MLP: torch.zeros(97, 130)})
    wanted = f"wide: tensor '{MLP}': expected BF16 [97, 129], got F32 [97, 130]"
    refused(tried(["one-patch"], "wide"), 2, "one-patch: BASE: ", wanted)


def test_patches_of_more_tokens_than_the_base_that_lends_its_layout(home: Path, capsys: Any) -> None:
    name = "model.embed_tokens.weight"
    for model in ("one", "two"):
        tensors = all_tensors(home / model)
        shutil.rmtree(home / model)
        write_model(home / model, {**tensors, name: torch.cat([tensors[name], tensors[name][:1]])})
        make(home, capsys, model)
    done = merge(home, capsys, "out", ["one-patch", "two-patch"], "uniform", "base")
    refused(done, 2, f"{name}: different vocabularies: 60 tokens in", "61 in")


def test_a_damaged_patch_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = home / "two-patch" / "patch.safetensors"
    data = bytearray(path.read_bytes())
    for place in (-1, 200):
        broken = bytearray(data)
        broken[place] ^= 1
        path.write_bytes(broken)
        refused(merge(home, capsys, "out", ["one-patch", "two-patch"], "ties", "base"), 2, "etch")
        assert not list(home.glob("out*"))
    path.write_bytes(data[:-1])
    refused(merge(home, capsys, "out", ["one-patch", "two-patch"], "ties", "base"), 2, "patch.safetensors")


def test_a_patch_brings_its_config_and_its_tokens(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    config = json.loads((home / "two" / "config.json").read_text())
    (home / "two" / "config.json").write_text(json.dumps({**config, "hidden_size": 17}))
    make(home, capsys, "two")
    refused(merge(home, capsys, "out", ["two-patch"], "ties", "base"), 2, "hidden_size is 16 in", "17 in")
    (home / "two" / "config.json").write_text(json.dumps(config))
    (home / "two" / "tokenizer.json").write_text('{"model": {"vocab": {"b": 0, "a": 1}}}')
    make(home, capsys, "two")
    refused(merge(home, capsys, "out", ["two-patch"], "ties", "base"), 2, "token 0 is 'a' in", "two-patch")
    (home / "two" / "tokenizer.json").unlink()  # a model without one is asked nothing
    make(home, capsys, "two")
    assert merge(home, capsys, "out", ["two-patch"], "ties", "base").code == 0
