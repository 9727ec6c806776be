"""Experts that few calibration tokens reach, or none: an error by default, solved without data where asked for."""

import shutil
from pathlib import Path
from typing import Any

import pytest
from helpers import CPU, Silent, make_text
from zoo import ZOO, save

from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig, QuantizeConfig
from fmcompress.errors import CalibrationError
from fmcompress.pipeline import compress_checkpoint, prepare


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("few")
    for name in ("gpt_oss", "qwen3_moe"):
        save(ZOO[name], folder / name)
    make_text(folder / "text.txt", 4000)
    return folder


def run(home: Path, name: str, out: Path, **options: Any) -> dict[str, Any]:
    config = (QuantizeConfig if options.get("method") == "gptq" else PruneConfig)(
        sequence_length=32, samples=4, **options
    )
    return compress_checkpoint(prepare(home / name, config, home / "text.txt", CPU), out, Silent())


def with_a_lonely_expert(folder: Path, home: Path) -> Path:
    """A copy of gpt_oss whose routers never choose expert 2 of block 1."""
    from safetensors.torch import load_file, save_file

    shutil.copytree(home / "gpt_oss", folder / "gpt_oss")
    path = folder / "gpt_oss" / "model.safetensors"
    tensors = load_file(path)
    tensors["model.layers.1.mlp.router.bias"][2] = -1e4
    save_file(tensors, path, metadata={"format": "pt"})
    shutil.copyfile(home / "text.txt", folder / "text.txt")
    return folder


@pytest.mark.parametrize("true_sequential", [False, True])
def test_an_expert_that_no_token_reaches(home: Path, tmp_path: Path, true_sequential: bool) -> None:
    from fmcompress.pruning import magnitude

    options = {"sparsity": 0.5, "true_sequential": true_sequential}
    lonely = with_a_lonely_expert(tmp_path, home)
    with pytest.raises(
        CalibrationError, match=r"layers\.1\.mlp\.experts\.\w+\[2\]: 0 calibration tokens .*--few-tokens mag"
    ):
        run(lonely, "gpt_oss", tmp_path / "out", **options)
    assert not (tmp_path / "out.partial").exists()
    facts = run(lonely, "gpt_oss", tmp_path / "out", few_tokens="magnitude", **options)
    assert any("reached by fewer calibration tokens" in note and "[2] (0)" in note for note in facts["notes"])
    fallen = [record for record in facts["layers"] if "solved_by" in record]
    assert [record["tensor"] for record in fallen] == [
        f"model.layers.1.mlp.experts.{part}[2]" for part in ("gate_up_proj", "down_proj")
    ]
    source, written = Checkpoint(lonely / "gpt_oss"), Checkpoint(tmp_path / "out")
    for record in fallen:
        assert record["tokens"] == 0
        assert record["solved_by"] == "magnitude"
        assert "relative_error" not in record
        weight = source.read(record["tensor"]).T.contiguous()
        want = magnitude(weight, PruneConfig(sparsity=0.5).target()).weight
        assert written.read(record["tensor"]).T.equal(want)
    assert len(facts["layers"]) == 24


def test_few_tokens_are_a_matter_of_choice(home: Path, tmp_path: Path) -> None:
    tokens = [r["tokens"] for r in run(home, "qwen3_moe", tmp_path / "a", sparsity=0.5)["layers"]]
    least, most = min(tokens), max(tokens)
    assert least < most
    with pytest.raises(CalibrationError, match=rf"expected at least {least + 1}\. "):
        run(home, "qwen3_moe", tmp_path / "b", sparsity=0.5, min_tokens=least + 1)
    facts = run(home, "qwen3_moe", tmp_path / "b", sparsity=0.5, min_tokens=most, few_tokens="magnitude")
    assert [r["tokens"] < most for r in facts["layers"]] == ["solved_by" in r for r in facts["layers"]]
    facts = run(
        home,
        "qwen3_moe",
        tmp_path / "c",
        method="gptq",
        format="dense",
        group_size=16,
        min_tokens=most,
        few_tokens="rtn",
    )
    assert {r.get("solved_by") for r in facts["layers"]} == {None, "rtn"}
    with pytest.raises(ValueError, match="few_tokens"):
        QuantizeConfig(few_tokens="magnitude")
