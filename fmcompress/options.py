"""The options of a run as a person gives them: a YAML file, flags that win over it, one line on what is wrong."""

from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from .config import named_options
from .errors import ConfigError

Config = TypeVar("Config", bound=BaseModel)


def resolve(model: type[Config], path: Path | None, **flags: Any) -> Config:
    """Options from a YAML file, overridden by the flags that are not None. Raises ConfigError in one line."""
    values: dict[str, Any] = {}
    if path is not None:
        try:
            values = yaml.safe_load(path.read_text()) or {}
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise ConfigError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())}).") from None
        if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
            raise ConfigError(f"{path}: expected keys and values such as 'sparsity: 0.5'.")
    values = {key.replace("-", "_"): value for key, value in values.items()}  # as the flags are spelt
    _take_asymmetric(values)
    given = {key: value for key, value in flags.items() if value is not None}
    targets = {"sparsity", "pattern", "masks"}  # one of which says what to prune
    beaten = targets if targets & given.keys() else set()
    for name in beaten | named_options(given.get("quality")).keys():  # flags win
        values.pop(name, None)
    values.update(given)
    try:
        return model(**values)
    except ValidationError as error:
        raise ConfigError(_one_line(error, model)) from None


def _take_asymmetric(values: dict[str, Any]) -> None:
    """The other name that the flags have for `symmetric`."""
    if "asymmetric" in values:
        asymmetric = values.pop("asymmetric")
        if "symmetric" in values or not isinstance(asymmetric, bool):
            raise ConfigError(f"asymmetric: expected true or false, and no symmetric beside it, got {asymmetric!r}.")
        values["symmetric"] = not asymmetric


def _one_line(error: ValidationError, model: type[BaseModel]) -> str:
    first = error.errors()[0]
    if isinstance(first.get("ctx", {}).get("error"), ConfigError):  # says all by itself
        return str(first["ctx"]["error"])
    where = ".".join(str(part) for part in first["loc"]).replace("_", "-")
    if first["type"] == "extra_forbidden":
        twice = ["asymmetric"] if "symmetric" in model.model_fields else []
        names = [field.alias or name for name, field in model.model_fields.items()]
        known = ", ".join([*names, *twice]).replace("_", "-")
        return f"{where}: no such option. Known: {known}."
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected").rstrip(".")
    hint = " Write 0.5 for half of the weights." if where == "sparsity" else ""
    return f"{where}: {message}, got {first['input']!r}.{hint}" if where else f"{message}."
