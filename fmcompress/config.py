"""The options of a run: one frozen model per method, unknown keys refused."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator, model_validator

from .layerwise import MAX_GROUP_COLS, Grid, Pattern, Products, Unstructured, check_options, parse_pattern
from .pruning import ADMM_STEPS
from .shares import checked_shares, read_allocation

CLIP_CANDIDATES = 40  # ranges that --clip-search tries
CPU_TOKENS, GPU_TOKENS = 32_768, 262_144  # calibration tokens by default: minutes of waiting either way
DATA_OPTIONS = (  # what only methods with data heed
    "samples", "sequence_length", "seed", "damping", "true_sequential", "activation_order", "block_size", "dtype",
    "min_tokens", "few_tokens", "cuda_graphs", "products",
)  # fmt: skip
QUALITY: dict[str | None, dict[str, Any]] = {  # measured in docs/methods.md
    "fast": {"method": "sparsegpt"},
    "balanced": {"method": "admm", "admm_steps": 24},
    "best": {"method": "admm", "reconstruct": 100},
}


class RunConfig(BaseModel):
    """What all runs share: which layers, how they are calibrated and stored."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    bits: Literal[2, 3, 4, 8] | None = None
    group_size: int | Literal["row"] = 128
    symmetric: bool = True
    clip_search: bool = False
    activation_order: bool = False
    damping: float = Field(0.01, ge=0, le=1)
    true_sequential: bool = False
    include: str | None = None
    exclude: str | None = None
    samples: int | None = Field(None, ge=1)
    sequence_length: int = Field(2048, ge=2)
    min_tokens: int = Field(1, ge=1)  # that must reach a layer, such as an expert
    few_tokens: Literal["error", "magnitude", "rtn"] = "error"  # what to do with one that fewer reach
    seed: int = 0
    dtype: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    format: Literal["dense", "compressed-tensors", "packed"] | None = None
    cuda_graphs: bool = False  # keep solves of one shape as graphs
    products: Products = "fp32"  # how the wide products of a solve are computed on a GPU

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_numbers(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and cls.model_fields[str(info.field_name)].annotation is not bool:
            raise ValueError("expected another kind of value than true or false")
        return value

    @field_validator("group_size", mode="before")
    @classmethod
    def _number_or_row(cls, value: Any) -> Any:
        if isinstance(value, str) and value.isascii() and value.isdigit():
            value = int(value)
        if value != "row" and not (isinstance(value, int) and value >= 1):
            raise ValueError("expected a number of columns such as 128, or row")
        if value != "row" and value > MAX_GROUP_COLS:
            raise ValueError(f"expected at most {MAX_GROUP_COLS} columns, or row")
        return value

    @model_validator(mode="after")
    def _format_fits(self) -> "RunConfig":
        if self.format == "compressed-tensors" and self.bits is None:
            raise ValueError("format: compressed-tensors holds quantized weights. Add --bits 4, or use --format packed")
        return self

    @model_validator(mode="after")
    def _grid_is_used(self) -> "RunConfig":
        for name in ("group_size", "symmetric", "clip_search") if self.bits is None else ():
            if self._differs(name):
                raise ValueError(f"{name.replace('_', '-')}: nothing is quantized. Add --bits 4")
        return self

    def _differs(self, name: str) -> bool:
        """Whether an option of that name exists and was set to something else than its default."""
        return name in self.model_fields_set and getattr(self, name) != type(self).model_fields[name].default

    def without_effect(self, device: torch.device | None = None) -> list[str]:
        """A sentence on the options that were set, but change nothing for this method, or on this device if given."""
        if not self.needs_data:
            return self._unused(DATA_OPTIONS, "this method looks at no data")
        if device is None or device.type == "cuda":
            return []
        return self._unused(("cuda_graphs", "products"), f"the device is {device.type}")

    def _unused(self, names: Sequence[str], why: str) -> list[str]:
        flags = ", ".join(f"--{name.replace('_', '-')}" for name in names if self._differs(name))
        return [f"without effect, since {why}: {flags}"] if flags else []

    def grid(self) -> Grid | None:
        """The grid as the solvers take it; None if nothing is quantized."""
        if self.bits is None:
            return None
        size = None if self.group_size == "row" else self.group_size
        return Grid(self.bits, size, self.symmetric, CLIP_CANDIDATES if self.clip_search else 1)

    def target(self, tensor: str | None = None) -> Pattern | None:
        """The pattern as the solvers take it, of a tensor or in general; None if nothing is pruned."""
        return None

    @property
    def needs_data(self) -> bool:
        """Whether the method looks at calibration data, and so at the model's definition."""
        raise NotImplementedError

    @property
    def written_as(self) -> str:
        """The format to write: as asked for, else compressed-tensors for quantized weights and dense for others."""
        return self.format or ("dense" if self.bits is None else "compressed-tensors")

    def samples_on(self, device: torch.device, length: int) -> int:
        """How many sequences to calibrate with: as asked, or what keeps a person waiting for minutes."""
        return self.samples or max(1, (CPU_TOKENS if device.type == "cpu" else GPU_TOKENS) // length)


class PruneConfig(RunConfig):
    """Everything that decides what `fmcompress prune` writes."""

    quality: Literal["fast", "balanced", "best"] | None = None  # what QUALITY says, for options not given
    method: Literal["sparsegpt", "magnitude", "wanda", "admm"] = "sparsegpt"
    sparsity: float | None = Field(None, ge=0, le=1)
    pattern: str | None = None
    mask_scope: Literal["block", "row", "layer"] = "block"
    block_size: int = Field(128, ge=1)
    allocation: dict[str, float] | None = None  # tensor -> its sparsity, where it has one; may be given as a file
    masks: str | None = None  # a pruned checkpoint whose zeros are taken over
    admm_steps: int = Field(ADMM_STEPS, ge=1)
    refit: bool = False  # admm always does
    swap: bool = False  # with a refit before and after it
    reconstruct: int = Field(0, ge=0)  # steps that train the kept weights of a block together
    few_tokens: Literal["error", "magnitude"] = "error"

    @field_validator("pattern", mode="before")
    @classmethod
    def _sexagesimal(cls, value: Any) -> Any:
        if isinstance(value, int):  # YAML 1.1 reads 2:4 as a number of base 60
            raise ValueError('expected text. Write it in quotes: "2:4"')
        return value

    @field_validator("allocation", mode="before")
    @classmethod
    def _of_file(cls, value: Any) -> Any:
        return read_allocation(Path(value)) if isinstance(value, str | Path) else checked_shares(value, "allocation")

    @model_validator(mode="before")
    @classmethod
    def _of_quality(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        named = named_options(values.get("quality"))
        if values.get("masks") is not None:
            named.pop("method", None)  # no method looks for them
        filled = {**named, **values}
        if "admm_steps" in named and filled.get("method") != "admm" and "admm_steps" not in values:
            del filled["admm_steps"]
        return filled

    @model_validator(mode="after")
    def _one_target(self) -> "PruneConfig":
        given = [name for name in ("sparsity", "pattern", "masks") if getattr(self, name) is not None]
        if not given:
            raise ValueError("say how much to prune: --sparsity 0.5 or --pattern 2:4, or whose --masks to take over")
        if len(given) > 1:
            raise ValueError(f"give one of --sparsity 0.5, --pattern 2:4 and --masks, not {' and '.join(given)}")
        if self.allocation is not None and self.sparsity is None:
            raise ValueError("allocation: needs --sparsity, which it is made for; N:M and --masks leave no choice")
        return self

    @model_validator(mode="after")
    def _options_fit(self) -> "PruneConfig":
        if self.masks is not None and (self._differs("method") or self.swap):
            raise ValueError("masks: they are given, so no method looks for them. Leave out --method and --swap")
        if self.bits is not None and self.reconstruct:
            raise ValueError(
                "bits: reconstruct, as in --quality best, only prunes. Quantize what it writes: fmcompress quantize "
                "--keep-zeros. Or add --reconstruct 0"
            )
        if self.method == "sparsegpt" and self.masks is None:
            grid = None if self.refit or self.swap else self.grid()
            check_options(self.target(), grid, block_size=self.block_size, activation_order=self.activation_order)
        return self

    @property
    def needs_data(self) -> bool:
        """All but magnitude do, and whatever moves the weights that it keeps."""
        moves = self.refit or self.swap or self.reconstruct or self.masks is not None
        return self.method != "magnitude" or bool(moves)

    def without_effect(self, device: torch.device | None = None) -> list[str]:
        """See RunConfig."""
        notes = []
        if self.sparsity is None:
            why = "masks are given" if self.pattern is None else "groups are chosen one by one"
            notes = self._unused(("mask_scope",), why)
        sweeps = self.method == "sparsegpt" and self.masks is None
        if not sweeps and self.needs_data:
            swept = ["block_size"] if self.bits else ["damping", "block_size", "activation_order"]
            if device is None or device.type == "cuda":
                swept += ["products"] if self.bits else ["products", "cuda_graphs"]
            notes += self._unused(swept, "only sparsegpt sweeps over columns")
        if self.method != "admm":
            notes += self._unused(("admm_steps",), "the method is not admm")
        return super().without_effect(device) + notes

    def target(self, tensor: str | None = None) -> Pattern | None:
        """See RunConfig. None for masks that are given."""
        if self.pattern is not None:
            return parse_pattern(self.pattern)
        if self.sparsity is None:
            return None
        rows_compete = self.method == "wanda" and self.mask_scope == "block"
        share = (self.allocation or {}).get(tensor or "", self.sparsity)
        return Unstructured(share, "row" if rows_compete else self.mask_scope)


def named_options(quality: Any) -> dict[str, Any]:
    """The options that a quality stands for; none for what is no name of one."""
    return dict(QUALITY.get(quality, {})) if isinstance(quality, str) else {}


class QuantizeConfig(RunConfig):
    """Everything that decides what `fmcompress quantize` writes."""

    method: Literal["gptq", "rtn"] = "gptq"
    bits: Literal[2, 3, 4, 8] = 4
    keep_zeros: bool = False  # rounding to the nearest level keeps them anyway
    few_tokens: Literal["error", "rtn"] = "error"

    @property
    def needs_data(self) -> bool:
        """GPTQ does."""
        return self.method == "gptq"
