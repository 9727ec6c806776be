"""From a checked call to the implementation that runs it."""

from typing import Any

import torch
from torch import Tensor

from .. import _backends
from .._ops import CHECKS


def run(op: str, tensor: Tensor, *rest: Any) -> Any:
    """Check the arguments against the contract and run the op where its first tensor lies."""
    if torch.compiler.is_compiling():  # the op's fake checks; choosing a back-end would break the graph
        return getattr(torch.ops.fmcompress, op)(tensor, *rest)
    CHECKS[op](tensor, *rest)
    _backends.prepare(tensor.device)
    return _backends.implementation(op, tensor.device.type)(tensor, *rest)
