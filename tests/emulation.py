"""The CUDA kernels on a CPU: emulate_kernels.cpp built with g++, and called as the .cu files call them."""

import ctypes
import enum
import subprocess
from pathlib import Path

import torch
from torch import Tensor

GUARD = 64  # elements on either side of an output that no kernel may touch


class Route(enum.IntEnum):
    """As in select.cuh."""

    counting = 0
    block = 1
    grid = 2


def build(root: Path, folder: Path) -> ctypes.CDLL:
    library = folder / "kernels.so"
    flags = ["-O2", "-std=c++20", "-shared", "-fPIC", "-Wall", "-Werror", "-Wno-unknown-pragmas"]
    flags += [f"-I{root / part}" for part in ("csrc", "csrc/cuda", "tests")]
    subprocess.run(["g++", *flags, root / "tests/emulate_kernels.cpp", "-o", library], check=True)
    kernels = ctypes.CDLL(str(library))
    kernels.failure.restype = ctypes.c_char_p
    return kernels


class Guarded:
    """A copy of a tensor for a kernel to write, amid elements that must stay as they are."""

    def __init__(self, tensor: Tensor) -> None:
        self.whole = torch.ones(tensor.numel() + 2 * GUARD, dtype=tensor.dtype)
        self.tensor = self.whole[GUARD : GUARD + tensor.numel()].view(tensor.shape)
        self.tensor.copy_(tensor)

    def released(self) -> Tensor:
        fence = torch.cat([self.whole[:GUARD], self.whole[-GUARD:]])
        assert (fence == 1).all(), "a kernel wrote out of bounds"
        return self.tensor


class Ops:
    """The three ops; `backwards` turns the order of threads and blocks around, `route` overrides the choice."""

    def __init__(self, library: ctypes.CDLL, backwards: bool, route: Route | None = None) -> None:
        self.library, self.backwards, self.route = library, backwards, route

    def _call(self, name: str, dtype: torch.dtype, tensors: list[Tensor | None], *numbers: int) -> None:
        self.library.turn_around(self.backwards)
        kernel = getattr(self.library, f"{name}_{'float' if dtype == torch.float32 else 'double'}")
        pointers = [None if tensor is None else ctypes.c_void_p(tensor.data_ptr()) for tensor in tensors]
        kernel(*pointers, *map(ctypes.c_int64, numbers))
        failure = self.library.failure()
        assert failure is None, failure.decode()

    def _smallest(self, scores: Tensor, length: int, count: int) -> Tensor:
        if count == 0 or scores.numel() == 0:
            return torch.zeros_like(scores, dtype=torch.bool)
        segments = scores.numel() // length
        route = self.library.route(ctypes.c_int64(segments), ctypes.c_int64(length))
        mask = Guarded(torch.ones_like(scores, dtype=torch.bool))
        route = route if self.route is None else self.route
        self._call("select", scores.dtype, [scores, mask.tensor], segments, length, count, route)
        return mask.released()

    def select_smallest(self, scores: Tensor, count: int) -> Tensor:
        return self._smallest(scores, scores.shape[1], count)

    def nm_mask(self, scores: Tensor, keep: int, group: int) -> Tensor:
        return self._smallest(scores, group, group - keep)

    def sweep_block_(self, weight: Tensor, factor: Tensor, prune: Tensor | None, keep: int, group: int) -> Tensor:
        rows, cols = weight.shape
        swept, loss = Guarded(weight), Guarded(weight.new_empty(rows))
        self._call("sweep", weight.dtype, [swept.tensor, factor, prune, loss.tensor], rows, cols, keep, group)
        weight.copy_(swept.released())
        return loss.released()
