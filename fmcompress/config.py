"""The options of a run: one frozen model per method, unknown keys refused."""

from pathlib import Path
from typing import Any, Literal, TypeVar

import torch
import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from .errors import ConfigError
from .pruning import Pattern, Unstructured, parse_pattern

CPU_TOKENS, GPU_TOKENS = 32_768, 262_144  # calibration tokens by default: minutes of waiting either way
Config = TypeVar("Config", bound=BaseModel)


class PruneConfig(BaseModel):
    """Everything that decides what `fmcompress prune` writes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    method: Literal["sparsegpt", "magnitude"] = "sparsegpt"
    sparsity: float | None = Field(None, ge=0, le=1)
    pattern: str | None = None
    mask_scope: Literal["block", "row", "layer"] = "block"
    damping: float = Field(0.01, ge=0, le=1)
    block_size: int = Field(128, ge=1)
    true_sequential: bool = False
    include: str | None = None
    exclude: str | None = None
    samples: int | None = Field(None, ge=1)
    sequence_length: int = Field(2048, ge=2)
    seed: int = 0
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"

    @field_validator("pattern", mode="before")
    @classmethod
    def _sexagesimal(cls, value: Any) -> Any:
        if isinstance(value, int):  # YAML 1.1 reads 2:4 as a number of base 60
            raise ValueError('expected text. Write it in quotes: "2:4"')
        return value

    @model_validator(mode="after")
    def _one_target(self) -> "PruneConfig":
        if (self.sparsity is None) == (self.pattern is None):
            raise ValueError("give either --sparsity 0.5 or --pattern 2:4, not both and not neither")
        if self.pattern is not None:
            parse_pattern(self.pattern)
        return self

    def target(self) -> Pattern:
        """The pattern as the solvers take it."""
        if self.pattern is not None:
            return parse_pattern(self.pattern)
        assert self.sparsity is not None
        return Unstructured(self.sparsity, self.mask_scope)

    def samples_on(self, device: torch.device, length: int) -> int:
        """How many sequences to calibrate with: as asked, or what keeps a person waiting for minutes."""
        return self.samples or max(1, (CPU_TOKENS if device.type == "cpu" else GPU_TOKENS) // length)


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
    values.update({key: value for key, value in flags.items() if value is not None})
    try:
        return model(**values)
    except ValidationError as error:
        raise ConfigError(_one_line(error)) from None


def _one_line(error: ValidationError) -> str:
    first = error.errors()[0]
    where = ".".join(str(part) for part in first["loc"]).replace("_", "-")
    if first["type"] == "extra_forbidden":
        return f"{where}: no such option. Known: {', '.join(PruneConfig.model_fields)}."
    message = first["msg"].removeprefix("Value error, ").replace("Input should be", "expected").rstrip(".")
    return f"{where}: {message}, got {first['input']!r}." if where else f"{message}."


def pick_device(name: str) -> torch.device:
    """ "auto" is a GPU if torch sees one. Raises ConfigError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device: {name!r} cannot be used here ({reason}). Try --device cpu.") from None
    return device


def pick_dtype(name: str, device: torch.device, stored: torch.dtype) -> torch.dtype:
    """The dtype to run the model in: "auto" is float32 on a CPU and the checkpoint's own on a GPU."""
    if name not in ("auto", "float32", "bfloat16", "float16"):
        raise ConfigError(f"dtype: expected auto, float32, bfloat16 or float16, got {name!r}.")
    if name != "auto":
        return getattr(torch, name)  # type: ignore[no-any-return]
    return torch.float32 if device.type == "cpu" else stored
