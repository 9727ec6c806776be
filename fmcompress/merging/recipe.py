"""What is to be merged and how, in the part of mergekit's YAML that is about whole models."""

from pathlib import Path
from typing import Annotated, Any

import torch
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from ..errors import ConfigError, in_one_line
from .method import TensorSettings
from .parameters import NUMBERS, OF_MODEL, SWITCHES, Setting, parse_parameters, value_at
from .registry import METHODS, MethodEntry
from .yaml_file import read_mapping

DTYPES = {
    "float64": torch.float64, "float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16,
}  # fmt: skip
_REFUSED = {
    "slices": "merge whole models: list them under models, and write values that change with the layer as lists or "
    "rules, e.g. 't: [{filter: mlp, value: [0, 1]}, {value: 0.5}]'",
    "modules": "merge whole models: list them under models",
    "tokenizer": "the tokenizer of the base or first model is kept, and all must have its vocabulary: leave it out",
    "chat_template": "the one of the base or first model is kept: leave it out",
}


def _folder(given: str) -> str:
    if not given:
        raise ConfigError("model: expected a folder, got none.")
    try:
        return str(Path(given).expanduser())  # "a/" is "a"
    except RuntimeError:
        raise ConfigError(f"model: {given!r}: no such user. Write the whole path.") from None


Folder = Annotated[str, AfterValidator(_folder)]


class RecipeModel(BaseModel):
    """A model to merge: its folder, and parameters that win over those for all."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    model: Folder
    parameters: dict[str, Setting] = {}

    @field_validator("parameters", mode="before")
    @classmethod
    def _parse(cls, given: Any) -> dict[str, Setting]:
        return parse_parameters("models.parameters", given, OF_MODEL)


class MergeRecipe(BaseModel):
    """Everything that decides the bits of a merge.

    models            folders, each with parameters of its own
    merge_method      linear, uniform, task_arithmetic, slerp, ties, dare_linear or dare_ties
    base_model        whose changes are merged, or of whom layout, tokenizer and other files are; else the first model's
    parameters        for all models: weight, density, normalize, lambda, t
    dtype             in which it is summed, float64 or float32; a half float stands for float64. What is written, too,
                      where out_dtype does not say
    out_dtype         what is written; by default each tensor as the base or first model stores it
    tokenizer_source  "base" may be said, and is always so
    seed              of what is drawn at random (DARE)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    models: tuple[RecipeModel, ...] = Field(min_length=1, strict=False)
    merge_method: str
    base_model: Folder | None = None
    parameters: dict[str, Setting] = {}
    dtype: str | None = None
    out_dtype: str | None = None
    tokenizer_source: str | None = None
    seed: int = Field(0, ge=0, lt=1 << 63)

    @field_validator("parameters", mode="before")
    @classmethod
    def _parse(cls, given: Any) -> dict[str, Setting]:
        return parse_parameters("parameters", given, (*NUMBERS, *SWITCHES))

    @field_validator("dtype", "out_dtype")
    @classmethod
    def _known_dtype(cls, given: str | None) -> str | None:
        if given is not None and given not in DTYPES:
            raise ConfigError(f"dtype: expected {', '.join(DTYPES)}, got {given!r}.")
        return given

    @model_validator(mode="after")
    def _fits(self) -> "MergeRecipe":
        if self.merge_method not in METHODS:
            raise ConfigError(f"merge_method: expected {', '.join(METHODS)}, got {self.merge_method!r}.")
        if self.tokenizer_source not in (None, "base"):
            raise ConfigError(
                f"tokenizer_source: expected base, got {self.tokenizer_source!r}. Vocabularies are not merged here: "
                "bring the models to one first."
            )
        listed = [one.model for one in self.models]
        if self.method.based and self.base_model is None:
            raise ConfigError(f"base_model: {self.merge_method} merges changes to one. Name it.")
        if self.method.based and not set(listed) - {self.base_model}:
            raise ConfigError(f"models: expected one beside the base model, got {listed}.")
        count = len(self.folders)
        if self.method.models not in (None, count):
            raise ConfigError(f"models: {self.merge_method} merges {self.method.models}, base included, got {count}.")
        self._check_parameters()
        return self

    def _check_parameters(self) -> None:
        for name in sorted({*self.parameters, *(name for one in self.models for name in one.parameters)}):
            if name not in self.method.parameters:
                known = ", ".join(self.method.parameters) or "none"
                raise ConfigError(f"parameters: {self.merge_method} has no {name}. Known: {known}.")
        rescale = self.parameters.get("rescale", ())
        if not all(value for rule in rescale for value in rule.values):
            raise ConfigError("parameters.rescale: changes that are kept are always rescaled here. Leave it out.")

    @property
    def method(self) -> MethodEntry:
        """The method's entry in the registry."""
        return METHODS[self.merge_method]

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders as rows of a block have them: a base first, where the method has one or takes it as first."""
        listed = tuple(one.model for one in self.models)
        if self.base_model is None or not (self.method.based or self.method.models):
            return listed
        return (self.base_model, *(folder for folder in listed if folder != self.base_model))

    @property
    def template(self) -> str:
        """The folder whose layout, config and other files OUT gets."""
        return self.base_model or self.models[0].model

    @property
    def sum_dtype(self) -> torch.dtype:
        """What is summed in: never narrower than float32."""
        return torch.float32 if self.dtype == "float32" else torch.float64

    @property
    def written_dtype(self) -> torch.dtype | None:
        """What tensors are written in; None: each as in the template."""
        name = self.out_dtype or self.dtype
        return None if name is None else DTYPES[name]

    def settings(self, name: str, size: int, place: float) -> TensorSettings:
        """How one tensor is merged that stands at a place among the layers. Raises ConfigError if a value lacks."""

        def of_all(parameter: str, default: float) -> float:
            found = value_at([self.parameters.get(parameter)], name, place)
            return default if found is None else found

        merged = [one for one in self.models if not self.method.based or one.model != self.base_model]
        own = {
            parameter: tuple(self._of_model(one, parameter, name, place) for one in merged)
            for parameter in OF_MODEL
            if parameter in self.method.parameters
        }
        if "t" in self.method.parameters and value_at([self.parameters.get("t")], name, place) is None:
            raise ConfigError(
                f"t: slerp needs one for {name}, 0 the first model and 1 the second. Add it to parameters."
            )
        return TensorSettings(
            name, size, own.get("weight", (1.0,) * len(merged)), own.get("density", ()),
            bool(of_all("normalize", self.method.normalize)), float(of_all("lambda", 1.0)), float(of_all("t", 0.5)),
            self.method.based, self.seed, self.sum_dtype,
        )  # fmt: skip

    def _of_model(self, one: RecipeModel, parameter: str, name: str, place: float) -> float:
        found = value_at([one.parameters.get(parameter), self.parameters.get(parameter)], name, place)
        if found is None and parameter == "weight":
            raise ConfigError(f"weight: {one.model} has none for {name}. Add it to its parameters, or to those of all.")
        return 1.0 if found is None else float(found)


def read_recipe(path: Path) -> MergeRecipe:
    """The recipe in a YAML file. Raises ConfigError in one line."""
    values = read_mapping(path)
    for name, remedy in _REFUSED.items():
        if values.get(name) is not None:
            raise ConfigError(f"{path}: {name} is not supported: {remedy}.")
    return recipe_of({name: value for name, value in values.items() if value is not None}, str(path))


def recipe_of(values: dict[str, Any], where: str = "recipe") -> MergeRecipe:
    """A recipe from what a YAML file would hold. Raises ConfigError in one line."""
    try:
        return MergeRecipe(**values)
    except ValidationError as error:
        first = error.errors()[0]
    if isinstance(first.get("ctx", {}).get("error"), ConfigError):  # says all by itself
        raise ConfigError(f"{where}: {first['ctx']['error']}") from None
    at = ".".join(map(str, first["loc"]))
    if first["type"] == "extra_forbidden":
        fields = RecipeModel if first["loc"][0] == "models" else MergeRecipe
        raise ConfigError(f"{where}: {at}: no such key. Known: {', '.join(fields.model_fields)}.")
    if first["type"] == "missing":
        raise ConfigError(f"{where}: {at}: missing. Add it.")
    message = first["msg"].replace("Input should be", "expected").replace("tuple", "list").rstrip(".")
    raise ConfigError(f"{where}: {at}: {message}, got {in_one_line(repr(first['input']))}.")
