"""A GPU of which only shapes, dtypes and devices are known: what waits for a number of it raises, and so is found."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode


class _Indexed(TorchFunctionMode):
    """Indexing by methods of torch, since a torch without CUDA refuses its own of a tensor that says it is there."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        if func is Tensor.__getitem__ and args[0].device.type == "cuda":
            return _indexed(args[0], args[1] if isinstance(args[1], tuple) else (args[1],))
        return func(*args, **(kwargs or {}))


def _indexed(tensor: Tensor, parts: tuple[Any, ...]) -> Tensor:
    if Ellipsis in parts:
        at = parts.index(Ellipsis)
        parts = (*parts[:at], *[slice(None)] * (tensor.dim() - len(parts) + 1), *parts[at + 1 :])
    axis = 0
    for part in parts:
        if isinstance(part, int):
            tensor = tensor.select(axis, part)
        elif part is None:
            tensor, axis = tensor.unsqueeze(axis), axis + 1
        elif isinstance(part, slice):
            begin, end, step = part.indices(tensor.shape[axis])
            assert step == 1
            tensor, axis = tensor.narrow(axis, begin, max(0, end - begin)), axis + 1
        else:
            assert part.dtype == torch.int64
            tensor, axis = tensor.index_select(axis, part.to(tensor.device)), axis + 1
    return tensor


@contextlib.contextmanager
def fake_gpu() -> Iterator[None]:
    """Tensors made inside hold no numbers, also those on "cuda", whether torch has it or not.

    Reading a number of one raises torch._subclasses.fake_tensor.DataDependentOutputException or its like.
    """
    with FakeTensorMode(allow_non_fake_inputs=True), _Indexed():
        yield
