"""Every pruning method from end to end: zeros as asked for, a checkpoint that loads, options that fit."""

from pathlib import Path

import pytest
import torch
from compression import run
from helpers import CPU, Silent, make_checkpoint, make_text

from fmcompress.config import PruneConfig
from fmcompress.errors import ConfigError
from fmcompress.formats import open_checkpoint
from fmcompress.options import resolve
from fmcompress.pipeline import compress_checkpoint, prepare


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


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
def test_quality_names_options_and_better_ones_leave_less_of_the_blocks_wrong(tmp_path: Path, options: dict) -> None:
    model, text = make_checkpoint(tmp_path / "model", hidden=64), make_text(tmp_path / "text.txt")
    losses, last = {}, {}
    for quality in ("fast", "balanced", "best"):
        more = {"reconstruct": 10} if quality == "best" else {}
        facts = run(model, tmp_path / quality, text, samples=8, sequence_length=64, quality=quality, **options, **more)
        assert all(record["zeros"] * 2 == record["rows"] * record["cols"] for record in facts["layers"])
        losses[quality] = sum(record["loss"] for record in facts["layers"])
        last = facts["layers"][-1]
    assert losses["balanced"] < losses["fast"]
    assert last["block_error"] < last["block_error_before"]


def test_what_quality_stands_for_and_that_options_given_win() -> None:
    best = PruneConfig(sparsity=0.5, quality="best")
    assert (best.method, best.reconstruct > 0) == ("admm", True)
    assert PruneConfig(sparsity=0.5, quality="fast") == PruneConfig(sparsity=0.5, method="sparsegpt", quality="fast")
    assert PruneConfig(sparsity=0.5, quality="best", method="wanda", reconstruct=3).method == "wanda"
    assert PruneConfig(sparsity=0.5, quality="balanced", method="sparsegpt").without_effect() == []
    given = PruneConfig(masks="folder", quality="best")
    assert (given.method, given.reconstruct > 0, given.without_effect()) == ("sparsegpt", True, [])
    for quality in ("perfect", ["best"], {"best": 1}):
        with pytest.raises(ValueError, match="quality"):
            PruneConfig(sparsity=0.5, quality=quality)


def test_flags_win_over_a_file_that_names_another_quality_or_target(tmp_path: Path) -> None:
    file = tmp_path / "options.yaml"
    file.write_text("sparsity: 0.5\nmethod: wanda\nsamples: 3\n")
    best = resolve(PruneConfig, file, quality="best")
    assert (best.method, best.reconstruct > 0, best.samples) == ("admm", True, 3)
    assert resolve(PruneConfig, file, quality="best", method="magnitude").method == "magnitude"
    assert resolve(PruneConfig, file, pattern="2:4").sparsity is None
    file.write_text("sparsity: 0.5\n")
    assert resolve(PruneConfig, file, masks="folder").sparsity is None
    file.write_text("masks: folder\n")
    assert resolve(PruneConfig, file, sparsity=0.5).masks is None
    with pytest.raises(ConfigError, match="not sparsity and pattern"):
        resolve(PruneConfig, file, sparsity=0.5, pattern="2:4")
    file.write_text("quality: [best]\nsparsity: 0.5\n")
    with pytest.raises(ConfigError, match=r"quality: expected .*, got \['best'\]"):
        resolve(PruneConfig, file)


@pytest.mark.parametrize("method", ["admm", "wanda", "magnitude", "sparsegpt"])
def test_with_bits_the_kept_weights_are_rounded_after_the_refit(tmp_path: Path, method: str) -> None:
    model, text = make_checkpoint(tmp_path / "model", blocks=1, hidden=64), make_text(tmp_path / "text.txt")
    options = {"method": method, "pattern": "2:4", "bits": 4, "group_size": 32, "refit": method != "admm"}
    facts = run(model, tmp_path / "out", text, samples=8, sequence_length=64, format="packed", **options)
    joint = run(model, tmp_path / "joint", text, samples=8, sequence_length=64, format="packed",
                pattern="2:4", bits=4, group_size=32)  # fmt: skip
    assert all(2 * record["zeros"] >= record["rows"] * record["cols"] for record in facts["layers"])
    assert sum(record["loss"] for record in facts["layers"]) < sum(record["loss"] for record in joint["layers"])
    weight = open_checkpoint(tmp_path / "out").read("model.layers.0.mlp.up_proj.weight")
    assert ((weight != 0).view(len(weight), -1, 4).sum(2) <= 2).all()
    levels = weight.view(-1, 32)
    assert max(len(row.unique()) for row in levels) <= 16


def test_masks_of_another_run_are_taken_over_and_fitted(tmp_path: Path) -> None:
    model, text = make_checkpoint(tmp_path / "model", hidden=64), make_text(tmp_path / "text.txt")
    (model / "README.md").write_text("# A model\n")
    data = {"samples": 8, "sequence_length": 64}
    before = run(model, tmp_path / "wanda", text, method="wanda", sparsity=0.6, format="packed", **data)
    config = PruneConfig(masks=str(tmp_path / "wanda"), **data)
    after = compress_checkpoint(prepare(model, config, text, CPU), tmp_path / "out", Silent())
    given, fitted, original = (open_checkpoint(tmp_path / name) for name in ("wanda", "out", "model"))
    for record, twin in zip(after["layers"], before["layers"], strict=True):
        name = record["tensor"]
        assert torch.equal(fitted.read(name) == 0, given.read(name) == 0)
        assert not torch.equal(fitted.read(name), given.read(name))
        assert record["zeros"] == twin["zeros"]
    assert sum(record["loss"] for record in after["layers"]) < sum(record["loss"] for record in before["layers"])
    assert torch.equal(fitted.read("lm_head.weight"), original.read("lm_head.weight"))
    card = (tmp_path / "out" / "README.md").read_text()
    assert "(masks of another checkpoint)" in card
    assert str(tmp_path) not in card + (tmp_path / "out" / "fmcompress.json").read_text()
    other = make_checkpoint(tmp_path / "other", hidden=32)
    with pytest.raises(ConfigError, match=r"masks: .*model holds no zeros"):
        prepare(model, PruneConfig(masks=str(model), **data), text, CPU)
    with pytest.raises(ConfigError, match=r"masks: .*other holds a \[32, 32\] model.layers.0.self_attn.q_proj.weight"):
        prepare(model, PruneConfig(masks=str(other), **data), text, CPU)


def test_options_that_do_not_fit() -> None:
    for more in ({"method": "admm", "reconstruct": 10}, {"quality": "best"}):
        with pytest.raises(ValueError, match="bits: reconstruct, as in --quality best, only prunes"):
            PruneConfig(sparsity=0.5, bits=4, **more)
    with pytest.raises(ValueError, match=r"give one of .* and --masks, not sparsity and masks"):
        PruneConfig(sparsity=0.5, masks="folder")
    with pytest.raises(ValueError, match="masks: they are given"):
        PruneConfig(masks="folder", method="admm")
    with pytest.raises(ValueError, match="allocation: needs --sparsity"):
        PruneConfig(pattern="2:4", allocation={"a": 0.5})
    notes = PruneConfig(method="admm", sparsity=0.5, damping=0.1, block_size=64).without_effect()
    assert notes == ["without effect, since only sparsegpt sweeps over columns: --damping, --block-size"]
    assert PruneConfig(sparsity=0.5, admm_steps=3).without_effect() == [
        "without effect, since the method is not admm: --admm-steps"
    ]
    assert PruneConfig(masks="folder", mask_scope="row").without_effect() == [
        "without effect, since masks are given: --mask-scope"
    ]
    assert PruneConfig(method="wanda", sparsity=0.5).target().scope == "row"
    assert not PruneConfig(method="magnitude", sparsity=0.5).needs_data
    assert PruneConfig(method="magnitude", sparsity=0.5, reconstruct=1).needs_data
