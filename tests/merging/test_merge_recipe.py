"""Recipes: mergekit's values by layer and by name, defaults, and one clear line for what cannot be carried out."""

from pathlib import Path
from typing import Any

import pytest

from fmcompress.errors import ConfigError
from fmcompress.merging import METHODS, MergeRecipe, read_recipe, recipe_of
from fmcompress.merging.parameters import places

TWO = [{"model": "a"}, {"model": "b"}]


def settings(name: str = "model.layers.1.mlp.weight", place: float = 0.5, **fields: Any) -> Any:
    return recipe_of({"models": TWO, "merge_method": "linear", **fields}).settings(name, 10, place)


def test_a_model_wins_over_all_and_the_first_rule_that_fits_counts() -> None:
    rules = [{"filter": "mlp", "value": 0.25}, {"filter": "attn", "value": 4}]
    models = [{"model": "a", "parameters": {"weight": rules}}, {"model": "b"}]
    everywhere = {"weight": [{"filter": "norm", "value": 3}, {"filter": "*", "value": "1e-1"}, {"value": 9}]}
    of = {"models": models, "parameters": everywhere}
    assert settings("x.mlp.weight", **of).weights == (0.25, 0.1)
    assert settings("x.attn.weight", **of).weights == (4, 0.1)
    assert settings("x.norm.weight", **of).weights == (3, 3)  # no rule of the model fits: that for all does
    assert settings("x.mlp.weight", models=[{"model": "a"}, models[0]], parameters={"weight": 2}).weights == (2, 0.25)


@pytest.mark.parametrize(("place", "wanted"), [(0.0, 1.0), (0.25, 2.0), (0.5, 3.0), (0.75, 1.5), (1.0, 0.0)])
def test_a_list_is_interpolated_over_the_layers(place: float, wanted: float) -> None:
    assert settings(place=place, parameters={"weight": [1, 3, 0]}).weights == (wanted, wanted)
    rule = [{"filter": "mlp", "value": [1, 3, 0]}, {"value": 7}]
    assert settings(place=place, parameters={"weight": rule}).weights == (wanted, wanted)


def test_layers_are_counted_in_their_stack() -> None:
    names = [*(f"model.layers.{n}.w.0.weight" for n in range(5)), "enc.block.0.w", "enc.block.2.experts.7.w"]
    at = places([*names, "model.embed_tokens.weight", "single.0.weight", "3.weight", "h2o.weight"])
    assert [at[f"model.layers.{n}.w.0.weight"] for n in range(5)] == [0, 0.25, 0.5, 0.75, 1]
    assert (at["enc.block.0.w"], at["enc.block.2.experts.7.w"]) == (0, 1)
    assert (at["model.embed_tokens.weight"], at["h2o.weight"]) == (0, 0)  # as mergekit has it
    assert (at["single.0.weight"], at["3.weight"]) == (1, 1)


def test_defaults_are_mergekits() -> None:
    wanted = {
        "linear": True, "uniform": True, "task_arithmetic": False, "slerp": False, "ties": True, "dare_linear": False,
        "dare_ties": False,
    }  # fmt: skip
    assert {name: method.normalize for name, method in METHODS.items()} == wanted
    one = settings(merge_method="ties", base_model="c", parameters={"weight": 1})
    assert (one.scale, one.densities, one.normalize, one.based) == (1.0, (1.0, 1.0), True, True)
    assert settings(merge_method="uniform").weights == (1.0, 1.0)


def test_the_base_is_no_change_to_itself_and_comes_first() -> None:
    listed = [{"model": "a"}, {"model": "base"}, {"model": "b", "parameters": {"density": 0.5}}]
    recipe = recipe_of(
        {"models": listed, "merge_method": "ties", "base_model": "base", "parameters": {"weight": 1, "density": 0.25}}
    )
    assert recipe.folders == ("base", "a", "b")
    other = recipe_of({**recipe.model_dump(), "models": listed, "base_model": "./base/", "parameters": {"weight": 1}})
    assert other.folders == ("base", "a", "b")
    assert recipe.settings("w", 1, 0).densities == (0.25, 0.5)
    slerp = recipe_of({"models": TWO, "merge_method": "slerp", "base_model": "b", "parameters": {"t": 0.5}})
    assert slerp.folders == ("b", "a")  # t 0 is the base, as mergekit has it


def test_dtypes() -> None:
    def dtypes(**fields: str) -> tuple[str, str]:
        one: MergeRecipe = recipe_of({"models": TWO, "merge_method": "uniform", **fields})
        return str(one.sum_dtype).removeprefix("torch."), str(one.written_dtype).removeprefix("torch.")

    assert dtypes() == ("float64", "None")
    assert dtypes(dtype="bfloat16") == ("float64", "bfloat16")
    assert dtypes(dtype="float32") == ("float32", "float32")
    assert dtypes(dtype="float32", out_dtype="float16") == ("float32", "float16")


MODELS = "models: [{model: a}, {model: b}]\n"
LINEAR = MODELS + "merge_method: linear\nparameters: {weight: 1}\n"
REFUSED = {
    "slices": ("slices: [{sources: [{model: a, layer_range: [0, 2]}]}]\nmerge_method: slerp\n", "list them under models"),
    "modules": (LINEAR + "modules: {x: 1}\n", "modules is not supported"),
    "tokenizer": (LINEAR + "tokenizer: {source: union}\n", "tokenizer is not supported"),
    "union": (LINEAR + "tokenizer_source: union\n", "tokenizer_source: expected base, got 'union'"),
    "method": (MODELS + "merge_method: della\n", "merge_method: expected linear, uniform"),
    "key": (LINEAR + "wieght: 1\n", "wieght: no such key. Known: models"),
    "model key": ("models: [{model: a, weight: 1}]\nmerge_method: uniform\n", "models.0.weight: no such key"),
    "parameter": (LINEAR.replace("weight", "wieght"), "wieght is no parameter"),
    "of other methods": (LINEAR.replace("weight: 1", "density: 1"), "linear has no density"),
    "all in one model": ("models: [{model: a, parameters: {t: 1}}]\nmerge_method: uniform\n", "t is no parameter"),
    "no user": ("models: [{model: ~no-such-user/a}]\nmerge_method: linear\n", "no such user. Write the whole path"),
    "no folder": ('models: [{model: ""}]\nmerge_method: linear\n', "model: expected a folder, got none"),
    "no list": ("models: {model: a}\nmerge_method: linear\n", "models: expected a valid list, got {'model': 'a'}"),
    "long": (f"models: {'a' * 3000}\nmerge_method: linear\n", "models: expected a valid list, got 'aaa"),
    "no models": ("merge_method: linear\n", "models: missing"),
    "empty": ("models: []\nmerge_method: linear\n", "models:"),
    "no base": (MODELS + "merge_method: ties\n", "base_model: ties merges changes to one"),
    "only base": ("models: [{model: a}]\nbase_model: a\nmerge_method: ties\n", "expected one beside the base"),
    "three": (MODELS + "base_model: c\nmerge_method: slerp\nparameters: {t: 0}\n", "slerp merges 2, base included, got 3"),
    "nan": (LINEAR.replace("1", ".nan"), "expected a finite number, got nan"),
    "inf": (LINEAR.replace("1", "-.inf"), "expected a finite number, got -inf"),
    "no number": (LINEAR.replace("1", "heavy"), "expected a number, got 'heavy'"),
    "true": (LINEAR.replace("1", "true"), "expected a number, got True"),
    "empty list": (LINEAR.replace("1", "[]"), "empty list"),
    "rule": (LINEAR.replace("1", "[{filter: mlp}]"), "expected a rule of filter and value"),
    "filter": (LINEAR.replace("1", "[{filter: 3, value: 1}]"), "expected a part of a tensor's name"),
    "density": (MODELS + "base_model: c\nmerge_method: ties\nparameters: {density: 0}\n", "at most 1, got 0"),
    "dtype": (LINEAR + "dtype: int8\n", "dtype: expected float64"),
    "rescale": (MODELS + "base_model: c\nmerge_method: dare_ties\nparameters: {rescale: false}\n", "always rescaled"),
    "cycle": ("models: &m [*m]\nmerge_method: linear\n", "the anchor of line 1 contains itself"),
    "cycle of keys": ("a: &a\n  b: *a\n", "contains itself"),
    "twice": (LINEAR + "merge_method: ties\n", "'merge_method' stands twice, again in line 4"),
    "twice below": ("models: [{model: a, model: b}]\n", "'model' stands twice, again in line 1"),
    "a list": ("[1, 2]\n", "expected keys and values"),
    "nothing": ("", "expected keys and values"),
    "no text": ("\0", "cannot be read as YAML"),
    "a tag": ("models: !!python/object/apply:os.system [echo]\n", "cannot be read as YAML"),
    "deep": ("[" * 3000, "nested too deeply"),
    "a date": ("models: 2020-13-45\n", "cannot be read as YAML"),
    "bomb": ("a0: &a0 [x, x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}, *a{n - 1}]\n" for n in range(1, 40)), "at most 20000"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_carried_out_is_one_line(tmp_path: Path, case: str) -> None:
    text, wanted = REFUSED[case]
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        read_recipe(path)
    told = str(caught.value)
    assert wanted in told
    assert "\n" not in told
    assert len(told) < 400 + len(str(path))


def test_other_bytes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    for data in (b"\xff\xfe\xff", b"a: b\n" * (1 << 18)):
        path.write_bytes(data)
        with pytest.raises(ConfigError, match=r"recipe\.yaml"):
            read_recipe(path)
    with pytest.raises(ConfigError, match="No such file"):
        read_recipe(tmp_path / "missing.yaml")
    with pytest.raises(ConfigError, match="directory"):
        read_recipe(tmp_path)


def test_anchors_that_end_are_read(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(
        "models:\n- {model: a, parameters: &p {weight: 0.25}}\n- model: b\n  parameters:\n    <<: *p\n"
        "merge_method: linear\ntokenizer_source: base\ndtype: bfloat16\n"
    )
    assert read_recipe(path).settings("w", 1, 0).weights == (0.25, 0.25)


def test_a_value_that_lacks_is_named() -> None:
    with pytest.raises(ConfigError, match=r"weight: b has none for model\.norm\.weight"):
        settings("model.norm.weight", models=[{"model": "a", "parameters": {"weight": 1}}, {"model": "b"}])
    with pytest.raises(ConfigError, match=r"t: slerp needs one for"):
        settings(merge_method="slerp", parameters={"t": [{"filter": "attn", "value": 1}]})
