"""fmcompress diff: what two checkpoints have in common, tensor by tensor, and what a patch would cost."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ..checkpoint import Checkpoint, TensorEntry
from ..checkpoint.layout import DTYPE_NAMES
from ..in_order import in_order
from .codec import fits, same_bits
from .lossless import encode, size_of
from .lossy import change_of
from .numbers import bits_of, pieces, sum_of_squares
from .patch import dense_bytes
from .spectrum import rank_at

SPARSE = 0.25  # at most this share of the entries changed
LOW_RANK = 0.5  # two factors have at most this share of a matrix' entries
ENERGY, MOST_RANK = 0.99, 64
KINDS = ("equal", "sparse", "low-rank", "dense", "dtype", "shape", "only in A", "only in B")


@dataclass(frozen=True)
class ChangeFacts:
    """How a tensor of B differs from that of A.

    kind          one of KINDS: sparse and low-rank where SPARSE and LOW_RANK say so, dense otherwise
    dtype, shape  of B, of A where B has no such tensor; `was` is what A has instead
    changed       share of the entries whose bits are not those of A, rounded to B's dtype; null where shapes differ
    relative      |B - A| / |A|, of A as it is; null where shapes differ, numbers are not finite, or only A is 0
    rank          directions that hold `energy` of a changed matrix' sum of squares; null where that are more than were
                  looked for, and where it was not looked: other kinds, no matrix, no finite change
    patch_bytes   of the smallest lossless form, without its description
    """

    name: str
    kind: str
    dtype: str
    shape: tuple[int, ...]
    was: str | None
    dense_bytes: int
    changed: float | None = None
    relative: float | None = None
    rank: int | None = None
    energy: float | None = None
    patch_bytes: int = 0


def compare_checkpoints(
    a: Checkpoint,
    b: Checkpoint,
    energy: float = ENERGY,
    progress: Callable[[int, int, str], None] = lambda done, total, name: None,
) -> list[ChangeFacts]:
    """What changed from A to B, in the order of B's tensors, then those that only A has. A tensor at a time.

    energy  of a change that few directions must hold for it to be of low rank, in (0, 1]
    Raises CheckpointError or PayloadError if a tensor cannot be read.
    """

    def work(entry: TensorEntry) -> ChangeFacts:
        start = a.tensors.get(entry.name)
        if start is None or not fits(start, entry):
            return _unlike(start, entry, b.read(entry.name))
        return _alike(start, entry, a.read(entry.name), b.read(entry.name), energy)

    facts = []
    for done, fact in enumerate(in_order(work, list(b.tensors.values()), dense_bytes)):
        progress(done, len(b.tensors), fact.name)
        facts.append(fact)
    gone = [entry for name, entry in a.tensors.items() if name not in b.tensors]
    return facts + [
        ChangeFacts(each.name, "only in A", DTYPE_NAMES[each.dtype], each.shape, None, dense_bytes(each))
        for each in gone
    ]


def _unlike(start: TensorEntry | None, entry: TensorEntry, tensor: Tensor) -> ChangeFacts:
    dtype, was = DTYPE_NAMES[entry.dtype], None
    kind = "only in B"
    if start is not None:
        kind = "shape" if start.shape != entry.shape else "dtype"
        was = f"{DTYPE_NAMES[start.dtype]} {list(start.shape)}"
    patch = size_of(encode(None, tensor)[1])
    return ChangeFacts(entry.name, kind, dtype, entry.shape, was, dense_bytes(entry), patch_bytes=patch)


def _alike(start: TensorEntry, entry: TensorEntry, before: Tensor, after: Tensor, energy: float) -> ChangeFacts:
    dtype, size = DTYPE_NAMES[entry.dtype], dense_bytes(entry)
    recast, first, before = start.dtype != entry.dtype, before, before.to(entry.dtype)
    was = f"{DTYPE_NAMES[start.dtype]} {list(start.shape)}" if recast else None
    same = same_bits(before, after)
    if same and not recast:
        return ChangeFacts(entry.name, "equal", dtype, entry.shape, was, size, 0.0, 0.0)
    relative = _relative(first, after)
    if same:
        return ChangeFacts(entry.name, "dtype", dtype, entry.shape, was, size, 0.0, relative)
    different = int((torch.from_numpy(bits_of(before)) != torch.from_numpy(bits_of(after))).sum())
    changed = different / max(1, after.numel())
    rank, held = None, None
    kind = "dtype" if recast else "sparse" if changed <= SPARSE else "dense"
    if kind == "dense" and after.is_floating_point() and (change := change_of(before, after)) is not None:
        rank, held = rank_at(change, energy, MOST_RANK)
        if rank and rank * sum(change.shape) <= LOW_RANK * change.numel():
            kind = "low-rank"
    patch = size_of(encode(before, after)[1])
    return ChangeFacts(entry.name, kind, dtype, entry.shape, was, size, changed, relative, rank, held, patch)


def _relative(before: Tensor, after: Tensor) -> float | None:
    """|after - before| / |before|; None where that is no number."""
    change = whole = 0.0
    for start, end in pieces(before, after):
        change += sum_of_squares(end - start)
        whole += sum_of_squares(start)
    if not math.isfinite(change + whole) or (change and not whole):
        return None
    return math.sqrt(change / whole) if whole else 0.0
