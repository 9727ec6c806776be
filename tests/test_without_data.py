"""Methods that look at no data take any checkpoint, also of a model that nobody knows, and leave its tables alone."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import all_bits, bare_checkpoint, random_weight, run
from helpers import CPU, make_checkpoint, make_text

from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig, QuantizeConfig
from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.formats import open_checkpoint
from fmcompress.pipeline import prepare


def odd_checkpoint(folder: Path) -> Path:
    names = ["blocks.0.attn.to_out.0.weight", "blocks.1.ff.net.2.weight", "stem.conv1x1.weight"]
    tensors = {name: random_weight(32, 64, torch.float16, seed) for seed, name in enumerate(names)}
    tables = ["tok_embeddings.weight", "wte.weight", "emb.weight", "shared.weight", "lm_head.weight", "output.weight"]
    tensors |= {name: random_weight(50, 64, torch.float16) for name in tables}
    tensors |= {"blocks.0.mlp.gate.weight": random_weight(4, 64), "blocks.0.norm.weight": torch.ones(64)}
    tensors |= {
        "conv.weight": torch.randn(4, 4, 3, 3),
        "blocks.0.w_q": random_weight(64, 64),
        "counts": torch.arange(5),
    }
    return bare_checkpoint(folder, tensors)


CHOSEN = {"blocks.0.attn.to_out.0.weight", "blocks.1.ff.net.2.weight", "stem.conv1x1.weight"}


@pytest.mark.parametrize("config", [None, '{"model_type": "never_heard_of"}'], ids=["no config", "unknown"])
@pytest.mark.parametrize(
    "options",
    [
        {"method": "magnitude", "sparsity": 0.5},
        {"method": "magnitude", "pattern": "2:4", "bits": 4, "group_size": 32, "format": "packed"},
        {"method": "rtn", "bits": 3, "symmetric": False, "group_size": 32, "format": "dense"},
        {"method": "rtn", "bits": 8, "group_size": "row", "format": "packed"},
    ],
    ids=["magnitude", "magnitude and 4 bits", "rtn", "rtn packed"],
)
def test_checkpoints_of_no_known_model(tmp_path: Path, options: dict[str, Any], config: str | None) -> None:
    model = odd_checkpoint(tmp_path / "model")
    if config is not None:
        (model / "config.json").write_text(config)
    facts = run(model, tmp_path / "out", **options)
    assert {record["tensor"] for record in facts["layers"]} == CHOSEN
    source, written = Checkpoint(model), open_checkpoint(tmp_path / "out")
    before, after = all_bits(source), all_bits(written)
    assert {name for name in before if before[name] != after[name]} == CHOSEN
    if "bits" not in options:
        assert facts["sparsity"] == 0.5
    assert facts["calibration_tokens"] == 0


def test_the_unknown_is_noted_and_may_be_named(tmp_path: Path) -> None:
    model = odd_checkpoint(tmp_path / "model")
    job = prepare(model, PruneConfig(method="magnitude", sparsity=0.5), None, CPU)
    assert any("chosen by their names" in note for note in job.notes)
    facts = run(model, tmp_path / "out", method="magnitude", sparsity=0.5, include="lm_head")
    assert [record["tensor"] for record in facts["layers"]] == ["lm_head.weight"]
    with pytest.raises(ConfigError, match="no matrices matched"):
        run(model, tmp_path / "other", method="magnitude", sparsity=0.5, include="norm")


def test_formats_that_cannot_hold_it_are_refused_at_once(tmp_path: Path) -> None:
    """Before anything is solved: hours may lie between."""
    model = odd_checkpoint(tmp_path / "model")
    with pytest.raises(ConfigError, match=r"holds no config\.json, where compressed-tensors is described"):
        prepare(model, QuantizeConfig(method="rtn", group_size=32), None, CPU)
    wide = bare_checkpoint(tmp_path / "wide", {"blocks.0.up.weight": random_weight(8, 64, torch.float64)})
    with pytest.raises(ConfigError, match=r"blocks\.0\.up\.weight: .*packed format .*float64"):
        prepare(wide, QuantizeConfig(method="rtn", format="packed"), None, CPU)
    run(wide, tmp_path / "out", method="rtn", format="dense")


CT = {"method": "rtn", "group_size": 32, "format": "compressed-tensors"}
PACKED = {"method": "rtn", "group_size": 32, "format": "packed"}
W = "l.0.weight"


@pytest.mark.parametrize(
    ("names", "options", "message"),
    [
        (["l.0.in_proj_weight"], CT, r"^l\.0\.in_proj_weight: .*MODULE\.weight only.*--format packed.*--exclude"),
        (["weight"], CT, r"^weight: .*MODULE\.weight only"),
        ([W, f"{W}_scale"], CT, rf"^{W}: the source holds a tensor '{W}_scale'.*--exclude"),
        ([W, f"{W}_zero_point"], CT, rf"^{W}: the source holds a tensor '{W}_zero_point'"),
        ([W, "l.1.weight_packed"], CT, r"^l\.1\.weight_packed: readers of compressed-tensors take .*--format packed"),
        ([W, f"{W}.scale"], PACKED, rf"^{W}: the source holds a tensor '{W}\.scale'.*--format.*--exclude"),
        ([W, f"{W}.bitmask"], PACKED, rf"^{W}: the source holds a tensor '{W}\.bitmask'"),
    ],
    ids=str,
)
def test_names_that_the_form_cannot_hold_are_refused_at_once(
    tmp_path: Path, names: list[str], options: dict[str, Any], message: str
) -> None:
    tensors = {name: random_weight(32, 64) if name.endswith("weight") else torch.ones(3) for name in names}
    model = bare_checkpoint(tmp_path / "model", tensors)
    (model / "config.json").write_text('{"model_type": "never_heard_of"}')
    with pytest.raises(ConfigError, match=message):
        prepare(model, QuantizeConfig(**options), None, CPU)
    run(model, tmp_path / "out", **{**options, "format": "dense"})


def test_matrices_of_any_name_may_be_included(tmp_path: Path) -> None:
    model = odd_checkpoint(tmp_path / "model")
    facts = run(model, tmp_path / "out", method="rtn", format="packed", include=r"w_q|ff\.net")
    assert {record["tensor"] for record in facts["layers"]} == {"blocks.0.w_q", "blocks.1.ff.net.2.weight"}


def test_a_known_model_is_not_solved_by_names(tmp_path: Path) -> None:
    """Where its linear layers do not fit the options, others are no way out."""
    model = make_checkpoint(tmp_path / "model", blocks=1, hidden=64)
    for options, message in (
        ({"group_size": 48}, "q_proj.weight: compressed-tensors needs columns divisible by the group size 48"),
        ({"include": "lm_head", "group_size": 64}, "lm_head.weight: compressed-tensors holds linear layers only"),
        ({"include": "("}, "--include: .* is no regular expression"),
    ):
        with pytest.raises(ConfigError, match=message):
            prepare(model, QuantizeConfig(method="rtn", **options), None, CPU)


@pytest.mark.parametrize("include", ["embed_tokens", "embed_tokens|q_proj", "lm_head|layers.0", "embed|conv"])
def test_include_takes_from_all_matrices(tmp_path: Path, include: str) -> None:
    """Of a known model, too, whether or not linear layers match as well."""
    model = make_checkpoint(tmp_path / "model", blocks=2, hidden=64)
    facts = run(model, tmp_path / "out", method="rtn", format="packed", include=include)
    matrices = {name for name, entry in Checkpoint(model).tensors.items() if len(entry.shape) == 2}
    assert {record["tensor"] for record in facts["layers"]} == {n for n in matrices if re.search(include, n)}
    assert facts["notes"] == []


def test_included_linear_layers_are_still_known(tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", blocks=2, hidden=64)
    facts = run(model, tmp_path / "out", method="rtn", group_size=32, include="q_proj")
    assert len(facts["layers"]) == 2
    config = json.loads((tmp_path / "out" / "config.json").read_text())["quantization_config"]
    assert config["config_groups"]["group_0"]["targets"] == ["Linear"]
    assert "model.layers.0.self_attn.q_proj" not in config["ignore"]


def test_with_data_only_linear_layers_are_solved(tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", blocks=1, hidden=64)
    make_text(tmp_path / "text.txt", 2000)
    for include, message in {
        "embed": r"what does, model\.embed_tokens\.weight first, is no linear layer inside a block.*rtn take any matrix",
        "nothing": r"no linear layers matched\. Loosen --include",
    }.items():
        with pytest.raises(ConfigError, match=message):
            prepare(model, QuantizeConfig(include=include), tmp_path / "text.txt", CPU)


def test_options_without_effect_are_told(tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", blocks=1, hidden=64)
    (tmp_path / "text.txt").write_text("words")
    with pytest.raises(ConfigError, match=r"^calibration: this method looks at no data\."):
        prepare(model, QuantizeConfig(method="rtn", group_size=32), tmp_path / "text.txt", CPU)
    given: dict[str, Any] = {"samples": 3, "sequence_length": 64, "seed": 1, "damping": 0.1, "true_sequential": True}
    given |= {"activation_order": True, "dtype": "bfloat16"}
    flags = ", ".join(f"--{name.replace('_', '-')}" for name in given)
    job = prepare(model, QuantizeConfig(method="rtn", group_size=32, **given), None, CPU)
    assert job.notes == [f"without effect, since this method looks at no data: {flags}"]
    config = PruneConfig(method="magnitude", pattern="2:4", mask_scope="row", block_size=64)
    assert prepare(model, config, None, CPU).notes == [
        "without effect, since this method looks at no data: --block-size",
        "without effect, since groups are chosen one by one: --mask-scope",
    ]
    defaults = PruneConfig(method="magnitude", sparsity=0.5, mask_scope="row", seed=0, damping=0.01, dtype="auto")
    assert prepare(model, defaults, None, CPU).notes == []
    assert PruneConfig(pattern="2:4", mask_scope="row").without_effect() == config.without_effect()[1:]
    assert QuantizeConfig(**given).without_effect() == []


def test_known_models_need_no_text(tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model", blocks=1, hidden=64)
    facts = run(model, tmp_path / "out", method="magnitude", sparsity=0.5, bits=4, group_size=32)
    assert facts["format"] == "compressed-tensors"
    assert len(facts["layers"]) == 7
    assert facts["sparsity"] >= 0.5
    assert all("relative_error" not in record and record["bits"] == 4 for record in facts["layers"])
    with pytest.raises(CalibrationError, match="this method needs text"):
        prepare(model, QuantizeConfig(), None, CPU)
