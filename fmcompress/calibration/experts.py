"""Watching fused experts: which slice of a parameter is multiplied with which tokens."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

BATCHED = (torch.bmm, torch.Tensor.bmm)
PRODUCTS = (torch.nn.functional.linear, torch.matmul, torch.Tensor.matmul, torch.Tensor.__matmul__, torch.mm, *BATCHED)


@dataclass(frozen=True)
class ExpertWeight:
    """A slice of a parameter [experts, ...], and who is told its inputs [tokens, cols] and its outputs without bias."""

    parameter: Tensor
    expert: int
    see: Callable[[Tensor, Tensor], None]


class WatchExperts(TorchFunctionMode):
    """While entered, tells each expert's products to who wants them.

    Modules of fused experts have no submodule that could be hooked: they index a parameter and multiply. The slice is
    known by its place in memory.
    """

    def __init__(self, weights: Iterable[ExpertWeight]) -> None:
        super().__init__()
        self._parameters: dict[int, Tensor] = {}
        self._see: dict[tuple[int, int], Callable[[Tensor, Tensor], None]] = {}
        for weight in weights:
            address = weight.parameter.untyped_storage().data_ptr()
            self._parameters[address] = weight.parameter
            self._see[address, weight.expert] = weight.see

    def __torch_function__(
        self, func: Any, types: Sequence[type], args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run the function, and look at it where it multiplies with a watched parameter."""
        output = func(*args, **(kwargs or {}))
        if func in PRODUCTS and len(args) > 1 and isinstance(args[1], Tensor):
            address = args[1].untyped_storage().data_ptr()
            if address in self._parameters:
                self._tell(address, func, (*args, *(kwargs or {}).values()), output)
        return output

    def _tell(self, address: int, func: Any, args: tuple[Any, ...], output: Tensor) -> None:
        inputs, weight, *bias = args
        if func in BATCHED:  # all tokens for all experts, those that an expert was not chosen for as zeros
            experts, tokens = inputs.any(2).nonzero(as_tuple=True)  # of all at once: their number is waited for
            counts = torch.bincount(experts, minlength=len(weight)).tolist()
            for expert, chosen in enumerate(tokens.split(counts)):
                self._to_one(address, expert, inputs[expert][chosen], output[expert][chosen])
            return
        parameter = self._parameters[address]
        expert = (weight.storage_offset() - parameter.storage_offset()) // parameter.stride(0)
        self._to_one(address, expert, inputs, output - bias[0] if bias and bias[0] is not None else output)

    def _to_one(self, address: int, expert: int, inputs: Tensor, output: Tensor) -> None:
        see = self._see.get((address, expert))
        if see is not None:
            see(inputs, output)
