"""Checkpoints in the compressed-tensors format from strangers: they read, or are refused by name."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import bare_checkpoint, random_weight, run
from hostile import JUNK, MANY, contents, damaged, read_all, survives, write
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import SINGLE
from fmcompress.errors import PayloadError
from fmcompress.formats import open_checkpoint

BASE = "layer.0"
NAME = f"{BASE}.weight"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`quantized` has zero-points and groups, and a tensor that is dense."""
    home = tmp_path_factory.mktemp("hostile_quantized")
    weights = {NAME: random_weight(16, 64, torch.bfloat16), "layer.1.norm": torch.ones(8)}
    model = bare_checkpoint(home / "model", weights)
    (model / "config.json").write_text('{"model_type": "never_heard_of"}')
    run(model, home / "quantized", method="rtn", group_size=32, symmetric=False)
    return home


@pytest.fixture
def changed(home: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(home / "quantized", tmp_path / "changed"))


def test_undamaged(home: Path) -> None:
    assert len(read_all(home / "quantized")) == 2


def with_part(folder: Path, suffix: str, change: Callable[[Tensor], Tensor]) -> Path:
    texts, tensors = contents(folder)
    tensors[f"{NAME}_{suffix}"] = change(tensors[f"{NAME}_{suffix}"].clone())
    return write(folder, texts, tensors)


def sizes(*values: Any, dtype: torch.dtype = torch.int64) -> Callable[[Tensor], Tensor]:
    return lambda _: torch.tensor(values, dtype=dtype)


NOT_TWO = "its weight_shape is not two sizes"
PARTS: dict[str, tuple[str, Callable[[Tensor], Tensor], str]] = {
    "no sizes": ("shape", sizes(), NOT_TWO),
    "one size": ("shape", sizes(16), NOT_TWO),
    "three sizes": ("shape", sizes(16, 64, 1), NOT_TWO),
    "a scalar": ("shape", lambda shape: shape[0].clone(), NOT_TWO),
    "sizes in two dimensions": ("shape", lambda shape: shape[None], NOT_TWO),
    "negative rows": ("shape", sizes(-16, 64), NOT_TWO),
    "NaN rows": ("shape", sizes(torch.nan, 64, dtype=torch.float32), NOT_TWO),
    "infinite rows": ("shape", sizes(torch.inf, 64, dtype=torch.float64), NOT_TWO),
    "truth for sizes": ("shape", sizes(True, True, dtype=torch.bool), NOT_TWO),
    "other rows": ("shape", sizes(17, 64), "has codes"),
    "other columns": ("shape", sizes(16, 65), "does not decode"),
    "huge": ("shape", sizes(1 << 62, 1 << 62), NOT_TWO),
    "large": ("shape", sizes(16, 1 << 39), "does not decode"),
    "packed as a row": ("packed", lambda packed: packed.view(-1), "codes are no matrix"),
    "packed as a scalar": ("packed", lambda packed: packed[0, 0].clone(), "codes are no matrix"),
    "packed in three dimensions": ("packed", lambda packed: packed[None], "codes are no matrix"),
    "packed cut": ("packed", lambda packed: packed[:, 1:], "does not decode"),
    "rows cut": ("packed", lambda packed: packed[1:], "has codes"),
    "scale NaN": ("scale", lambda scale: scale.fill_(torch.nan), "does not decode"),
    "scale infinite": ("scale", lambda scale: scale.fill_(-torch.inf), "does not decode"),
    "scale cut": ("scale", lambda scale: scale[:, 1:], "has scales"),
    "scale flat": ("scale", lambda scale: scale.view(-1), "has scales"),
    "scale of integers": ("scale", lambda scale: scale.to(torch.int32), "scales no floats"),
    "scale of truth": ("scale", lambda scale: scale.bool(), "scales no floats"),
    "scale of float8": ("scale", lambda scale: scale.to(torch.float8_e4m3fn), "scales no floats"),
    "zero-points cut": ("zero_point", lambda zero: zero[1:], "does not decode"),
    "zero-points flat": ("zero_point", lambda zero: zero.view(-1), "has zero-points"),
    "zero-points in three dimensions": ("zero_point", lambda zero: zero[None], "has zero-points"),
    "zero-points not packed": ("zero_point", lambda zero: torch.zeros(16, 2, dtype=torch.int8), "does not decode"),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts(changed: Path, case: str) -> None:
    suffix, change, message = PARTS[case]
    with pytest.raises(PayloadError, match=f"^{NAME}: .*({message})"):
        read_all(with_part(changed, suffix, change))


@pytest.mark.parametrize("suffix", ["packed", "scale", "shape", "zero_point"])
def test_missing_parts(changed: Path, suffix: str) -> None:
    texts, tensors = contents(changed)
    del tensors[f"{NAME}_{suffix}"]
    write(changed, texts, tensors)
    if suffix == "packed":  # what is left is a checkpoint of other tensors
        assert f"{NAME}_scale" in open_checkpoint(changed).tensors
        return
    with pytest.raises(PayloadError, match=f"{NAME}.*(without its scale or shape|weight_zero_point is missing)"):
        read_all(changed)


def test_dense_and_packed(changed: Path) -> None:
    texts, tensors = contents(changed)
    write(changed, texts, {**tensors, NAME: torch.zeros(16, 64)})
    with pytest.raises(PayloadError, match=f"'{NAME}' both packed and dense"):
        read_all(changed)


def test_names_that_begin_alike_are_no_parts(changed: Path) -> None:
    """Each byte counts once, also for a tensor whose name goes on after that of a packed one."""
    texts, tensors = contents(changed)
    write(changed, texts, {**tensors, f"{NAME}_bias": torch.ones(1000)})
    source = open_checkpoint(changed)
    assert source.tensors.keys() == {NAME, f"{NAME}_bias", "layer.1.norm"}
    assert source.total_bytes == Checkpoint(changed).total_bytes


def test_other_scales_are_read(changed: Path) -> None:
    """The format does not forbid a scale of zero, nor a negative one."""
    for value in (0.0, -0.5):
        assert torch.isfinite(read_all(with_part(changed, "scale", lambda s, v=value: s.fill_(v)))[NAME]).all()  # type: ignore[misc]


def with_config(folder: Path, change: Callable[[Any], Any]) -> Path:
    config = json.loads((folder / "config.json").read_text())
    change(config["quantization_config"])
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def weights(**fields: Any) -> Callable[[Any], None]:
    return lambda config: config["config_groups"]["group_0"]["weights"].update(fields)


CONFIGS: dict[str, Callable[[Any], Any]] = {
    "other format": lambda config: config.update(format="naive-quantized"),
    "no format": lambda config: config.pop("format"),
    "no groups": lambda config: config.update(config_groups={}),
    "groups as a list": lambda config: config.update(config_groups=[1]),
    "two groups": lambda config: config["config_groups"].update(more={}),
    "group is nothing": lambda config: config.update(config_groups={"group_0": None}),
    "activations": lambda config: config["config_groups"]["group_0"].update(input_activations={"num_bits": 8}),
    "bits 5": weights(num_bits=5),
    "bits as text": weights(num_bits="4"),
    "bits as a fraction": weights(num_bits=4.0),
    "bits unknown": weights(num_bits=None),
    "floats": weights(type="float"),
    "block strategy": weights(strategy="block"),
    "tensor strategy": weights(strategy="tensor"),
    "group size as text": weights(group_size="32"),
    "group size as a fraction": weights(group_size=32.0),
    "group size as truth": weights(group_size=True),
    "group size 0": weights(group_size=0),
    "no group size": weights(group_size=None),
    "symmetry as text": weights(symmetric="no"),
    "permuted": weights(actorder="group"),
    "weights as a list": lambda config: config["config_groups"]["group_0"].update(weights=[]),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_configs(changed: Path, case: str) -> None:
    with pytest.raises(PayloadError, match=f"^{changed}: its quantization_config is not read here"):
        read_all(with_config(changed, CONFIGS[case]))


@pytest.mark.parametrize("fields", [{"num_bits": 8}, {"group_size": 8}, {"strategy": "channel"}], ids=str)
def test_configs_of_other_tensors(changed: Path, fields: dict[str, Any]) -> None:
    with pytest.raises(PayloadError, match=f"^{NAME}: does not decode"):
        read_all(with_config(changed, weights(**fields)))


def test_a_config_that_says_nothing_of_it(changed: Path) -> None:
    with_config(changed, lambda config: config.update(quant_method="gptq"))
    assert type(open_checkpoint(changed)) is Checkpoint


@MANY
@given(data=st.data(), value=JUNK)
def test_any_value_in_the_config(home: Path, tmp_path: Path, data: st.DataObject, value: Any) -> None:
    def change(config: Any) -> None:
        group = config["config_groups"]["group_0"]
        chosen = data.draw(st.sampled_from([config, config["config_groups"], group, group["weights"]]))
        chosen[data.draw(st.sampled_from(sorted(chosen)))] = value

    folder = Path(shutil.copytree(home / "quantized", tmp_path / "changed", dirs_exist_ok=True))
    survives(with_config(folder, change))


@MANY
@given(data=st.data())
def test_any_damage_to_the_file(home: Path, tmp_path: Path, data: st.DataObject) -> None:
    folder = Path(shutil.copytree(home / "quantized", tmp_path / "changed", dirs_exist_ok=True))
    (folder / SINGLE).write_bytes(data.draw(damaged((home / "quantized" / SINGLE).read_bytes())))
    survives(folder)
