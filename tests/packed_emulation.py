"""packed_linear of csrc/cuda on a CPU: emulate_packed.cpp built with g++, and called as packed_linear.cu calls it."""

import ctypes
from pathlib import Path

import emulated
import torch
from emulation import Guarded, fenced
from torch import Tensor

NUMBERS = {torch.float32: 0, torch.bfloat16: 1, torch.float16: 2}


def build(root: Path, folder: Path, watched: bool = False) -> ctypes.CDLL:
    return emulated.build(root, folder, root / "tests/emulate_packed.cpp", "-O1", watched=watched)


class PackedLinear:
    """The op; `step` rows are decoded at a time. Afterwards `kernel` says what made the last product."""

    def __init__(self, library: ctypes.CDLL, backwards: bool, step: int = 2) -> None:
        self.library, self.backwards, self.step, self.kernel = library, backwards, step, ""

    def _call(self, name: str, *arguments: object) -> int:
        self.library.turn_around(self.backwards)
        result = getattr(self.library, name)(*arguments)
        emulated.raise_failure(self.library)
        return result

    def __call__(
        self,
        x: Tensor,
        entries: Tensor,
        bitmask: Tensor | None,
        starts: Tensor | None,
        indices: Tensor | None,
        scale: Tensor | None,
        zero: Tensor | None,
        bias: Tensor | None,
        bits: int,
        group_size: int,
        keep: int,
        group: int,
    ) -> Tensor:
        tokens, cols = x.shape
        rows = len(bitmask if bitmask is not None else indices if indices is not None else entries)
        group_size = max(1, min(group_size or cols, cols))
        out = Guarded(x.new_empty(tokens, rows))
        parts = [x, entries, bitmask, starts, indices, scale, zero, bias]
        held = [None if part is None else fenced(part, self.backwards) for part in parts]
        pointers = [None if part is None else part.data_ptr() for part in [*held, out.tensor]]
        at = (ctypes.c_void_p * 9)(*pointers)
        row_bytes = 0 if bitmask is not None or rows == 0 else entries.nbytes // rows
        numbers = [tokens, rows, cols, NUMBERS[x.dtype], entries.nbytes, row_bytes, NUMBERS.get(entries.dtype, 0), bits]
        numbers += [0 if scale is None else NUMBERS[scale.dtype], group_size, -(-cols // group_size) if bits else 0]
        size = (ctypes.c_int64 * 13)(*numbers, keep, group)
        if rows and cols and self._call("takes_few", at, size):
            self.kernel = "tensor cores" if self._call("takes_mma", at, size) else "few tokens"
            self._call("few", at, size)
            return out.released()
        self.kernel = "many tokens"
        for first in range(0, rows, self.step):
            some = min(self.step, rows - first)
            sums = None
            if cols:
                weight = Guarded(x.new_empty(some, cols))
                self._call(
                    "decode", at, size, ctypes.c_void_p(weight.tensor.data_ptr()), *map(ctypes.c_int64, (first, some))
                )
                sums = fenced((x.float() @ weight.released().float().T).to(x.dtype), self.backwards)
            place = None if sums is None else ctypes.c_void_p(sums.data_ptr())
            self._call("place", at, size, place, *map(ctypes.c_int64, (first, some)))
        return out.released()
