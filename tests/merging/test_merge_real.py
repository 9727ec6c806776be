"""Merges of real checkpoints that transformers loads, of packed ones, and in memory that does not grow with a tensor."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from compression import run
from helpers import ROOT, make_checkpoint
from merging_cases import all_tensors, assert_same_bits, expected_sum, run_merge, write_model
from safetensors.torch import load_file, save_file
from torch import Tensor

from fmcompress.checkpoint import Checkpoint
from fmcompress.formats import open_checkpoint


def variant(source: Path, folder: Path, seed: int, dtype: torch.dtype | None = None) -> Path:
    """The same checkpoint with noise."""
    folder.mkdir()
    generator = torch.Generator().manual_seed(seed)
    for path in source.iterdir():
        if path.suffix != ".safetensors":
            (folder / path.name).write_bytes(path.read_bytes())
            continue
        noisy: dict[str, Tensor] = {}
        for name, tensor in load_file(path).items():
            noise = 0.01 * torch.randn(tensor.shape, generator=generator)
            noisy[name] = (tensor.float() + noise).to(dtype or tensor.dtype)
        save_file(noisy, folder / path.name, metadata={"format": "pt"})
    return folder


@pytest.mark.parametrize("name", ["babyllama105", "stories260k", "wikitext-llama"])
def test_transformers_loads_a_merge_of_real_models(shared_data: Path, tmp_path: Path, name: str) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source = shared_data / "checkpoints" / name
    others = [variant(source, tmp_path / f"v{seed}", seed) for seed in (1, 2)]
    models = [source, *others]
    got = run_merge(tmp_path / "out", "uniform", models)
    read = [all_tensors(model) for model in models]
    assert_same_bits(got, {n: expected_sum([one[n] for one in read], [1 / 3] * 3, t.dtype) for n, t in read[0].items()})
    model, missing = AutoModelForCausalLM.from_pretrained(tmp_path / "out", dtype="auto", output_loading_info=True)
    assert not any(missing.values()), missing
    before = AutoModelForCausalLM.from_pretrained(source, dtype="auto")
    assert model.state_dict().keys() == before.state_dict().keys()
    assert {n: p.shape for n, p in model.named_parameters()} == {n: p.shape for n, p in before.named_parameters()}
    for key, value in model.state_dict().items():
        if key in got:
            assert torch.equal(value, got[key]), key
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("Once upon a time").input_ids
    half = run_merge(tmp_path / "half", "task_arithmetic", [
        {"model": str(one), "parameters": {"weight": 0.5}} for one in others
    ], base_model=str(source), dtype="bfloat16")  # fmt: skip
    assert {tensor.dtype for tensor in half.values()} == {torch.bfloat16}
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "half", dtype="auto")
    assert loaded.dtype == torch.bfloat16


@pytest.mark.parametrize("form", ["packed", "compressed-tensors"])
def test_packed_and_quantized_models_are_merged_as_dense(tmp_path: Path, form: str) -> None:
    dense = make_checkpoint(tmp_path / "dense", dtype=torch.bfloat16, shards=2)
    run(dense, tmp_path / "encoded", method="rtn", bits=4, group_size=16, format=form)
    encoded = open_checkpoint(tmp_path / "encoded")
    ours = {name: encoded.read(name) for name in encoded.tensors}
    theirs = all_tensors(dense)
    for number, order in enumerate((("dense", "encoded"), ("encoded", "dense"))):
        got = run_merge(tmp_path / f"out{number}", "uniform", [tmp_path / name for name in order])
        wanted = {name: expected_sum([ours[name], theirs[name]], [0.5, 0.5], t.dtype) for name, t in theirs.items()}
        assert_same_bits(got, wanted)
        assert type(open_checkpoint(tmp_path / f"out{number}")) is Checkpoint
    assert {path.name for path in (tmp_path / "out1").iterdir()} == {
        path.name for path in (tmp_path / "out0").iterdir()
    }


MEASURED = """
import sys
from pathlib import Path
from fmcompress.merging import merge_checkpoints, plan_merge, recipe_of

def most():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM"))

def merge(models, out):
    listed = [{"model": str(model)} for model in models]
    fields = {"base_model": listed[0]["model"]} if sys.argv[1] == "task_arithmetic" else {}
    parameters = {"t": 0.5} if sys.argv[1] == "slerp" else {} if sys.argv[1] == "uniform" else {"weight": 0.5}
    recipe = recipe_of({"models": listed, "merge_method": sys.argv[1], "parameters": parameters, **fields})
    merge_checkpoints(plan_merge(recipe), Path(out))

home = Path(sys.argv[2])
models = sys.argv[3:]
merge([home / f"small-{m}" for m in models], home / "small")
before = most()
merge([home / f"large-{m}" for m in models], home / "large")
print(most() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
@pytest.mark.parametrize(("method", "models"), [("uniform", 3), ("task_arithmetic", 3), ("slerp", 2)])
def test_memory_is_that_of_blocks(tmp_path: Path, method: str, models: int) -> None:
    """A tensor of 128 MB in each of the models, which are holes on disk; the blocks of both threads are under 15 MB."""
    rows = 1 << 13
    for number in range(models):
        write_model(tmp_path / f"small-{number}", {"w": torch.zeros(4, rows, dtype=torch.bfloat16)})
        folder = write_model(tmp_path / f"large-{number}", {"w": torch.zeros(0, rows, dtype=torch.bfloat16)})
        fields = {"dtype": "BF16", "shape": [rows, rows], "data_offsets": [0, 2 * rows * rows]}
        header = json.dumps({"w": fields}).encode()
        path = folder / "model.safetensors"
        path.write_bytes(len(header).to_bytes(8, "little") + header)
        os.truncate(path, 8 + len(header) + 2 * rows * rows)
    command = [sys.executable, "-c", MEASURED, method, str(tmp_path), *map(str, range(models))]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) < 48 << 20
    (tmp_path / "large" / "model.safetensors").unlink()
