"""The options of `fmcompress patch make`."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from ..layerwise import Grid


class PatchOptions(BaseModel):
    """What a patch may lose; by default nothing.

    bits           changes are rounded to a grid of so many bits; `group_size` neighbours share a scale, or a row
    density        share of the entries of a tensor that may change: those that change most
    rank           a matrix changes by a matrix of that rank
    factors        dtype in which the two factors of that matrix are stored

    bits and density go together, rank goes alone. Only tensors of floats with two or more dimensions lose anything, and
    only where that makes the patch smaller.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bits: Literal[2, 3, 4, 8] | None = None
    group_size: int | Literal["row"] = 128
    density: float | None = Field(default=None, gt=0, le=1)
    rank: int | None = Field(default=None, ge=1)
    factors: Literal["BF16", "F16", "F32"] = "BF16"

    @model_validator(mode="after")
    def _fits(self) -> "PatchOptions":
        if self.rank is not None and (self.bits is not None or self.density is not None):
            raise ValueError("rank: expected alone, got it with bits or density. Choose one of the two ways")
        if self.rank is None and self.factors != "BF16":
            raise ValueError("factors: expected with a rank. Give --rank N")
        if self.bits is None and self.group_size != 128:
            raise ValueError("group-size: is of rounded changes. Give --bits 4 with it")
        if self.bits is not None:
            _ = self.grid  # which knows what a group can be
        return self

    @property
    def lossy(self) -> bool:
        """Whether anything may be lost."""
        return (self.bits, self.density, self.rank) != (None, None, None)

    @property
    def grid(self) -> Grid:
        """Of the changes; clipped ranges are tried, since changes have long tails."""
        assert self.bits is not None
        return Grid(self.bits, None if self.group_size == "row" else self.group_size, candidates=20)
