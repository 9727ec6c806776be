"""Every pruning method from end to end: zeros as asked for, a checkpoint that loads, options that fit."""

from pathlib import Path

import pytest
from compression import run
from helpers import make_checkpoint, make_text

from fmcompress.config import PruneConfig


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
def test_every_method_gives_exact_zeros_and_better_ones_less_error(tmp_path: Path, options: dict) -> None:
    model, text = make_checkpoint(tmp_path / "model", blocks=1, hidden=64), make_text(tmp_path / "text.txt")
    errors = {}
    for name, more in {
        "magnitude": {"method": "magnitude", "refit": True},
        "wanda": {"method": "wanda"},
        "wanda, refit": {"method": "wanda", "refit": True},
        "sparsegpt": {},
        "sparsegpt, refit": {"refit": True},
        "admm": {"method": "admm"},
    }.items():
        facts = run(model, tmp_path / name, text, samples=8, sequence_length=64, **options, **more)
        assert facts["sparsity"] == pytest.approx(0.5, abs=0 if "pattern" in options else 1e-3)
        assert all(record["zeros"] * 2 == record["rows"] * record["cols"] for record in facts["layers"])
        errors[name] = sum(record["loss"] for record in facts["layers"])
    assert errors["wanda, refit"] < errors["wanda"]
    assert errors["admm"] < errors["sparsegpt, refit"] < errors["sparsegpt"] < errors["wanda"]


def test_options_that_do_not_fit() -> None:
    with pytest.raises(ValueError, match="bits: method admm only prunes"):
        PruneConfig(method="admm", sparsity=0.5, bits=4)
    with pytest.raises(ValueError, match="bits: refit only prunes"):
        PruneConfig(sparsity=0.5, bits=4, refit=True)
    notes = PruneConfig(method="admm", sparsity=0.5, damping=0.1, block_size=64).without_effect()
    assert notes == ["without effect, since only sparsegpt sweeps over columns: --damping, --block-size"]
    assert PruneConfig(method="wanda", sparsity=0.5).target().scope == "row"
    assert not PruneConfig(method="magnitude", sparsity=0.5).needs_data
