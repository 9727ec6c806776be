"""What is particular to experts, Conv1D and stacks: patterns, fallbacks, resuming, formats, methods without data."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import bare_checkpoint, random_weight
from helpers import CPU, Silent, folder_bytes, make_text
from torch import Tensor
from zoo import ZOO, calibration, load, save

from fmcompress import block_solver, hidden_states, pipeline
from fmcompress.checkpoint import Checkpoint, obeys
from fmcompress.config import PruneConfig, QuantizeConfig
from fmcompress.errors import CheckpointError, ConfigError
from fmcompress.formats import open_checkpoint
from fmcompress.pipeline import compress_checkpoint, prepare

OPTIONS: dict[str, Any] = {"sequence_length": 32, "samples": 4}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("solving")
    for name in ("gpt2", "mixtral", "gpt_oss", "qwen3_moe", "t5", "bert", "clip"):
        save(ZOO[name], folder / name)
    calibration(ZOO["clip"], folder)
    return folder


def run(home: Path, name: str, out: Path, observer: Any = None, resume: bool = False, **options: Any) -> dict[str, Any]:
    kind = QuantizeConfig if options.get("method") in ("gptq", "rtn") else PruneConfig
    config = kind(**{**OPTIONS, **options})
    given = ZOO[name].inputs if config.needs_data else ()
    text = home / "text.txt" if "text" in given else None
    job = prepare(home / name, config, text, CPU, images=home / "images" if "images" in given else None)
    return compress_checkpoint(job, out, observer or Silent(), resume=resume)


@pytest.mark.parametrize("method", ["sparsegpt", "wanda", "admm", "magnitude"])
@pytest.mark.parametrize("name", ["gpt2", "gpt_oss", "qwen3_moe"])
def test_groups_run_along_the_inputs(home: Path, tmp_path: Path, name: str, method: str) -> None:
    facts = run(home, name, tmp_path / "out", method=method, pattern="2:4")
    written = Checkpoint(tmp_path / "out")
    for record in facts["layers"]:
        weight = written.read(record["tensor"])
        turned = name == "gpt2" or (name == "gpt_oss" and "experts" in record["tensor"])
        assert record.get("transposed", False) == turned
        assert obeys(weight.T.contiguous() if turned else weight, 2, 4)
    assert any("experts" in record["tensor"] for record in facts["layers"]) == (name != "gpt2")


@pytest.mark.parametrize("name", ["gpt2", "mixtral", "gpt_oss", "t5", "clip"])
def test_later_blocks_see_the_pruned_ones(
    home: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a block is calibrated with is what the pruned model that is loaded again gives it."""
    given: dict[int, Tensor] = {}
    solve = block_solver.solve_block

    def spy(job: Any, index: int, block: Any, batches: Any, *more: Any) -> Any:
        given[index] = torch.cat([batch.hidden for batch in batches])
        jobs.append(job)
        return solve(job, index, block, batches, *more)

    jobs: list[Any] = []
    monkeypatch.setattr(pipeline, "solve_block", spy)
    monkeypatch.setattr(hidden_states, "BATCH_TOKENS", 64)  # several batches, which share what is equal
    monkeypatch.setattr(hidden_states, "BATCH_IMAGES", 3)
    run(home, name, tmp_path / "out", sparsity=0.5)
    whole, seen, job = load(tmp_path / "out", ZOO[name]), {}, jobs[0]
    for index, (path, _) in enumerate(job.streamed.blocks):
        hook = lambda _, args, kwargs, i=index: seen.update({i: args[0] if args else kwargs["hidden_states"]})  # noqa: E731
        whole.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True)
    inputs = {"input_ids": job.windows, "pixel_values": job.images, "labels": job.windows if name == "t5" else None}
    with torch.no_grad():
        whole(**{key: value for key, value in inputs.items() if value is not None})
    assert given.keys() == seen.keys() == set(range(len(job.streamed.blocks)))
    for index, hidden in given.items():
        torch.testing.assert_close(hidden, seen[index], rtol=0, atol=1e-4)


class Interrupted(Exception):
    pass


class StopsAt(Silent):
    """An observer in whose hands a run ends after so many blocks."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.left = blocks

    def block(self, block: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise Interrupted


@pytest.mark.parametrize(
    ("name", "blocks"), [("t5", 1), ("t5", 3), ("clip", 2), ("clip", 3), ("gpt_oss", 1), ("mixtral", 1)]
)
def test_resumed_runs_write_the_same_bytes(home: Path, tmp_path: Path, name: str, blocks: int) -> None:
    run(home, name, tmp_path / "whole", sparsity=0.5)
    with pytest.raises(Interrupted):
        run(home, name, tmp_path / "out", StopsAt(blocks), sparsity=0.5)
    observer = Silent()
    run(home, name, tmp_path / "out", observer, resume=True, sparsity=0.5)
    assert observer.done == blocks
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")


def test_images_are_in_the_fingerprint(home: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(home, "clip", tmp_path / "out", StopsAt(1), sparsity=0.5)
    (other := tmp_path / "home").mkdir()
    for name in ("clip", "images"):
        shutil.copytree(home / name, other / name)
    shutil.copyfile(home / "text.txt", other / "text.txt")
    for path in sorted((other / "images").iterdir())[:-1]:
        path.unlink()
    with pytest.raises(ConfigError, match="calibration"):
        run(other, "clip", tmp_path / "out", resume=True, sparsity=0.5)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        (
            "gpt2",
            {"sparsity": 0.5, "format": "packed"},
            r"h\.0\.attn\.c_attn\.weight: is a layer stored as \[inputs, out",
        ),
        (
            "gpt2",
            {"method": "gptq", "group_size": 16},
            r"compressed-tensors holds linear layers only\. Use --format dense",
        ),
        (
            "gpt_oss",
            {"sparsity": 0.5, "format": "packed", "include": "experts"},
            r"gate_up_proj\[0\]: is .* Use --format dense",
        ),
        (
            "gpt_oss",
            {"method": "gptq", "group_size": 16, "include": "experts"},
            r"proj\[0\]: compressed-tensors holds linear",
        ),
    ],
    ids=str,
)
def test_forms_that_cannot_hold_a_layer_are_refused_at_once(
    home: Path, tmp_path: Path, name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        run(home, name, tmp_path / "out", **options)
    assert not (tmp_path / "out.partial").exists()


def test_experts_that_are_tensors_of_their_own_are_packed_and_run(home: Path, tmp_path: Path) -> None:
    from fmcompress import runtime
    from fmcompress.formats.unpack import unpack_checkpoint

    run(home, "mixtral", tmp_path / "packed", sparsity=0.5, format="packed")
    run(home, "mixtral", tmp_path / "dense", sparsity=0.5)
    unpack_checkpoint(tmp_path / "packed", tmp_path / "unpacked")
    name = "model.safetensors"
    assert (tmp_path / "unpacked" / name).read_bytes() == (tmp_path / "dense" / name).read_bytes()
    ids = torch.arange(20)[None] + 5
    with torch.no_grad():
        got = runtime.load(tmp_path / "packed")(input_ids=ids).logits
        torch.testing.assert_close(
            got, load(tmp_path / "dense", ZOO["mixtral"])(input_ids=ids).logits, atol=1e-4, rtol=0
        )


def test_an_encoder_quantized_for_transformers(home: Path, tmp_path: Path) -> None:
    pytest.importorskip("compressed_tensors")
    run(home, "bert", tmp_path / "ct", method="gptq", bits=8, group_size=16)
    run(home, "bert", tmp_path / "dense", method="gptq", bits=8, group_size=16, format="dense")
    one, two = open_checkpoint(tmp_path / "ct"), Checkpoint(tmp_path / "dense")
    assert all(one.read(name).equal(two.read(name)) for name in two.tensors)


def test_experts_of_an_unknown_model(tmp_path: Path) -> None:
    """By name and rank, each slice by itself."""
    stacked = torch.stack([random_weight(8, 16, seed=seed) for seed in range(3)])
    tensors = {
        "l.0.experts.up": stacked,
        "l.0.conv.weight": torch.randn(8, 4, 3),
        "l.0.mlp.weight": random_weight(8, 16),
    }
    model = bare_checkpoint(tmp_path / "model", tensors)
    job = prepare(model, PruneConfig(method="magnitude", pattern="2:4"), None, CPU)
    facts = compress_checkpoint(job, tmp_path / "out", Silent())
    assert {r["tensor"] for r in facts["layers"]} == {"l.0.mlp.weight", *(f"l.0.experts.up[{i}]" for i in range(3))}
    written = Checkpoint(tmp_path / "out")
    assert obeys(written.read("l.0.experts.up").view(24, 16), 2, 4)
    assert written.read("l.0.conv.weight").equal(Checkpoint(model).read("l.0.conv.weight"))


def test_a_missing_expert(home: Path, tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    shutil.copytree(home / "mixtral", tmp_path / "mixtral")
    path = tmp_path / "mixtral" / "model.safetensors"
    tensors = load_file(path)
    del tensors["model.layers.1.block_sparse_moe.experts.3.w2.weight"]
    save_file(tensors, path, metadata={"format": "pt"})
    shutil.copyfile(make_text(tmp_path / "t.txt", 4000), tmp_path / "text.txt")
    with pytest.raises(CheckpointError, match=r"experts\.0\.w2\.weight: it and its like fill"):
        run(tmp_path, "mixtral", tmp_path / "out", sparsity=0.5)
