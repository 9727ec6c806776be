"""Matrices cut into tiles, one a program."""

from dataclasses import dataclass

import torch
import triton
import triton.language as tl
from torch import Tensor

ELEMENTS = 2048  # of a tile


@dataclass(frozen=True)
class Tiling:
    """How a matrix is cut: into pieces of its rows, and as many rows together as fit."""

    rows: int
    cols: int
    reads: int = 1  # elements that a kernel reads for each of a tile

    @property
    def width(self) -> int:
        """Columns of a tile, at least 8, so that a byte of a bitmask never straddles two tiles."""
        return min(max(triton.next_power_of_2(self.cols), 8), ELEMENTS // self.reads)

    @property
    def together(self) -> int:
        """Rows of a tile."""
        return ELEMENTS // self.reads // self.width

    @property
    def pieces(self) -> int:
        """Tiles to a row."""
        return triton.cdiv(self.cols, self.width)

    def launch(self, kernel, *arguments: Tensor | int, whole_rows: bool = False, **meta: int | bool) -> None:
        """Run a kernel that takes rows, cols, pieces, ROWS and COLS beside its own arguments, a program for each tile.

        With whole_rows a program goes through all pieces of its rows.
        """
        programs = triton.cdiv(self.rows, self.together) * (min(self.pieces, 1) if whole_rows else self.pieces)
        if programs == 0:
            return
        with torch.cuda.device_of(arguments[0]):
            kernel[(programs,)](
                *arguments, self.rows, self.cols, self.pieces, ROWS=self.together, COLS=self.width, **meta
            )


@triton.jit
def own_tile(pieces, ROWS: tl.constexpr, COLS: tl.constexpr):
    """The rows of this program, which of the `pieces` of a row is its own, and that piece's columns."""
    program = tl.program_id(0)
    r = (program // pieces).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    piece = (program % pieces).to(tl.int64)
    return r, piece, piece * COLS + tl.arange(0, COLS)
