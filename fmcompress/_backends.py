"""Loads the native library and Triton, chooses among them, and says why one is missing."""

import contextlib
import importlib.util
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from functools import cache
from types import ModuleType
from typing import Any

import torch

from . import _ops, reference
from .errors import BackendUnavailable

NAMES = ("reference", "native", "triton")
_forced: ContextVar[str | None] = ContextVar("fmcompress_backend", default=None)

try:
    from . import _C
except ImportError as error:
    _C: ModuleType | None = None  # type: ignore[no-redef]
    _native_missing = str(error)
else:
    _native_missing = ""
    _C.set_cpu_capability(torch.backends.cpu.get_cpu_capability())


@cache
def _triton() -> ModuleType:
    """The Triton twins; imports triton, so it is called only when asked for or when a CUDA tensor needs it."""
    import fmcompress_triton.register

    return fmcompress_triton.register


def _why_no_triton() -> str | None:
    if importlib.util.find_spec("triton") is None:
        return "triton is not installed. Run pip install triton."
    try:
        _triton()
    except ImportError as error:
        return f"triton does not load: {error}"
    return None


def explain() -> dict[str, str]:
    """Name -> one sentence: what the back-end runs, or why it does not."""
    rebuild = "Run pip install --no-build-isolation -e . in the source tree."
    no_triton = _why_no_triton()
    if _C is None:
        native = cuda = f"not available: {_native_missing}. {rebuild}"
    else:
        native = f"loaded, {_C.cpu_capability()} kernels"
        cuda = "built in" if _C.cuda else f"not available: built without CUDA (torch {torch.__version__})"
        if _C.cuda and not torch.cuda.is_available():
            cuda = "built in, but torch sees no GPU"
    if no_triton is None:
        gpu = torch.cuda.is_available()
        triton = "loaded" if gpu else "loaded, but torch sees no GPU (set TRITON_INTERPRET=1 to interpret on the CPU)"
    else:
        triton = f"not available: {no_triton}"
    return {"reference": "PyTorch, always available", "native": native, "cuda": cuda, "triton": triton}


def available(op: str) -> tuple[str, ...]:
    """The back-ends that implement one op here, in the order of preference of a CPU tensor."""
    if op not in _ops.CHECKS:
        raise KeyError(f"op: expected one of {', '.join(_ops.CHECKS)}, got {op!r}.")
    native = torch._C._dispatch_has_kernel_for_dispatch_key(f"fmcompress::{op}", "CPU")
    triton = _why_no_triton() is None and hasattr(_triton(), op)
    return (*["native"] * native, "reference", *["triton"] * triton)


@contextlib.contextmanager
def use(name: str) -> Iterator[None]:
    """Force one back-end inside the block: "reference", "native" or "triton". For tests and debugging.

    Raises BackendUnavailable if the back-end is not there; it is never replaced by another.
    """
    if name not in NAMES:
        raise BackendUnavailable(f"backend: expected one of {', '.join(NAMES)}, got {name!r}.")
    if name != "reference" and name not in available("select_smallest"):
        raise BackendUnavailable(f"backend {name!r}: {explain()[name]}")
    token = _forced.set(name)
    try:
        yield
    finally:
        _forced.reset(token)


def implementation(op: str, device_type: str = "cpu") -> Callable[..., Any]:
    """The function that runs an op now: the dispatcher's choice, or the forced back-end's."""
    forced = _forced.get()
    if forced == "reference":
        return getattr(reference, op)  # type: ignore[no-any-return]
    if forced == "native" and device_type == "cuda" and not (_C is not None and _C.cuda):
        raise BackendUnavailable(f"backend 'native' on {device_type}: {explain()['cuda']}")
    if forced == "triton":
        return getattr(_triton(), op)  # type: ignore[no-any-return]
    return getattr(torch.ops.fmcompress, op)  # type: ignore[no-any-return]


def prepare(device: torch.device) -> None:
    """Before the first op on a GPU: give the CUDA key to Triton where no native CUDA kernel holds it."""
    if device.type == "cuda" and not (_C is not None and _C.cuda) and _why_no_triton() is None:
        _triton().register_on_cuda()
