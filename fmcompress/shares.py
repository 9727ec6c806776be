"""The JSON file of an allocation: `fmcompress allocate` writes it, `fmcompress prune --allocation` reads it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .checkpoint import write_error
from .errors import ConfigError

FORM = 'expected a JSON object {"layers": {tensor: share of zeros}}, or only the inner one'


@dataclass(frozen=True)
class Allocation:
    """A sparsity for every layer.

    sparsity  of all layers together
    method    that found it
    layers    name of a tensor -> its share of zeros in [0, 1]
    found     by what, and what was measured: JSON values
    """

    sparsity: float
    method: str
    layers: dict[str, float]
    found: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """As it stands in the file."""
        return {"sparsity": self.sparsity, "method": self.method, **self.found, "layers": self.layers}

    def __str__(self) -> str:
        shares = self.layers.values()
        told = f"{100 * self.sparsity:g} % in all, {100 * min(shares):.2f} to {100 * max(shares):.2f} % of a layer"
        if "kl" not in self.found:
            return told
        gain = f"KL to the dense model {self.found['kl_even']:.4f} with equal shares, {self.found['kl']:.4f} so"
        return f"{told} · {gain}, for prune --method {' or '.join(self.found['level_methods'])}"


def write_allocation(path: Path, allocation: Allocation) -> None:
    """Write the file, whole or not at all. Raises DiskError if it cannot be written."""
    growing = path.with_name(f"{path.name}.partial")
    try:
        growing.write_text(json.dumps(allocation.as_dict(), indent=1) + "\n")
        growing.replace(path)
    except OSError as error:
        raise write_error(path, error) from None


def read_allocation(path: Path) -> dict[str, float]:
    """The shares by tensor. What else stands beside "layers" is not read.

    Raises ConfigError, in one line, for anything that does not parse.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"), object_pairs_hook=_without_twins)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Give what fmcompress allocate wrote.") from None
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _TwinError) else "not valid JSON"
        raise ConfigError(f"{path}: {reason}; {FORM}.") from None
    layers = content.get("layers", content) if isinstance(content, dict) else None
    shares = checked_shares(layers, str(path)) if isinstance(layers, dict) else None
    if not shares:
        raise ConfigError(f"{path}: {FORM}.")
    return shares


def checked_shares(layers: Any, where: str) -> dict[str, float] | None:
    """The same as numbers; None for None.

    Raises ConfigError if it is no mapping, or naming the first share that is no number from 0 to 1.
    """
    if layers is None:
        return None
    if not isinstance(layers, Mapping):
        raise ConfigError(f"{where}: expected a file, or tensors and their shares of zeros, got {_short(layers)}.")
    for name, share in layers.items():
        if type(share) not in (int, float) or not 0 <= share <= 1:
            raise ConfigError(f"{where}: {name}: expected a share of zeros from 0 to 1, got {_short(share)}.")
    return {str(name): float(share) for name, share in layers.items()}


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return "something else"
    return text if len(text) <= 40 else f"{text[:40]}…"


class _TwinError(ValueError):
    pass


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _TwinError(f"names {key!r} twice")
        found[key] = value
    return found
