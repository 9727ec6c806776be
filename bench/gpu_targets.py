"""What the GPU back-ends must reach on an H200, the floor under each target, and how measured rows stand to it.

A row belongs to a target if it was held against the very same number; the worst of them speaks for it. The floors are
computed from the rates below: they say what memory and arithmetic allow, not what any kernel does.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

COPY = 4.3e12  # bytes a second of a device copy, read and written; this and the next were measured on an H200
BF16 = 788e12  # operations a second of a large product
FP32 = 67e12  # the same in float32 without tensor cores, by the datasheet
BLOCKS, WIDTH, INNER, KEYS, WORDS = 32, 4096, 14336, 1024, 128256  # of a Llama of 8 billion parameters
TOKENS = 128 * 2048
LAYERS = [(WIDTH, WIDTH), (KEYS, WIDTH), (KEYS, WIDTH), (WIDTH, WIDTH), (INNER, WIDTH), (INNER, WIDTH), (WIDTH, INNER)]


@dataclass(frozen=True)
class Target:
    """In words; the field of a row that holds its number, the number, a word of the row's group; and the floor."""

    name: str
    field: str
    value: float
    group: str
    bytes: float = 0.0
    flops: float = 0.0
    rate: float = FP32

    @property
    def floor_s(self) -> float:
        """The larger of the two."""
        return max(self.bytes / COPY, self.flops / self.rate)

    def rows(self, rows: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
        """Those that were held against it."""
        same = [row for row in rows if row.get(self.field) is not None]
        same = [row for row in same if abs(row[self.field] - self.value) <= 1e-6 * self.value]
        return [row for row in same if self.group in row["group"].lower()]

    def margin(self, row: dict[str, Any]) -> float:
        """How many times better than asked for."""
        if self.field == "most_s":
            return self.value / row["seconds"]
        if self.field == "least_speedup":
            return (row["speedup"] or 0.0) / self.value
        return share_of_floor(row) / self.value


def share_of_floor(row: dict[str, Any]) -> float:
    """1 where a row takes no longer than its larger floor."""
    return max(row["bytes_floor_s"], row["flops_floor_s"]) / row["seconds"]


def solve_flops(rows: int, cols: int) -> float:
    """Of the factor of a Hessian, a third of a cube, and of the products with it; as gpu_solve.py counts its rows."""
    return cols**3 / 3 + rows * cols**2


def solve_bytes(rows: int, cols: int) -> float:
    """Of weight and Hessian in float32, each read once, and the weight written."""
    return 4 * (2 * rows * cols + cols * cols)


def dense_weights() -> int:
    """Parameters of the linear layers of all blocks."""
    return BLOCKS * sum(rows * cols for rows, cols in LAYERS)


def prune_flops() -> float:
    """Of two runs of every block and half of every Hessian, which is symmetric; attention and solves are left out."""
    return 2 * 2 * dense_weights() * TOKENS + BLOCKS * TOKENS * (3 * WIDTH**2 + INNER**2)


_MATVEC = 4096 * 14336 * (4 + 2 * 16 / 128) / 8  # 4 bits, a scale a group, and nothing else
_DENSE = 2.0 * (dense_weights() + WORDS * WIDTH)
_PACKED = dense_weights() * 3.125 / 8 + 2 * WORDS * WIDTH  # 50 % + 4 bits: a bit each, and 4.25 of what is kept
N = 100_000_000
TARGETS = [
    Target("layer solve, 4096 × 4096, float32: at most 10 ms", "most_s", 10e-3, "solve", solve_bytes(WIDTH, WIDTH),
           solve_flops(WIDTH, WIDTH)),
    Target("the same: at least 25 × the eager loop", "least_speedup", 25.0, "solve", solve_bytes(WIDTH, WIDTH),
           solve_flops(WIDTH, WIDTH)),
    Target("layer solve, 4096 × 14336, float32: at most 120 ms", "most_s", 120e-3, "solve", solve_bytes(WIDTH, INNER),
           solve_flops(WIDTH, INNER)),
    Target("Hessian of 16384 tokens, 4096 inputs, bfloat16, counting half: at least 60 % of the rate of products",
           "least_of_floor", 0.6, "hessian", 2 * 16384 * WIDTH + 4 * WIDTH**2, 16384.0 * WIDTH**2, BF16),
    Target("CocktailSGD of 100 M gradients, float32: at most 450 µs", "most_s", 450e-6, "cocktail", 12.0 * N),
    Target("CocktailSGD of 100 M deltas, a tenth of the blocks: at most 80 µs", "most_s", 80e-6, "cocktail", 1.2 * N),
    Target("CocktailSGD: at least 6 × the eager composition", "least_speedup", 6.0, "cocktail", 12.0 * N),
    Target("packed matvec, 4096 × 14336 in 4 bits: at least 60 % of the copy rate", "least_of_floor", 0.6, "matvec",
           _MATVEC),
    Target("decoding, 8 B in 50 % + 4 bits: at least 2 × dense bfloat16", "least_speedup", 2.0, "decode", _PACKED),
    Target("pruning 8 B end to end, 128 × 2048 tokens: at most 90 s", "most_s", 90.0, "prun", _DENSE * 2,
           prune_flops(), BF16),
]  # fmt: skip
