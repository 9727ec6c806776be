"""Sparsity patterns: which weights of a matrix may go, and how many."""

import math
import re
from dataclasses import dataclass

from ..errors import ConfigError


def zeros_of(sparsity: float, count: int) -> int:
    """How many of `count` weights a sparsity prunes: sparsity * count rounded to the nearest, halves upward."""
    return min(count, math.floor(sparsity * count + 0.5))


@dataclass(frozen=True)
class Unstructured:
    """A share of all weights, wherever they are.

    sparsity  share of weights to prune, in [0, 1]; a whole layer gets exactly floor(sparsity * weights + 1/2) zeros
    scope     which weights compete for one threshold: "block" (all rows of a column block, SparseGPT's choice),
              "row" (a row's weights inside a block: every row gets the same number of zeros), or "layer" (all weights
              of the layer at once, by the scores of the unpruned weights)
    """

    sparsity: float
    scope: str = "block"

    def __post_init__(self) -> None:
        if not 0 <= self.sparsity <= 1:
            raise ConfigError(f"sparsity: expected 0 to 1, got {self.sparsity}. Write 0.5 for half of the weights.")
        if self.scope not in ("block", "row", "layer"):
            raise ConfigError(f"mask scope: expected block, row or layer, got {self.scope!r}.")

    def check(self, rows: int, cols: int) -> None:
        """Every shape will do."""

    def zeros(self, rows: int, cols: int) -> int:
        """Exact number of zeros in a [rows, cols] layer."""
        return rows * zeros_of(self.sparsity, cols) if self.scope == "row" else zeros_of(self.sparsity, rows * cols)

    def __str__(self) -> str:
        return f"{100 * self.sparsity:g} %"


@dataclass(frozen=True)
class NM:
    """Keep `keep` of every `group` neighbouring weights of a row: NM(2, 4) is 2:4.

    Raises ConfigError unless 1 <= keep <= group <= 128.
    """

    keep: int
    group: int

    def __post_init__(self) -> None:
        if not 1 <= self.keep <= self.group <= 128:
            raise ConfigError(f"pattern {self}: expected 1 <= N <= M <= 128. Write 2:4 to keep 2 of every 4.")

    def check(self, rows: int, cols: int) -> None:
        """Raise ConfigError unless the groups divide the columns."""
        if cols % self.group:
            raise ConfigError(
                f"pattern {self}: expected columns divisible by {self.group}, got a [{rows}, {cols}] weight. "
                "Choose another pattern or exclude the layer."
            )

    def zeros(self, rows: int, cols: int) -> int:
        """Exact number of zeros in a [rows, cols] layer."""
        return rows * cols // self.group * (self.group - self.keep)

    def __str__(self) -> str:
        return f"{self.keep}:{self.group}"


Pattern = Unstructured | NM


def parse_pattern(text: str) -> NM:
    """NM from "2:4", which keeps 2 of every 4. Raises ConfigError if the text is not of that form."""
    match = re.fullmatch(r"(\d+):(\d+)", text.strip())
    if not match:
        raise ConfigError(f"pattern: expected N:M such as 2:4 (keep 2 of every 4), got {text!r}.")
    return NM(int(match[1]), int(match[2]))
