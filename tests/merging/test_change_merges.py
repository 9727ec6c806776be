"""TIES, DARE and soups on checkpoints: the engine's bits are those of one tensor in memory; a real model's soup."""

import shutil
from pathlib import Path

import pytest
import torch
from change_cases import merged
from helpers import invoke
from merging_cases import all_tensors, assert_same_bits, random_tensors, run_merge, weighted, write_model
from safetensors.torch import load_file, save_file

from fmcompress.errors import CheckpointError
from fmcompress.merging.dare import dare_linear, dare_ties
from fmcompress.merging.ties import ties

METHODS = {"ties": (ties, True), "dare_linear": (dare_linear, False), "dare_ties": (dare_ties, False)}


@pytest.fixture
def folders(tmp_path):
    """A base and two models near it, in as many shards as they like."""
    tensors = [random_tensors(0, torch.bfloat16)]
    for seed in (1, 2):
        noise = random_tensors(seed)
        tensors.append({
            name: (one.float() + 0.1 * noise[name]).bfloat16() if one.is_floating_point() else one
            for name, one in tensors[0].items()
        })  # fmt: skip
    return [write_model(tmp_path / f"m{n}", each, shards=n + 1) for n, each in enumerate(tensors)]


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("change", [{}, {"block_entries": 4096, "workers": 3}])
def test_a_merge_of_checkpoints_is_one_of_every_tensor(tmp_path, folders, name, change) -> None:
    method, normalize = METHODS[name]
    base, first, second = folders
    models = [{"model": str(base)}, weighted(first, weight=0.7, density=0.3), weighted(second, weight=0.4, density=0.6)]
    got = run_merge(
        tmp_path / "out", name, models, change=change, base_model=str(base), parameters={"lambda": 0.9}, seed=3
    )
    wanted = {}
    stored = [all_tensors(folder) for folder in folders]
    for tensor, one in stored[0].items():
        if not one.is_floating_point():
            wanted[tensor] = one
            continue
        rows = torch.stack([each[tensor].reshape(-1) for each in stored])
        options = {"weights": (0.7, 0.4), "densities": (0.3, 0.6), "normalize": normalize, "scale": 0.9, "seed": 3}
        wanted[tensor] = merged(method, rows, name=tensor, **options).view(one.shape)
    assert_same_bits(got, wanted)
    assert any(not torch.equal(got[one], stored[0][one]) for one in got)


@pytest.mark.parametrize("name", METHODS)
def test_nan_is_not_trimmed_away(tmp_path, folders, name) -> None:
    tensors = all_tensors(folders[1])
    tensors["model.layers.0.norm.weight"][3] = torch.nan
    broken = write_model(tmp_path / "broken", tensors)
    with pytest.raises(CheckpointError, match=r"model\.layers\.0\.norm\.weight: .*broken holds inf or NaN"):
        run_merge(tmp_path / "out", name, [weighted(broken, weight=1.0, density=0.01)], base_model=str(folders[0]))
    assert not (tmp_path / "out").exists()


def noisy(source: Path, folder: Path, seed: int, noise: float) -> Path:
    """The same checkpoint with noise on its matrices, a share of their spread."""
    shutil.copytree(source, folder)
    generator = torch.Generator().manual_seed(seed)
    for path in sorted(folder.glob("*.safetensors")):
        tensors = load_file(path)
        for name, tensor in tensors.items():
            if tensor.dim() > 1:
                tensors[name] = tensor + noise * tensor.std() * torch.randn(tensor.shape, generator=generator)
        save_file(tensors, path, metadata={"format": "pt"})
    return folder


def test_a_soup_of_a_real_model_leaves_broken_ones_out(shared_data, tmp_path, capsys) -> None:
    import json

    source = shared_data / "checkpoints" / "stories260k"
    noises = (0.05, 1.5, 0.05, 0.6, 0.05)
    models = [noisy(source, tmp_path / f"m{n}", n, noise) for n, noise in enumerate(noises)]
    text = shared_data / "tinystories-sample" / "tiny_stories.txt.xz"
    options = ("--text", text, "--sequence-length", 128, "--max-windows", 12)
    done = invoke(capsys, "soup", *models, tmp_path / "out", *options, "--json")
    assert done.code == 0, done.stderr
    facts = json.loads(done.stdout)
    assert facts["members"] == [0, 2, 4]
    assert facts["score"] < min(facts["singles"])
    told = json.loads(invoke(capsys, "eval", tmp_path / "out", *options, "--json").stdout)
    assert told["perplexity"] == facts["score"]
