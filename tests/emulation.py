"""The CUDA kernels on a CPU: emulate_kernels.cpp built with g++, and called as the .cu files call them."""

import ctypes
import enum
import mmap
from pathlib import Path

import emulated
import torch
from torch import Tensor

from fmcompress._ops import packed_bytes

NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)  # in the order of emulate_kernels.cpp
GUARD = 64  # elements on either side of an output that no kernel may touch


class Route(enum.IntEnum):
    """As in select.cuh."""

    counting = 0
    block = 1
    grid = 2


def build(root: Path, folder: Path, watched: bool = False) -> ctypes.CDLL:
    kernels = emulated.build(root, folder, root / "tests/emulate_kernels.cpp", "-O2", watched=watched)
    kernels.pack_bitmask.restype = kernels.unpack_bitmask.restype = ctypes.c_int64
    return kernels


def fenced(tensor: Tensor, at_end: bool) -> Tensor:
    """A copy for a kernel to read between pages that nobody may touch, flush with one of them.

    Flush with the first it lies on the same boundary as the tensor did, give or take 64 bytes."""
    page, size = mmap.PAGESIZE, tensor.nbytes
    room = (size // page + 1) * page
    area = mmap.mmap(-1, room + 2 * page)
    whole = torch.frombuffer(area, dtype=torch.uint8)
    begin = page + (room - size if at_end else tensor.data_ptr() % 64)
    copy = whole[begin : begin + size].copy_(tensor.reshape(-1).view(torch.uint8)) if size else whole[begin:begin]
    protect = ctypes.CDLL(None).mprotect
    for fence in (whole[:page], whole[-page:]):
        assert protect(ctypes.c_void_p(fence.data_ptr()), ctypes.c_size_t(page), 0) == 0
    return copy.view(tensor.dtype).view(tensor.shape)


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


def swept(weight: Tensor) -> tuple[Guarded, Guarded, list[int]]:
    """The weight to change, the loss to write, and [batch, rows, cols]."""
    return Guarded(weight), Guarded(weight.new_empty(weight.shape[:-1])), [1, *weight.shape][-3:]


class Ops:
    """The ops; `backwards` turns the order of threads and blocks around, `route` overrides the choice."""

    def __init__(self, library: ctypes.CDLL, backwards: bool, route: Route | None = None) -> None:
        self.library, self.backwards, self.route = library, backwards, route

    def call(self, name: str, tensors: list[Tensor | Guarded | None], *numbers: float) -> int:
        self.library.turn_around(self.backwards)
        inputs = [fenced(t, self.backwards) if isinstance(t, Tensor) else t for t in tensors]
        inputs = [t.tensor if isinstance(t, Guarded) else t for t in inputs]
        pointers = [None if tensor is None else ctypes.c_void_p(tensor.data_ptr()) for tensor in inputs]
        result = getattr(self.library, name)(
            *pointers, *(ctypes.c_double(n) if isinstance(n, float) else ctypes.c_int64(n) for n in numbers)
        )
        emulated.raise_failure(self.library)
        return result

    def call_for(self, dtype: torch.dtype, name: str, tensors: list[Tensor | Guarded | None], *numbers: float) -> None:
        self.call(f"{name}_{'float' if dtype == torch.float32 else 'double'}", tensors, *numbers)

    def _smallest(self, scores: Tensor, length: int, count: int, by_magnitude: bool) -> Tensor:
        if count == 0 or scores.numel() == 0:
            return torch.zeros_like(scores, dtype=torch.bool)
        segments = scores.numel() // length
        route = self.library.route(ctypes.c_int64(segments), ctypes.c_int64(length))
        mask = Guarded(torch.ones_like(scores, dtype=torch.bool))
        route = route if self.route is None else self.route
        self.call_for(scores.dtype, "select", [scores, mask], segments, length, count, route, by_magnitude)
        return mask.released()

    def select_smallest(self, scores: Tensor, count: int, by_magnitude: bool = False) -> Tensor:
        return self._smallest(scores, scores.shape[1], count, by_magnitude)

    def nm_mask(self, scores: Tensor, keep: int, group: int, by_magnitude: bool = False) -> Tensor:
        return self._smallest(scores, group, group - keep, by_magnitude)

    def sweep_block_(self, weight: Tensor, factor: Tensor, prune: Tensor | None, keep: int, group: int) -> Tensor:
        changed, loss, shape = swept(weight)
        self.call_for(weight.dtype, "sweep", [changed, factor, prune, loss], *shape, keep, group)
        weight.copy_(changed.released())
        return loss.released()

    def admm_step_(
        self,
        x: Tensor,
        dual: Tensor,
        kept: Tensor,
        target: Tensor,
        penalty: float,
        next_penalty: float,
        prune: int,
        keep: int,
        group: int,
        by_row: bool,
    ) -> Tensor:
        changes, changed = [Guarded(t) for t in (x, dual, kept)], Guarded(torch.tensor(0))
        length, count = (group, group - keep) if group else (x.shape[1] if by_row else x.numel(), prune)
        if x.numel() == 0:
            return changed.released()
        route = self.library.route(ctypes.c_int64(x.numel() // length), ctypes.c_int64(length))
        route = route if self.route is None else self.route
        tensors = [*changes, target, Guarded(torch.zeros_like(kept)), changed]
        self.call_for(x.dtype, "admm", tensors, x.numel(), length, count, route, penalty, next_penalty)
        for tensor, change in zip((x, dual, kept), changes, strict=True):
            tensor.copy_(change.released())
        return changed.released()

    def factor_block(self, symmetric: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        upper, inverse = (Guarded(torch.empty_like(symmetric)) for _ in range(2))
        failed = Guarded(symmetric.new_empty(symmetric.shape[:-2], dtype=torch.int32))
        tensors = [symmetric, upper, inverse, failed]
        self.call_for(symmetric.dtype, "factor", tensors, failed.tensor.numel(), symmetric.shape[-1])
        return upper.released(), inverse.released(), failed.released()

    def weighted_sum_(self, out: Tensor, sources: Tensor, weights: Tensor) -> Tensor:
        written, not_finite = Guarded(out), Guarded(torch.tensor(0))
        if out.numel():
            types = [NUMBERS.index(tensor.dtype) for tensor in (sources, weights, out)]
            self.call("weighted_sum", [sources, weights, written, not_finite], *sources.shape, *types)
        out.copy_(written.released())
        return not_finite.released()

    def joint_sweep_block_(
        self,
        weight: Tensor,
        factor: Tensor,
        prune: Tensor | None,
        scale: Tensor,
        zero: Tensor,
        bits: int,
        keep: int,
        group: int,
    ) -> tuple[Tensor, Tensor]:
        changed, loss, shape = swept(weight)
        codes = Guarded(torch.empty_like(weight, dtype=torch.uint8))
        tensors = [changed, factor, prune, scale, zero, loss, codes]
        self.call_for(weight.dtype, "joint", tensors, *shape, scale.shape[-1], bits, keep, group)
        weight.copy_(changed.released())
        return loss.released(), codes.released()

    def search_grid(self, weight: Tensor, bits: int, symmetric: bool, candidates: int) -> tuple[Tensor, Tensor]:
        scale, zero = (Guarded(weight.new_empty(weight.shape[0], dtype=t)) for t in (weight.dtype, torch.uint8))
        self.call_for(weight.dtype, "search", [weight, scale, zero], *weight.shape, bits, symmetric, candidates)
        return scale.released(), zero.released()

    def quantize(self, weight: Tensor, scale: Tensor, zero: Tensor, bits: int) -> Tensor:
        codes = Guarded(torch.empty_like(weight, dtype=torch.uint8))
        self.call_for(weight.dtype, "quantize", [weight, scale, zero, codes], *weight.shape, bits)
        return codes.released()

    def dequantize(self, codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
        weight = Guarded(scale.new_empty(codes.shape))
        self.call_for(scale.dtype, "dequantize", [codes, scale, zero, weight], *codes.shape)
        return weight.released()

    def pack_codes(self, codes: Tensor, bits: int) -> Tensor:
        rows, cols = codes.shape
        packed = Guarded(codes.new_empty(rows, packed_bytes(cols, bits)))
        self.call("pack_codes", [codes, packed], rows, cols, bits)
        return packed.released()

    def unpack_codes(self, packed: Tensor, bits: int, cols: int) -> Tensor:
        codes = Guarded(packed.new_empty(len(packed), cols))
        self.call("unpack_codes", [packed, codes], len(packed), cols, bits)
        return codes.released()

    def pack_bitmask(self, values: Tensor, mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
        rows, cols = values.shape
        bitmask = Guarded(torch.empty(rows, (cols + 7) // 8, dtype=torch.uint8))
        kept = Guarded(values.new_empty(count))
        total = self.call("pack_bitmask", [values, mask, bitmask, kept], rows, cols, values.itemsize, count)
        bitmask, kept = bitmask.released(), kept.released()
        if total != count:
            raise ValueError(f"count: the mask keeps {total}, got {count}.")
        return bitmask, kept

    def unpack_bitmask(self, bitmask: Tensor, kept: Tensor, cols: int) -> Tensor:
        dense = Guarded(kept.new_empty(len(bitmask), cols))
        total = self.call("unpack_bitmask", [bitmask, kept, dense], *dense.tensor.shape, kept.itemsize, len(kept))
        dense = dense.released()
        if total != len(kept):
            raise ValueError(f"kept: the bitmask counts {total}, got {len(kept)}.")
        return dense

    def scan(self, counts: Tensor) -> tuple[Tensor, int]:
        sums = Guarded(torch.cat([counts, torch.zeros(2, dtype=torch.int64)]))
        self.call("scan", [sums], len(counts))
        return sums.released()[:-2], int(sums.tensor[-2])
