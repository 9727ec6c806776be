"""What solving one layer gives back, and the little that every solver does the same way."""

import time
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..errors import CalibrationError
from .factor import all_finite
from .grid import QuantizedWeight


@dataclass(frozen=True)
class LayerResult:
    """One pruned layer and what it cost.

    weight          [rows, cols], dtype of the weight that came in; never holds -0.0
    loss            tr(dW H dW^T), the layer's squared output error under the Hessian it was solved with
    relative_error  loss / tr(W H W^T): 0 for an unchanged layer, 1 for an all-zero one
    zeros           number of weights that are exactly zero
    damping         share of the mean Hessian diagonal that was added to it; more than was asked for where the
                    factorisation needed it
    dead_columns    inputs that were zero in all of the calibration data
    seconds         phase -> wall time
    quantized       codes and scales, where the weight was rounded to a grid: `weight` is their dequantized form
    """

    weight: Tensor
    loss: float
    relative_error: float
    zeros: int
    damping: float = 0.0
    dead_columns: int = 0
    seconds: dict[str, float] = field(default_factory=dict)
    quantized: QuantizedWeight | None = None

    @property
    def sparsity(self) -> float:
        """Share of zeros in [0, 1]."""
        return self.zeros / max(1, self.weight.numel())


# the level beyond the largest weight of a symmetric grid may be too large for the dtype
OFF_THE_GRID = "Quantize it --asymmetric, give the model in bfloat16, or --exclude it."


class Clock:
    """Wall time between laps, by name."""

    def __init__(self) -> None:
        self.laps: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, name: str) -> None:
        """End the phase `name`."""
        now = time.perf_counter()
        self.laps[name] = now - self._last
        self._last = now


def row_forms(matrix: Tensor, hessian: Tensor, rows_at_once: int = 4096) -> Tensor:
    """m H m^T of every row m of M [rows, cols], a few rows at a time; of a batch with a Hessian each as well.

    Returns [rows] or [batch, rows] float64.
    """
    parts = matrix.split(rows_at_once, -2)
    return torch.cat([(part @ hessian).mul_(part).sum(-1).double() for part in parts], -1)


def quadratic_form(matrix: Tensor, hessian: Tensor) -> float:
    """tr(M H M^T) for M [rows, cols] and H [cols, cols], summed in float64 over the rows."""
    return float(row_forms(matrix, hessian).sum())


def losses(original: Tensor, solved: Tensor, hessian: Tensor | None) -> tuple[float, float]:
    """tr(dW H dW^T) and its ratio to tr(W H W^T), or NaN without a Hessian."""
    if hessian is None:
        return float("nan"), float("nan")
    hessian = hessian.to(original.dtype)
    loss = quadratic_form(solved - original, hessian)
    return loss, loss / (quadratic_form(original, hessian) or 1.0)


def count_zeros(tensor: Tensor) -> int:
    """How many entries are exactly zero. By way of a bool tensor: count_nonzero branches on every float, and half of
    a pruned weight's branches are mispredicted."""
    return tensor.numel() - int(torch.count_nonzero(tensor != 0))


def finished(solved: Tensor, dtype: torch.dtype, name: str, remedy: str = "Raise the damping.") -> Tensor:
    """The solved weight in its final dtype, without -0.0, which some readers of packed weights take for a nonzero.

    `solved` is changed in place where it has that dtype already.
    remedy  what the caller can offer against an overflow

    Raises CalibrationError if it is not finite, as when a float16 weight overflows.
    """
    result = solved.to(dtype).add_(0.0)
    check_finite_result(result, name, remedy)
    return result


def check_finite_result(result: Tensor, name: str, remedy: str) -> None:
    """Raise CalibrationError unless it is finite."""
    if not all_finite(result):
        raise CalibrationError(f"{name}: the solved weight is not finite in {result.dtype}. {remedy}")
