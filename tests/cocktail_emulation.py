"""CocktailSGD's ops of csrc/cuda on a CPU: emulate_cocktail.cpp built with g++, and called as cocktail.cu calls it."""

import ctypes
from pathlib import Path

import emulated
import torch
from emulation import Guarded, fenced
from torch import Tensor

from fmcompress.ops import Layout

NUMBERS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


def build(root: Path, folder: Path, watched: bool = False) -> ctypes.CDLL:
    return emulated.build(
        root, folder, root / "tests/emulate_cocktail.cpp", "-O2", "-ffp-contract=off", watched=watched
    )


class Beside(Guarded):
    """Guarded, and on a boundary of 16 bytes just where the tensor is."""

    def __init__(self, tensor: Tensor) -> None:
        super().__init__(tensor)
        if tensor.data_ptr() % 16:
            space = 64 + 1
            self.whole = torch.ones(tensor.numel() + space + 64, dtype=tensor.dtype)
            self.tensor = self.whole[space : space + tensor.numel()].copy_(tensor)

    def released(self) -> Tensor:
        before = (self.tensor.data_ptr() - self.whole.data_ptr()) // self.whole.itemsize
        assert (self.whole[:before] == 1).all(), "a kernel wrote out of bounds"
        assert (self.whole[before + self.tensor.numel() :] == 1).all(), "a kernel wrote out of bounds"
        return self.tensor


class Ops:
    """The ops, called as torch.ops.fmcompress is; `backwards` turns the order of threads and blocks around."""

    def __init__(self, library: ctypes.CDLL, backwards: bool) -> None:
        self.library, self.backwards = library, backwards

    def _call(self, name: str, sizes: list[int], scale: float, *tensors: Tensor | Beside | None) -> None:
        self.library.turn_around(self.backwards)
        held = [fenced(t, self.backwards) if isinstance(t, Tensor) else t for t in tensors]
        held = [t.tensor if isinstance(t, Guarded) else t for t in held]
        pointers = [None if tensor is None else ctypes.c_void_p(tensor.data_ptr()) for tensor in held]
        getattr(self.library, name)((ctypes.c_int64 * 13)(*sizes), ctypes.c_float(scale), *pointers)
        emulated.raise_failure(self.library)

    def _compress(
        self,
        name: str,
        numel: int,
        layout: Layout,
        scale: float,
        tensors: list[Tensor | None],
        changed: int,
        workers: int,
    ) -> Tensor:
        kinds = [0 if tensor is None else NUMBERS.get(tensor.dtype, 0) for tensor in tensors]
        payload = Beside(torch.empty(layout.payload_bytes, dtype=torch.uint8))
        guarded = None if tensors[changed] is None else Beside(tensors[changed])
        given = [guarded if place == changed else tensor for place, tensor in enumerate(tensors)]
        self._call(name, [numel, *layout, *kinds, workers], scale, *given, payload)
        if guarded is not None:
            tensors[changed].copy_(guarded.released())
        return payload.released()

    def compress_gradient_(self, gradient: Tensor, residual: Tensor | None, scale: float, *layout: int) -> Tensor:
        return self._compress("gradient", len(gradient), Layout(*layout), scale, [gradient, residual], 1, 0)

    def compress_delta_(self, local: Tensor, shared: Tensor, *layout: int) -> Tensor:
        return self._compress("delta", len(local), Layout(*layout), 1.0, [local, shared], 0, 0)

    def compress_mean_(self, payloads: Tensor, residual: Tensor | None, numel: int, *layout: int) -> Tensor:
        return self._compress("mean", numel, Layout(*layout), 1.0, [payloads, residual], 1, len(payloads))

    def add_payload_(self, payload: Tensor, out: Tensor, scale: float, *layout: int) -> None:
        changed = Beside(out)
        self._call("add", [len(out), *layout, 0, NUMBERS[out.dtype], 0], scale, payload, changed)
        out.copy_(changed.released())

    def payload_checksum(self, payload: Tensor) -> Tensor:
        total = Beside(torch.zeros(1, dtype=torch.int64))
        self._call("sum", [len(payload), *[0] * 12], 1.0, payload, total)
        return total.released()
