"""Imported before a Triton kernel is interpreted: any access outside of the tensors that it was given is an error."""

import numpy as np
import torch
from triton.runtime import interpreter

torch.use_deterministic_algorithms(True)  # fills new_empty with NaN or the largest integer: what stays unwritten shows

_init_arguments = interpreter.GridExecutor._init_args_hst
_load = interpreter.InterpreterBuilder.create_masked_load
_store = interpreter.InterpreterBuilder.create_masked_store
_atomic = interpreter.InterpreterBuilder.create_atomic_rmw
_patch_lang = interpreter._patch_lang
_patched = set()  # functions of this launch
_place = interpreter.InterpreterBuilder.set_grid_idx
_bounds: list[tuple[int, int]] = []


def _init_and_remember(self, args, kwargs):
    _patched.clear()
    given = _init_arguments(self, args, kwargs)
    tensors = [arg for arg in (*given[0], *given[1].values()) if isinstance(arg, torch.Tensor)]
    _bounds[:] = [(t.data_ptr(), t.data_ptr() + t.numel() * t.itemsize) for t in tensors]
    return given


def _patch_once(function):
    """Triton does it anew at every call inside of a kernel, for nearly half of the time that a kernel takes."""
    if function in _patched:
        return None
    _patched.add(function)
    return _patch_lang(function)


def _check(pointers, mask) -> None:
    begin = pointers.data[np.broadcast_to(mask.data, pointers.data.shape).astype(bool)]
    end = begin + np.uint64(pointers.get_element_ty().primitive_bitwidth // 8)
    inside = np.zeros(begin.shape, dtype=bool)
    for low, high in _bounds:
        inside |= (begin >= np.uint64(low)) & (end <= np.uint64(high))
    assert inside.all(), f"{(~inside).sum()} of {inside.size} accesses are out of bounds"


def _load_inside(self, pointers, mask, *rest):
    _check(pointers, mask)
    return _load(self, pointers, mask, *rest)


def _store_inside(self, pointers, value, mask, *rest):
    _check(pointers, mask)
    return _store(self, pointers, value, mask, *rest)


def _atomic_inside(self, operation, pointers, value, mask, *rest):
    _check(pointers, mask)
    return _atomic(self, operation, pointers, value, mask, *rest)


def backwards() -> None:
    """From here on the last program of a launch runs first, and those of the first axis take turns: nothing may follow
    from their order."""

    def place(self, *number) -> None:
        before = np.ravel_multi_index(number, self.grid_dim)
        _place(self, *np.unravel_index(np.prod(self.grid_dim) - 1 - before, self.grid_dim, order="F"))

    interpreter.InterpreterBuilder.set_grid_idx = place


interpreter._patch_lang = _patch_once
interpreter.GridExecutor._init_args_hst = _init_and_remember
interpreter.InterpreterBuilder.create_masked_load = _load_inside
interpreter.InterpreterBuilder.create_masked_store = _store_inside
interpreter.InterpreterBuilder.create_atomic_rmw = _atomic_inside
