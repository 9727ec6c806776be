"""Packed codes and bitmasks in Triton: a tile of a matrix a program; a mask is packed as codes of one bit."""

import torch
import triton
import triton.language as tl
from torch import Tensor

from .tiles import Tiling, own_tile

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}  # a value is moved as an integer of its size


@triton.jit
def pack_kernel(
    codes_ptr, packed_ptr, codes, rows, cols, pieces,
    BITS: tl.constexpr, REACH: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Each byte of the rows x cols packed ones adds up the codes, at most REACH, that lie in it, wholly or in part."""
    r, _, b = own_tile(pieces, ROWS, COLS)
    if 8 % BITS == 0:
        c = b[:, None] * REACH + tl.arange(0, REACH)[None, :]  # a plain product, so that Triton sees neighbours
    else:
        c = (b * 8 // BITS)[:, None] + tl.arange(0, REACH)[None, :]
    shift = (c * BITS - b[:, None] * 8).to(tl.int32)
    inside = (r < rows)[:, None, None] & ((b < cols)[:, None] & (c < codes))[None, :, :]
    code = tl.load(codes_ptr + r[:, None, None] * codes + c[None, :, :], mask=inside, other=0).to(tl.int32)
    code &= (1 << BITS) - 1
    part = (code << tl.maximum(shift, 0)[None, :, :]) >> tl.maximum(-shift, 0)[None, :, :]
    place = r[:, None] * cols + b[None, :]
    tl.store(packed_ptr + place, tl.sum(part, axis=2).to(tl.uint8), mask=(r < rows)[:, None] & (b < cols)[None, :])


@triton.jit
def load_code(at, shift, inside, BITS: tl.constexpr):
    """The code that begins so many bits into a byte, and may end in the next one; 0 outside."""
    code = tl.load(at, mask=inside, other=0).to(tl.int32) >> shift
    if 8 % BITS != 0:
        straddles = shift + BITS > 8
        code |= tl.load(at + 1, mask=inside & straddles, other=0).to(tl.int32) << (8 - shift)
    return code & ((1 << BITS) - 1)


@triton.jit
def load_codes(packed_ptr, width, r, c, inside, BITS: tl.constexpr):
    """The codes of some columns from packed rows of `width` bytes; 0 outside."""
    at = packed_ptr + r[:, None] * width + (c * BITS >> 3)[None, :]
    return load_code(at, (c * BITS & 7).to(tl.int32)[None, :], inside, BITS)


@triton.jit
def unpack_kernel(
    packed_ptr, codes_ptr, width, rows, cols, pieces, BITS: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr
):
    r, _, c = own_tile(pieces, ROWS, COLS)
    inside = (r < rows)[:, None] & (c < cols)[None, :]
    code = load_codes(packed_ptr, width, r, c, inside, BITS)
    tl.store(codes_ptr + r[:, None] * cols + c[None, :], code.to(tl.uint8), mask=inside)


@triton.jit
def count_kernel(bitmask_ptr, counts_ptr, width, rows, cols, pieces, ROWS: tl.constexpr, COLS: tl.constexpr):
    """How many bits are set in each piece of each row."""
    r, piece, c = own_tile(pieces, ROWS, COLS)
    bit = load_codes(bitmask_ptr, width, r, c, (r < rows)[:, None] & (c < cols)[None, :], 1)
    tl.store(counts_ptr + r * pieces + piece, tl.sum(bit, axis=1).to(tl.int64), mask=r < rows)


@triton.jit
def move_kernel(
    dense_ptr, bitmask_ptr, begins_ptr, kept_ptr, count, width, rows, cols, pieces,
    PACKS: tl.constexpr, ROWS: tl.constexpr, COLS: tl.constexpr,
):  # fmt: skip
    """Move the values whose bit is set between their places in the matrix and those among the `count` kept ones."""
    r, piece, c = own_tile(pieces, ROWS, COLS)
    inside = (r < rows)[:, None] & (c < cols)[None, :]
    bit = load_codes(bitmask_ptr, width, r, c, inside, 1)
    begin = tl.load(begins_ptr + r * pieces + piece, mask=r < rows, other=0)
    rank = begin[:, None] + tl.cumsum(bit, axis=1) - bit
    moves = (bit == 1) & (rank < count)
    dense = dense_ptr + r[:, None] * cols + c[None, :]
    if PACKS:
        tl.store(kept_ptr + rank, tl.load(dense, mask=moves, other=0), mask=moves)
    else:
        tl.store(dense, tl.load(kept_ptr + rank, mask=moves, other=0), mask=inside)


def _pack(codes: Tensor, bits: int, width: int) -> Tensor:
    """[rows, cols] codes of 1 to 8 bits -> [rows, width] bytes."""
    rows, cols = codes.shape
    packed = codes.new_empty((rows, width))
    reach = triton.next_power_of_2(triton.cdiv(8, bits) + (8 % bits != 0))
    Tiling(rows, width, reads=reach).launch(pack_kernel, codes, packed, cols, BITS=bits, REACH=reach)
    return packed


def _begins(bitmask: Tensor, cols: int) -> tuple[Tensor, int]:
    """Where among the kept values those of each piece of each row begin, and how many there are in all."""
    rows, width = bitmask.shape
    tiling = Tiling(rows, cols)
    counts = bitmask.new_empty(rows * tiling.pieces, dtype=torch.int64)
    tiling.launch(count_kernel, bitmask, counts, width)
    ends = counts.cumsum(0)
    return ends - counts, int(ends[-1]) if len(ends) else 0


def _move(dense: Tensor, bitmask: Tensor, begins: Tensor, kept: Tensor, *, packs: bool) -> None:
    integer = INTEGERS[dense.itemsize]
    Tiling(*dense.shape).launch(
        move_kernel, dense.view(integer), bitmask, begins, kept.view(integer), len(kept), bitmask.shape[1], PACKS=packs
    )


def pack_codes(codes: Tensor, bits: int) -> Tensor:
    """See fmcompress.ops.pack_codes."""
    return _pack(codes, bits, triton.cdiv(codes.shape[1] * bits, 32) * 4)


def unpack_codes(packed: Tensor, bits: int, cols: int) -> Tensor:
    """See fmcompress.ops.unpack_codes."""
    rows, width = packed.shape
    codes = packed.new_empty((rows, cols))
    Tiling(rows, cols).launch(unpack_kernel, packed, codes, width, BITS=bits)
    return codes


def pack_bitmask(values: Tensor, mask: Tensor, count: int) -> tuple[Tensor, Tensor]:
    """See fmcompress.ops.pack_bitmask."""
    cols = mask.shape[1]
    bitmask = _pack(mask.view(torch.uint8), 1, triton.cdiv(cols, 8))
    begins, total = _begins(bitmask, cols)
    if total != count:  # or the kernel would write past the end
        raise ValueError(f"count: expected {total}, the number of True in mask, got {count}.")
    kept = values.new_empty(count)
    _move(values, bitmask, begins, kept, packs=True)
    return bitmask, kept


def unpack_bitmask(bitmask: Tensor, kept: Tensor, cols: int) -> Tensor:
    """See fmcompress.ops.unpack_bitmask."""
    begins, total = _begins(bitmask, cols)
    stray = cols % 8 != 0 and bool((bitmask[:, -1] >> cols % 8).any())
    if stray or total != len(kept):  # the bytes come from files, and the kernel would read past the end
        raise ValueError(f"kept: the bitmask counts {total} values of {cols} columns a row, got {len(kept)}.")
    dense = kept.new_empty((len(bitmask), cols))
    _move(dense, bitmask, begins, kept, packs=False)
    return dense
