"""Models that do not fit are told before any work, in one line that names the tensor and the model."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from merging_cases import all_tensors, assert_same_bits, random_tensors, run_merge, weighted, write_model
from torch import Tensor

from fmcompress.errors import CheckpointError, FmcompressError
from fmcompress.merging import METHODS, TensorSettings, plan_merge, recipe_of
from fmcompress.merging.method import Blocks, MergeBlock

MLP, EMBED, HEAD = "model.layers.1.mlp.weight", "model.embed_tokens.weight", "lm_head.weight"


def pair(tmp_path: Path, change: Callable[[dict[str, Tensor]], Any], **config: Any) -> list[Path]:
    """Two models, the second changed."""
    other = random_tensors(1)
    change(other)
    return [
        write_model(tmp_path / "first", random_tensors(0)),
        write_model(tmp_path / "second", other, **config),
    ]


def refused(tmp_path: Path, models: list[Path], *wanted: str, method: str = "uniform", **fields: Any) -> None:
    """One line with all that is wanted, and nothing of OUT."""
    with pytest.raises(FmcompressError) as caught:
        run_merge(tmp_path / "out", method, models, **fields)
    told = str(caught.value)
    assert "\n" not in told
    for words in wanted:
        assert words in told, told
    assert not list(tmp_path.glob("out*"))


def test_missing_and_extra_tensors(tmp_path: Path) -> None:
    models = pair(tmp_path, lambda tensors: tensors.pop(MLP))
    refused(tmp_path, models, MLP, "second has no such tensor", "first has")
    refused(tmp_path, models[::-1], MLP, "first has this tensor", "second has not")


def test_shapes(tmp_path: Path) -> None:
    models = pair(tmp_path, lambda tensors: tensors.update({MLP: torch.zeros(129, 97)}))
    refused(tmp_path, models, MLP, "expected [97, 129] as in", "first", "got [129, 97] in", "second")


def test_vocabularies_of_other_sizes(tmp_path: Path) -> None:
    models = pair(tmp_path, lambda tensors: tensors.update({EMBED: torch.zeros(61, 16), HEAD: torch.zeros(61, 16)}))
    refused(tmp_path, models, "weight: different vocabularies", "60 tokens", "61 in")


def test_configs(tmp_path: Path) -> None:
    models = pair(tmp_path, lambda tensors: None, hidden_size=32)
    refused(tmp_path, models, "hidden_size is 16 in", "32 in")
    other = write_model(tmp_path / "tower", random_tensors(1), text_config={"num_hidden_layers": 3})
    inner = write_model(tmp_path / "inner", random_tensors(1), text_config={"num_hidden_layers": 4})
    refused(tmp_path, [other, inner], "text_config.num_hidden_layers is 3 in")
    (models[1] / "config.json").unlink()
    assert plan_merge(recipe_of({"models": [{"model": str(m)} for m in models], "merge_method": "uniform"})).tensors


def tokenizer(folder: Path, vocabulary: Any, added: tuple[str, ...] = ()) -> None:
    tokens = [{"id": 100 + number, "content": token} for number, token in enumerate(added)]
    text = json.dumps({"added_tokens": tokens, "model": {"vocab": vocabulary}})
    (folder / "tokenizer.json").write_text(text)


def test_vocabularies_of_other_tokens(tmp_path: Path) -> None:
    models = pair(tmp_path, lambda tensors: None)
    tokenizer(models[0], {"a": 0, "b": 1, "c": 2})
    tokenizer(models[1], {"b": 2, "a": 0, "c": 1})
    refused(tmp_path, models, "token 1 is 'b' in", "first", "'c' in", "second", "--any-vocabulary")
    tokenizer(models[1], [["a", 0.5], ["b", -1], ["c", 0]], added=("<end>",))
    refused(tmp_path, models, "token 100 is missing in", "'<end>' in")
    (models[1] / "tokenizer.json").write_text("[]")
    refused(tmp_path, models, "tokenizer.json: not a tokenizer")
    tokenizer(models[1], {"c": 2, "b": 1, "a": 0})
    run_merge(tmp_path / "out", "uniform", models)
    tokenizer(models[1], {"c": 0, "b": 1, "a": 2})
    recipe = recipe_of({"models": [{"model": str(m)} for m in models], "merge_method": "uniform"})
    assert plan_merge(recipe, any_vocabulary=True).tensors


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("weight", [1.0, 0.0])
def test_nan_and_inf_in_a_source(tmp_path: Path, bad: float, weight: float) -> None:
    def spoil(tensors: dict[str, Tensor]) -> None:
        tensors[MLP][96, 128] = bad

    models = pair(tmp_path, spoil)
    listed: Any = [weighted(models[0], weight=1.0), weighted(models[1], weight=weight)]
    refused(tmp_path, listed, MLP, "second holds inf or NaN", method="linear")
    if weight:
        refused(tmp_path, models, MLP, "second holds inf or NaN", method="slerp", parameters={"t": 0.0})


@pytest.mark.parametrize("looks", [False, True])
def test_nan_is_told_where_a_method_would_hide_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks: bool) -> None:
    def first(settings: TensorSettings, blocks: Blocks) -> MergeBlock:
        if looks:
            assert all(block.isfinite().all() for _, block in blocks())

        def merge(begin: int, sources: Tensor, out: Tensor) -> Tensor:
            out.copy_(sources[0])
            return torch.zeros((), dtype=torch.int64)

        return merge

    entry = replace(METHODS["uniform"], sees_all=False)
    monkeypatch.setitem(METHODS, "uniform", entry)
    monkeypatch.setattr("fmcompress.merging.linear.linear", first)
    models = pair(tmp_path, lambda tensors: tensors[MLP][3].fill_(float("nan")))
    refused(tmp_path, models, MLP, "second holds inf or NaN")
    assert_same_bits(run_merge(tmp_path / "out", "uniform", models[:1]), all_tensors(models[0]))


def test_a_sum_beyond_the_range(tmp_path: Path) -> None:
    models = pair(tmp_path, lambda tensors: tensors[MLP].fill_(3e38))
    refused(tmp_path, models, MLP, "beyond the range of float16", method="uniform", out_dtype="float16")


def test_integers_must_be_equal(tmp_path: Path) -> None:
    models = pair(tmp_path, lambda tensors: tensors["model.positions"].add_(1))
    refused(tmp_path, models, "model.positions", "int64 in", "not the same")
    floats = write_model(tmp_path / "floats", {**random_tensors(1), "model.positions": torch.arange(7.0)})
    refused(tmp_path, [models[0], floats], "model.positions", "float32 in")
    refused(tmp_path, [floats, models[0]], "model.positions", "float32 in")


def test_float8_is_refused(tmp_path: Path) -> None:
    models = pair(tmp_path, lambda tensors: tensors.update({MLP: tensors[MLP].to(torch.float8_e4m3fn)}))
    refused(tmp_path, models, MLP, "second stores it as float8_e4m3fn")


def test_weights_that_add_up_to_0(tmp_path: Path) -> None:
    models = pair(tmp_path, lambda tensors: None)
    listed: Any = [weighted(models[0], weight=0.3), weighted(models[1], weight=-0.3)]
    refused(tmp_path, listed, "add up to 0", "normalize: false", method="linear")
    got = run_merge(tmp_path / "out", "linear", listed, parameters={"normalize": False})
    assert not torch.equal(got[MLP], all_tensors(models[0])[MLP])
    huge: Any = [weighted(models[0], weight=1e308)]
    based = {"base_model": str(models[1]), "parameters": {"lambda": 1e308}}
    (tmp_path / "out").rename(tmp_path / "other")
    most: Any = [weighted(models[0], weight=1.5e308)] * 2
    refused(tmp_path, most, "too large to be added", method="linear")
    refused(tmp_path, most, "too large to be added", method="task_arithmetic", base_model=str(models[1]))
    signs: Any = [weighted(models[0], weight=weight) for weight in (1e308, -1e308)]
    refused(tmp_path, signs, "too large to be added", method="task_arithmetic", **based)
    refused(tmp_path, huge, "expected finite weights", method="task_arithmetic", **based)


def test_a_base_that_is_not_merged(tmp_path: Path) -> None:
    models = pair(tmp_path, lambda tensors: None)
    refused(tmp_path, models[:1], "base_model: uniform merges the listed", base_model=str(models[1]))
    got = run_merge(tmp_path / "out", "uniform", models, base_model=str(models[1]))  # layout and files are the base's
    assert_same_bits(got, run_merge(tmp_path / "same", "uniform", models))
    with pytest.raises(CheckpointError, match="no such folder"):
        run_merge(tmp_path / "none", "uniform", [*models, tmp_path / "absent"])


def tied(seed: int, *, copied: bool) -> dict[str, Tensor]:
    tensors = random_tensors(seed)
    tensors.pop(HEAD)
    return {**tensors, HEAD: tensors[EMBED].clone()} if copied else tensors


def test_a_tied_duplicate_of_some_models_is_written_once(tmp_path: Path) -> None:
    models = [write_model(tmp_path / f"m{n}", tied(n, copied=n == 1), shards=2) for n in range(3)]
    plain = [write_model(tmp_path / f"p{n}", tied(n, copied=False)) for n in range(3)]
    for number, places in enumerate(((0, 1, 2), (1, 2, 0))):
        order = [models[place] for place in places]
        wanted = run_merge(tmp_path / f"plain{number}", "uniform", [plain[place] for place in places])
        assert_same_bits(run_merge(tmp_path / f"merged{number}", "uniform", order), wanted)
        recipe = recipe_of({"models": [{"model": str(m)} for m in order], "merge_method": "uniform"})
        assert plan_merge(recipe).notes == [f"{HEAD} is {EMBED} once more in every model that has it: written once, as {EMBED}"]  # fmt: skip
        index = json.loads((tmp_path / f"merged{number}" / "model.safetensors.index.json").read_text())
        assert index["metadata"]["total_size"] == sum(tensor.nbytes for tensor in wanted.values())
    spoilt = tied(1, copied=True)
    zero = (spoilt[EMBED] == 0).nonzero()[0]
    spoilt[HEAD][tuple(zero)] = -spoilt[EMBED][tuple(zero)]  # equal as a number, not to the bit
    refused(tmp_path, [models[0], write_model(tmp_path / "spoilt", spoilt)], HEAD, "spoilt has this tensor")


@pytest.mark.parametrize("ties", [True, False])
def test_a_duplicate_of_all_models_is_written_once_where_the_config_ties_it(tmp_path: Path, ties: bool) -> None:
    models = [
        write_model(tmp_path / f"m{n}", tied(n, copied=True), shards=10, tie_word_embeddings=ties) for n in range(2)
    ]
    got = run_merge(tmp_path / "out", "uniform", models)
    assert (HEAD in got) is not ties
    own = [write_model(tmp_path / f"o{n}", random_tensors(n), tie_word_embeddings=ties) for n in range(2)]
    assert HEAD in run_merge(tmp_path / "own", "uniform", own)  # a head of its own stays
