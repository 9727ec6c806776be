"""CocktailSGD's compression in Triton; the host waits for nothing, and every payload is the reference's to the bit.

Zeros and two launches a payload: whether the numbers are finite, then the blocks and their part of the checksum, the
last of which writes the header. What is kept changes places in memory of 4 bytes an element, allocated for the call.
Masks are not validated, for the host would have to wait: elements that one has too many of are left out.
"""

import ctypes

import torch
import triton
from torch import Tensor

from fmcompress._ops import HEADER_BYTES, Layout

from . import cocktail_kernels as kernels

CHUNK = 4096  # elements that a program looks at where it keeps nothing
ELEMENTS_OF_WARP = 256  # eight a thread; not yet measured on a GPU
# More, and a multiprocessor would hold too few threads to keep its memory busy: the programs that only move what is
# not sampled are the same kernel. What is spilled is spilled by those that select.
REGISTERS = 64
EXACT = {"enable_fp_fusion": False, "num_stages": 1}


def single(value: float) -> float:
    """Rounded to float32, once."""
    return ctypes.c_float(value).value


def options(block: int) -> dict[str, int | bool]:
    """Of a kernel that looks at a block."""
    return {"num_warps": min(max(block // ELEMENTS_OF_WARP, 1), 32), "maxnreg": REGISTERS, **EXACT}


def meta(layout: Layout) -> dict[str, int | bool]:
    """What a kernel that reads or writes blocks of a layout is compiled for."""
    return {
        "BITS": layout.bits,
        "SYMMETRIC": layout.symmetric or layout.bits in (1, 32),
        "FULL": layout.kept == layout.block,
        "BLOCK": layout.block,
        **options(layout.block),
    }


def _words(payload: Tensor) -> Tensor:
    """The bytes as words, copied if they do not begin at one."""
    aligned = payload.data_ptr() % 4 == 0 == payload.storage_offset() % 4
    return (payload if aligned else payload.clone()).view(torch.int32)


def _where(numel: int, layout: Layout) -> tuple[int, ...]:
    """What says which blocks are sampled."""
    return numel, triton.cdiv(numel, layout.block), layout.sampled, layout.seed, layout.step, layout.stream


class _Payload:
    """A payload on its way: zeros, then perhaps the flag, then the blocks, at last the header."""

    def __init__(self, numel: int, layout: Layout, device: torch.device) -> None:
        self.numel, self.layout = numel, layout
        self.bytes = torch.zeros(layout.payload_bytes, dtype=torch.uint8, device=device)
        self.header = self.bytes[:HEADER_BYTES].view(torch.int64)

    def write(self, kernel, programs: int, *inputs: Tensor | float | None) -> Tensor:
        """Launch a kernel that writes the blocks and the header."""
        layout, body = self.layout, self.bytes[HEADER_BYTES:].view(torch.int32)
        moved = body if layout.bits == 32 else body.new_empty(layout.sampled * layout.kept)
        form = 1 | layout.bits << 16 | (not layout.symmetric) << 24
        first = int.from_bytes(b"FMCG", "little") | form << 32
        kernel[(programs,)](
            self.header, body, moved, *inputs, *_where(self.numel, layout), first, layout.block_bytes // 4,
            layout.kept, layout.group, GROUP=triton.next_power_of_2(layout.group), **meta(layout),
        )  # fmt: skip
        return self.bytes


def compress_gradient_(gradient: Tensor, residual: Tensor | None, scale: float, *layout: int) -> Tensor:
    """See fmcompress.ops.compress_gradient_."""
    how, numel, factor = Layout(*layout), len(gradient), single(scale)
    with torch.cuda.device_of(gradient):
        payload = _Payload(numel, how, gradient.device)
        chunks = (triton.cdiv(numel, CHUNK),)
        kernels.finite_gradient_kernel[chunks](payload.header, gradient, factor, numel, CHUNK=CHUNK, **EXACT)
        programs = how.sampled if residual is None else triton.cdiv(numel, how.block)
        return payload.write(kernels.gradient_kernel, programs, gradient, residual, factor)


def compress_delta_(local: Tensor, shared: Tensor, *layout: int) -> Tensor:
    """See fmcompress.ops.compress_delta_."""
    how = Layout(*layout)
    with torch.cuda.device_of(local):
        payload = _Payload(len(local), how, local.device)
        form = {"BLOCK": how.block, **options(how.block)}
        kernels.finite_delta_kernel[(how.sampled,)](payload.header, local, shared, *_where(len(local), how), **form)
        return payload.write(kernels.delta_kernel, how.sampled, local, shared)


def compress_mean_(payloads: Tensor, residual: Tensor | None, numel: int, *layout: int) -> Tensor:
    """See fmcompress.ops.compress_mean_."""
    how, words = Layout(*layout), _words(payloads)
    workers, width = words.shape
    with torch.cuda.device_of(payloads):
        payload = _Payload(numel, how, payloads.device)
        most = triton.next_power_of_2(workers)
        kernels.finite_payloads_kernel[(1,)](payload.header, words, workers, width, WORKERS=most, **EXACT)
        return payload.write(kernels.mean_kernel, how.sampled, words, residual, workers, width)


def add_payload_(payload: Tensor, out: Tensor, scale: float, *layout: int) -> None:
    """See fmcompress.ops.add_payload_."""
    how, words = Layout(*layout), _words(payload)
    with torch.cuda.device_of(out):
        kernels.add_kernel[(how.sampled,)](
            words, out, single(scale), *_where(len(out), how), how.block_bytes // 4, how.kept, how.group, **meta(how)
        )


def payload_checksum(payload: Tensor) -> Tensor:
    """See fmcompress.ops.payload_checksum."""
    words = _words(payload)
    total = torch.zeros(1, dtype=torch.int64, device=payload.device)
    with torch.cuda.device_of(payload):
        kernels.checksum_kernel[(triton.cdiv(len(words), CHUNK),)](words, total, len(words), CHUNK=CHUNK, **EXACT)
    return total >> 32 & 0xFFFFFFFF
