"""A GPU that is none: tensors that say they are on "cuda" and lie on the CPU, so that real runs show whether Python code
keeps to one device.

Whatever a real GPU would refuse raises here, too: tensors of two devices in one call, NumPy arrays of tensors on a GPU.
Numbers are computed on the CPU, by its kernels. Streams, memory and events are stand-ins.
"""

import contextlib
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any
from unittest import mock

import torch
import torch._refs
from torch.overrides import TorchFunctionMode, get_default_nowrap_functions
from torch.utils._pytree import tree_flatten, tree_map

CUDA = torch.device("cuda", 0)
SUBMIT = ThreadPoolExecutor.submit
BETWEEN_DEVICES = {
    "copy_",
    "to",
    "__get__",
    "__setitem__",
    "__getitem__",
    "index_put_",
    "set_data",
    "type_as",
    "__set__",
}
HOST_ONLY = {"numpy", "__array__"}
# a number on the CPU goes with tensors on a GPU where it is one operand beside another, and in none of these
NOT_BESIDE_NUMBERS = {
    *("cat", "stack", "hstack", "vstack", "concat", "concatenate", "mm", "matmul", "__matmul__", "bmm", "dot", "mv"),
    *("linear", "addmm", "addmm_", "baddbmm", "einsum", "embedding", "gather", "take_along_dim", "index_select"),
    *("index_copy", "index_copy_", "index_add", "index_add_", "index_fill_", "scatter", "scatter_", "scatter_add_"),
    *("searchsorted", "bucketize", "bincount", "take", "normal", "dequantize"),
}
BY_INDEX = {"__getitem__", "__setitem__"}


class OnCuda(torch.Tensor):
    """A CPU tensor that says it is on a GPU."""

    @property
    def device(self) -> torch.device:
        return CUDA

    @property
    def is_cuda(self) -> bool:
        return True

    @property
    def is_cpu(self) -> bool:
        return False

    def get_device(self) -> int:
        return 0

    def __deepcopy__(self, memo: dict[int, Any]) -> "OnCuda":
        copied = there(here(self).detach().clone())
        memo[id(self)] = copied
        return copied.requires_grad_(self.requires_grad) if self.requires_grad else copied

    @classmethod
    def __torch_function__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return super().__torch_function__(func, types, args, kwargs or {})


def there(value: Any) -> Any:
    """A tensor as if on the GPU; anything else as it is."""
    return value.as_subclass(OnCuda) if isinstance(value, torch.Tensor) and not value.is_meta else value


def here(value: Any) -> Any:
    """The way back."""
    with torch._C.DisableTorchFunctionSubclass():
        return value.as_subclass(torch.Tensor) if isinstance(value, OnCuda) else value


class _Gpu(TorchFunctionMode):
    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in ("is_available", "device_count"):
            return func(*args, **kwargs)
        target, args = _asked_device(name, args, kwargs)
        tensors = [x for x in tree_flatten((args, kwargs))[0] if isinstance(x, torch.Tensor)]
        on_gpu = [x for x in tensors if isinstance(x, OnCuda)]
        if name == "_has_compatible_shallow_copy_type":
            return len(on_gpu) in (0, len(tensors))
        if name in HOST_ONLY and on_gpu:
            raise TypeError("can't convert a tensor on a GPU to NumPy. Use Tensor.cpu() first.")
        if name in BY_INDEX and on_gpu and not isinstance(args[0], OnCuda) and _is_place(args[1]):
            raise RuntimeError(f"{name}: expected indices on the CPU, as the indexed tensor is, got some on cuda.")
        listed = name in ("__setitem__", "index_put_") and isinstance(args[0], OnCuda) and _is_list(args[1])
        if listed and _lies_here(args[2]) and args[2].dim() > 0:
            raise RuntimeError(f"{name}: expected values on cuda, as the indexed tensor is, got some on the CPU.")
        generator = kwargs.get("generator")
        if generator is not None and generator.device.type == "cpu" and (on_gpu or target == "cuda"):
            raise RuntimeError(f"{name}: expected a generator on cuda, got one on the CPU.")
        if on_gpu and name not in BETWEEN_DEVICES:
            mixed = [x for x in tensors if not isinstance(x, OnCuda) and not x.is_meta]
            if _takes_numbers(func, name, args, kwargs):
                mixed = [x for x in mixed if x.dim() > 0]
            if mixed:
                shapes = [tuple(x.shape) for x in mixed]
                raise RuntimeError(f"{name}: expected all tensors on one device, got CPU tensors {shapes} beside cuda.")
        if name == "addmm" and kwargs.pop("out_dtype", None) == torch.float32:  # which a CPU does not know
            total, *halves = args
            assert kwargs.pop("out") is total
            return total.addmm_(*(half.float() for half in halves))
        result = func(*args, **kwargs)
        if target is None and func in get_default_nowrap_functions() and on_gpu:
            target = "cuda"  # a gradient lies where its tensor does
        if target is None:
            return result
        return tree_map(there if target == "cuda" else here, result)


def _takes_numbers(func: Any, name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bool:
    """Whether a tensor without dimensions may lie on the CPU: not where it is written to, nor where a kernel reads
    it by its address."""
    namespace = getattr(func, "namespace", None) or getattr(func, "_qualified_op_name", "").split("::")[0]
    in_place = (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")
    written = args[0] if in_place and args else kwargs.get("out")
    return namespace != "fmcompress" and name not in NOT_BESIDE_NUMBERS and not _lies_here(written)


def _lies_here(value: Any) -> bool:
    """A tensor on the CPU that says so."""
    return isinstance(value, torch.Tensor) and not isinstance(value, OnCuda)


def _is_list(index: Any) -> bool:
    """Whether the places are in tensors, and not slices."""
    return any(isinstance(part, torch.Tensor) for part in tree_flatten(index)[0])


def _is_place(index: Any) -> bool:
    return any(isinstance(part, OnCuda) for part in tree_flatten(index)[0])


def _true_device(kind: str) -> torch.device:
    return torch.device("cpu" if kind == "cuda" else kind)


def _asked_device(name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[str | None, tuple[Any, ...]]:
    """Where the caller wants the result, and the arguments without that wish."""
    if name == "cuda":
        raise NotImplementedError("Tensor.cuda(): use to()")
    if name == "cpu":
        return "cpu", args
    if kwargs.get("device") is not None and not isinstance(kwargs["device"], int):
        kind = torch.device(kwargs["device"]).type
        kwargs["device"] = _true_device(kind)
        return kind, args
    if name == "to":
        for position, value in enumerate(args[1:], 1):
            if isinstance(value, (str, torch.device)):
                kind = torch.device(value).type
                return kind, (*args[:position], _true_device(kind), *args[position + 1 :])
            if isinstance(value, torch.Tensor):  # to(other)
                return ("cuda" if isinstance(value, OnCuda) else "cpu"), args
    return None, args


def _submitted(pool: ThreadPoolExecutor, work: Any, *args: Any, **kwargs: Any) -> Future[Any]:
    """A mode holds for one thread: threads that work for it enter it, too."""

    def run() -> Any:
        with _Gpu():
            return work(*args, **kwargs)

    return SUBMIT(pool, run)


class Event:
    """Happens at once."""

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def record(self, *_: Any) -> None: ...
    def wait(self, *_: Any) -> None: ...
    def synchronize(self) -> None: ...


class Stream:
    """Everything in it is done."""

    def __init__(self, *_: Any, **__: Any) -> None: ...
    def wait_stream(self, _: Any) -> None: ...
    def wait_event(self, _: Any) -> None: ...
    def synchronize(self) -> None: ...
    def record_event(self, *_: Any) -> Event:
        return Event()


@contextlib.contextmanager
def pretend_cuda() -> Iterator[None]:
    """Inside, torch has a GPU of 64 GiB."""
    size = 64 << 30
    stream = Stream()
    stand_ins = {
        "is_available": lambda: True,
        "device_count": lambda: 1,
        "current_device": lambda: 0,
        "set_device": lambda _: None,
        "synchronize": lambda *_: None,
        "mem_get_info": lambda *_: (size, size),
        "memory_allocated": lambda *_: 0,
        "max_memory_allocated": lambda *_: 0,
        "reset_peak_memory_stats": lambda *_: None,
        "empty_cache": lambda: None,
        "get_device_name": lambda *_: "a stand-in",
        "get_device_capability": lambda *_: (9, 0),
        "is_bf16_supported": lambda *_, **__: True,
        "current_stream": lambda *_: stream,
        "Stream": Stream,
        "Event": Event,
        "stream": lambda _: contextlib.nullcontext(),
        "device": lambda _: contextlib.nullcontext(),
        "get_rng_state": lambda *_: torch.get_rng_state(),
        "set_rng_state": lambda state, *_: None,
    }
    with contextlib.ExitStack() as stack:
        for name, stand_in in stand_ins.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, stand_in))
        stack.enter_context(mock.patch.object(torch.Tensor, "record_stream"))
        stack.enter_context(mock.patch.object(ThreadPoolExecutor, "submit", _submitted))
        before = torch.__future__.get_overwrite_module_params_on_conversion()
        torch.__future__.set_overwrite_module_params_on_conversion(True)
        stack.callback(torch.__future__.set_overwrite_module_params_on_conversion, before)
        stack.enter_context(_Gpu())
        yield
