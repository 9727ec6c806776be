"""From a checked call to the implementation that runs it."""

from typing import Any

from torch import Tensor

from .. import _backends
from .._ops import CHECKS


def run(op: str, tensor: Tensor, *rest: Any) -> Any:
    """Check the arguments against the contract and run the op where its first tensor lies."""
    CHECKS[op](tensor, *rest)
    _backends.prepare(tensor.device)
    return _backends.implementation(op, tensor.device.type)(tensor, *rest)
