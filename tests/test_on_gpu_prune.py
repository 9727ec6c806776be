"""A whole prune of the demo's model on a GPU beside one on the CPU: what it writes, how well, and the same twice."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, DEMO, Silent, folder_bytes, make_text

from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig
from fmcompress.formats import open_checkpoint
from fmcompress.pipeline import compress_checkpoint, prepare

pytestmark = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine"),
]
FORMS: dict[str, dict[str, Any]] = {
    "half": {"sparsity": 0.5},
    "2:4": {"pattern": "2:4"},
    "packed": {"pattern": "2:4", "format": "packed"},
    "bitmask": {"sparsity": 0.5, "format": "packed"},
    "4 bits": {"pattern": "2:4", "bits": 4, "format": "packed"},
}


def run(out: Path, text: Path, device: str, **options: Any) -> dict[str, Any]:
    config = PruneConfig(**{"sequence_length": 128, "samples": 24, **options})
    there = CPU if device == "cpu" else torch.device(device)
    return compress_checkpoint(prepare(DEMO / "model", config, text, there), out, Silent())


@pytest.fixture(scope="module")
def text(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_text(tmp_path_factory.mktemp("gpu") / "text.txt", 60_000)


@pytest.mark.parametrize("form", FORMS)
def test_as_well_as_on_the_cpu(tmp_path: Path, text: Path, form: str) -> None:
    options = {"dtype": "float32", **FORMS[form]}
    here = run(tmp_path / "here", text, "cpu", **options)
    there = run(tmp_path / "there", text, "cuda", **options)
    assert there["zeros"] == here["zeros"]
    for one, other in zip(here["layers"], there["layers"], strict=True):
        assert (one["tensor"], one["zeros"], one["tokens"]) == (other["tensor"], other["zeros"], other["tokens"])
        # near ties flip a mask, and what follows then differs: the errors must not
        assert other["relative_error"] == pytest.approx(one["relative_error"], rel=0.02)
    left, right = open_checkpoint(tmp_path / "here"), open_checkpoint(tmp_path / "there")
    record = here["layers"][0]  # of the first block, whose inputs differ by rounding only
    before, a, b = (some.read(record["tensor"]).float() for some in (Checkpoint(DEMO / "model"), left, right))
    assert ((a == 0) == (b == 0)).float().mean() > 0.98
    assert (a - b).norm() < 0.3 * (a - before).norm()


@pytest.mark.parametrize("form", FORMS)
def test_twice_the_same_bytes(tmp_path: Path, text: Path, form: str) -> None:
    """In the dtype that a GPU takes by default: bfloat16 inputs, summed by tensor cores."""
    for name in ("one", "two"):
        run(tmp_path / name, text, "cuda", **FORMS[form])
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")


def test_bfloat16_prunes_as_well_as_float32(tmp_path: Path, text: Path) -> None:
    wide = run(tmp_path / "wide", text, "cuda", sparsity=0.5, dtype="float32")
    half = run(tmp_path / "half", text, "cuda", sparsity=0.5)
    assert half["zeros"] == wide["zeros"]
    errors = [sum(layer["relative_error"] for layer in facts["layers"]) for facts in (wide, half)]
    assert errors[1] == pytest.approx(errors[0], rel=0.03)


def test_a_stopped_run_goes_on_to_the_same_bytes(tmp_path: Path, text: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks are written by a thread while the next one is solved."""

    class Killed(BaseException):
        pass

    def stop(self: Silent, block: int) -> None:
        if block == 1:
            raise Killed

    run(tmp_path / "straight", text, "cuda", pattern="2:4")
    with monkeypatch.context() as patched:
        patched.setattr(Silent, "block", stop)
        with pytest.raises(Killed):
            run(tmp_path / "out", text, "cuda", pattern="2:4")
    config = PruneConfig(sequence_length=128, samples=24, pattern="2:4")
    compress_checkpoint(
        prepare(DEMO / "model", config, text, torch.device("cuda")), tmp_path / "out", Silent(), resume=True
    )
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "straight")
