"""Experts that are solved together, as on a GPU, become what they become one by one."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, Silent
from zoo import ZOO, calibration, save

from fmcompress import block_solver, layer_batches
from fmcompress.calibration import Group
from fmcompress.config import PruneConfig, QuantizeConfig
from fmcompress.formats import open_checkpoint
from fmcompress.pipeline import compress_checkpoint, prepare

ALL = 1 << 40  # bytes: room for any batch


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("batches")
    for name in ("mixtral", "gpt_oss"):
        save(ZOO[name], folder / name)
    calibration(ZOO["clip"], folder)
    return folder


@pytest.fixture
def solved(monkeypatch: pytest.MonkeyPatch) -> list[list[str]]:
    """The layers of each batch that is solved."""
    seen, solve = list[list[str]](), block_solver.solve_together

    def solve_and_note(job: Any, layers: Any, groups: Any, names: list[str]) -> Any:
        seen.append([layers[name].tensor for name in names])
        return solve(job, layers, groups, names)

    monkeypatch.setattr(block_solver, "solve_together", solve_and_note)
    return seen


def run(home: Path, name: str, out: Path, device: torch.device = CPU, **options: Any) -> list[dict[str, Any]]:
    kind = QuantizeConfig if options.get("method") == "gptq" else PruneConfig
    config = kind(**{"sequence_length": 32, "samples": 4, "dtype": "float32", **options})
    facts = compress_checkpoint(prepare(home / name, config, home / "text.txt", device), out, Silent())
    return list(facts["layers"])


def assert_alike(one: list[dict[str, Any]], two: list[dict[str, Any]], folder: Path) -> None:
    """Records, and the checkpoints in the folders one and two."""
    for record, twin in zip(one, two, strict=True):
        for key in ("tensor", "tokens", "damping", "dead_columns"):
            assert record[key] == twin[key]
        # a kept weight near the middle of two levels may be rounded to the other one, of which one is 0
        assert twin["zeros"] == pytest.approx(record["zeros"], abs=0.01 * record["zeros"] if "bits" in record else 0)
        for key in ("loss", "relative_error"):
            assert twin[key] == pytest.approx(record[key], rel=0.02)
    sources = open_checkpoint(folder / "one"), open_checkpoint(folder / "two")
    for record in one:
        weight, twin = (source.read(record["tensor"]).float() for source in sources)
        # a choice between scores that differ by rounding may fall the other way
        assert ((weight == 0) != (twin == 0)).float().mean() < 0.01, record["tensor"]
        moved = (weight - twin).abs() > 1e-3 * weight.abs().max()
        assert moved.float().mean() < 0.02, record["tensor"]


OPTIONS: dict[str, dict[str, Any]] = {
    "half": {"sparsity": 0.5},
    "2:4": {"pattern": "2:4"},
    "half and codes": {"sparsity": 0.5, "bits": 4, "group_size": 16, "format": "dense"},
    "in sequence": {"sparsity": 0.5, "true_sequential": True},
}


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_as_one_by_one(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    solved: list[list[str]],
    name: str,
    options: dict[str, Any],
) -> None:
    one = run(home, name, tmp_path / "one", **options)
    assert not solved  # a CPU solves them one by one
    monkeypatch.setattr(layer_batches, "room_bytes", lambda device: ALL)
    two = run(home, name, tmp_path / "two", **options)
    assert_alike(one, two, tmp_path)
    experts = [names for names in solved if "expert" in names[0]]
    parts = {"mixtral": ("w1", "w2", "w3"), "gpt_oss": ("gate_up_proj", "down_proj")}[name]
    assert {len(names) for names in experts} == {4}
    for part in parts:
        assert sum(all(part in tensor for tensor in names) for names in experts) == 2  # once a block
    assert not [names for names in solved if sum("k_proj" in tensor or "v_proj" in tensor for tensor in names)]


def test_quantized_experts(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, solved: list[list[str]]
) -> None:
    options = {"method": "gptq", "bits": 4, "group_size": 16}
    one = run(home, "mixtral", tmp_path / "one", **options)
    monkeypatch.setattr(layer_batches, "room_bytes", lambda device: ALL)
    two = run(home, "mixtral", tmp_path / "two", **options)
    assert solved
    for record, twin in zip(one, two, strict=True):
        assert (record["tensor"], record["tokens"]) == (twin["tensor"], twin["tokens"])
        assert twin["loss"] == pytest.approx(record["loss"], rel=0.05)


def test_as_many_together_as_there_is_room_for(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, solved: list[list[str]]
) -> None:
    widest = max(layer_batches.needed_bytes(16, 32), layer_batches.needed_bytes(32, 16))
    monkeypatch.setattr(layer_batches, "room_bytes", lambda device: 3 * widest)
    run(home, "gpt_oss", tmp_path / "some", sparsity=0.5)
    assert {len(names) for names in solved if "expert" in names[0]} <= {2, 3}
    solved.clear()
    monkeypatch.setattr(layer_batches, "room_bytes", lambda device: 1)
    run(home, "gpt_oss", tmp_path / "none", sparsity=0.5)
    assert not solved


@pytest.mark.parametrize(("products", "fewest"), [("fp32", 4), ("tf32x3", 2)])
def test_parts_of_split_factors_take_room(
    home: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    solved: list[list[str]],
    products: str,
    fewest: int,
) -> None:
    needed = max(layer_batches.needed_bytes(rows, cols) for rows, cols in [(128, 32), (32, 64)])
    monkeypatch.setattr(layer_batches, "room_bytes", lambda device: 4 * needed)
    run(home, "gpt_oss", tmp_path / "out", sparsity=0.5, products=products)
    assert min(len(names) for names in solved if "expert" in names[0]) == fewest


@pytest.mark.parametrize(("free", "room"), [(139, 17), (100, 17), (69, 17), (32, 8)])
def test_what_is_free_decides_only_on_a_full_gpu(monkeypatch: pytest.MonkeyPatch, free: int, room: int) -> None:
    """In GiB. Other batches could give other last bits, and --resume promises the same bytes."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: ((free - 1) << 30, 139 << 30))
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda _: 3 << 30)
    monkeypatch.setattr(torch.cuda, "memory_allocated", lambda _: 2 << 30)
    assert layer_batches.room_bytes(torch.device("cuda")) >> 30 == room
    assert layer_batches.room_bytes(torch.device("cpu")) == 0


@pytest.mark.parametrize(
    "options",
    [
        {"sparsity": 0.5, "method": "wanda"},
        {"sparsity": 0.5, "method": "admm"},
        {"sparsity": 0.5, "refit": True},
        {"sparsity": 0.5, "swap": True},
        {"sparsity": 0.5, "bits": 4, "group_size": 16, "activation_order": True},
        {"sparsity": 0.5, "min_tokens": 10**6, "few_tokens": "magnitude"},
    ],
    ids=lambda options: str(list(options)[1:]),
)
def test_what_the_sweep_alone_does_not_solve_goes_one_by_one(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, solved: list[list[str]], options: dict[str, Any]
) -> None:
    monkeypatch.setattr(layer_batches, "room_bytes", lambda device: ALL)
    assert run(home, "mixtral", tmp_path / "out", **options)
    assert not solved


def test_only_layers_of_one_rank_come_together(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_batches, "room_bytes", lambda device: ALL)
    config = PruneConfig(sparsity=0.5, sequence_length=32, samples=4)
    job = prepare(home / "gpt_oss", config, home / "text.txt", CPU)
    groups = [Group([name], torch.empty(0), tokens=9) for name in job.layers[0]]
    own = {name: layer for name, layer in job.layers[0].items() if "[1]" not in layer.tensor}
    found = layer_batches.batches(job, own, [None, *groups])
    assert {len(names) for names in found.values() if "expert" in names[0]} == {3}
    assert {name for names in found.values() for name in names} <= set(own)


def test_experts_of_other_sparsities_do_not_come_together(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer_batches, "room_bytes", lambda device: ALL)
    config = PruneConfig(sparsity=0.5, sequence_length=32, samples=4)
    job = prepare(home / "gpt_oss", config, home / "text.txt", CPU)
    shares = {layer.tensor: 0.25 if "[1]" in layer.tensor else 0.5 for layer in job.layers[0].values()}
    job = replace(job, config=config.model_copy(update={"allocation": shares}))
    found = layer_batches.batches(job, job.layers[0], [Group([name], torch.empty(0)) for name in job.layers[0]])
    assert {len(names) for names in found.values() if "expert" in names[0]} == {3}
    for name, layer in job.layers[0].items():
        assert {job.config.target(job.layers[0][other].tensor) for other in found.get(name, [name])} == {
            job.config.target(layer.tensor)
        }


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("name", ["mixtral", "gpt_oss"])
def test_on_a_gpu_as_on_a_cpu(
    home: Path, tmp_path: Path, solved: list[list[str]], name: str, options: dict[str, Any]
) -> None:
    one = run(home, name, tmp_path / "one", **options)
    assert not solved
    two = run(home, name, tmp_path / "two", torch.device("cuda"), **options)
    assert any("expert" in names[0] for names in solved)
    assert_alike(one, two, tmp_path)
