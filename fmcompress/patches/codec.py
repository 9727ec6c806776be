"""One tensor of a patch: its smallest form, and the tensor again."""

import hashlib
import math
from dataclasses import dataclass
from math import prod
from typing import Any

import torch
from torch import Tensor

from ..checkpoint import TensorEntry
from ..checkpoint.layout import DTYPE_NAMES
from ..errors import FmcompressError, PayloadError, in_one_line
from ..formats import packed
from ..layerwise import all_finite
from ..memory import require_memory
from . import lossless, lossy
from .description import PACKED, SUMMED, BaseFields, Loss, TensorDescription
from .lossless import Form, Parts, size_of
from .numbers import bits_of, copy_of, pieces, sum_of_squares
from .options import PatchOptions


@dataclass(frozen=True)
class Squares:
    """Sums of squares over the entries of tensors: what was lost, how they changed, what they hold."""

    lost: float = 0.0
    change: float = 0.0
    weights: float = 0.0

    def __add__(self, other: "Squares") -> "Squares":
        return Squares(self.lost + other.lost, self.change + other.change, self.weights + other.weights)

    @property
    def loss(self) -> Loss:
        """Relative errors."""
        return Loss(change=_root(self.lost, self.change), weights=_root(self.lost, self.weights))


def _root(part: float, whole: float) -> float:
    return math.sqrt(part / whole) if whole else 0.0


@dataclass(frozen=True)
class Encoded:
    """A tensor as a patch keeps it."""

    name: str
    description: TensorDescription
    parts: Parts
    squares: Squares


def sha256(tensor: Tensor) -> str:
    """Of the bytes of a tensor as they stand in a file."""
    return hashlib.sha256(bits_of(tensor).data).hexdigest()


def fits(base: TensorEntry | None, entry: TensorEntry) -> bool:
    """Whether a tensor can be told by how it differs from its base."""
    if base is None or base.shape != entry.shape:
        return False
    return base.dtype == entry.dtype or (base.dtype in SUMMED and entry.dtype in SUMMED)


def encode(entry: TensorEntry, base: Tensor | None, tuned: Tensor, options: PatchOptions) -> Encoded:
    """The smallest form of a tensor, decoded once to see that it holds what it should.

    entry  where `tuned` lies in its checkpoint
    base   of the same shape, and of a dtype that fits; None: there is none. Left as it is.
    """
    name, before = entry.name, None if base is None else base.to(tuned.dtype)
    origin = None if base is None else BaseFields(dtype=DTYPE_NAMES[base.dtype], sha256=sha256(base))
    if before is not None and same_bits(before, tuned):
        same = sha256(tuned) if origin is None or base is not before else origin.sha256
        fields = TensorDescription(kind="equal", base=origin, sha256=same, crc32={})
        return Encoded(name, fields, {}, _squares(before, tuned, tuned) if options.lossy else Squares())
    exact = lossless.encode(before, tuned)
    near = _lossy(before, tuned, options) if before is not None and options.lossy else None
    if near is not None and size_of(near[1]) < size_of(exact[1]):
        described, got = _tried(entry, origin, near, base)
        if all_finite(got):  # a sum may leave the range of float16
            squares = _squares(tuned if before is None else before, got, tuned)
            return Encoded(name, described.model_copy(update={"loss": squares.loss}), near[1], squares)
    described, got = _tried(entry, origin, exact, base)
    if not same_bits(got, tuned):
        raise FmcompressError(f"{name}: does not come back to the bit as {exact[0]}. Please report this.")
    squares = _squares(tuned if before is None else before, got, tuned) if options.lossy else Squares()
    return Encoded(name, described, exact[1], squares)


def _tried(
    entry: TensorEntry, origin: BaseFields | None, form: Form, base: Tensor | None
) -> tuple[TensorDescription, Tensor]:
    """The description of a form, and what comes back from it."""
    kind, parts, more = form
    fields: dict[str, Any] = {"kind": kind, "base": None if kind == "raw" else origin, "sha256": "0" * 64, **more}
    fields["crc32"] = {part: packed.checksum(each) for part, each in parts.items() if not part.startswith(PACKED)}
    described = TensorDescription.model_validate(fields)
    got = decode(entry, described, None if base is None else copy_of(base), parts)
    return described.model_copy(update={"sha256": sha256(got)}), got


def _lossy(before: Tensor, tuned: Tensor, options: PatchOptions) -> Form | None:
    """A tensor's form with what the options let go, or None where they cannot be applied."""
    change = lossy.change_of(before, tuned) if tuned.dtype in SUMMED else None
    if change is None:
        return None
    if options.density is not None:
        change = lossy.largest_only(change, options.density)
    if options.rank is not None:
        return lossy.encode_low_rank(change, options)
    rounded = None if options.bits is None else lossy.encode_rounded(change, options)
    if options.density is None:
        return rounded
    kept = lossless.encode(before, torch.where(change.view(tuned.shape) != 0, tuned, before))
    return kept if rounded is None or size_of(kept[1]) <= size_of(rounded[1]) else rounded  # few steps of bfloat16


def decode(entry: TensorEntry, described: TensorDescription, base: Tensor | None, parts: Parts) -> Tensor:
    """A tensor of its parts and, where it has one, its base, whose memory it may take.

    Raises PayloadError, naming the tensor, if the parts do not decode.
    """
    if described.kind == "raw":
        return parts["raw"]
    try:
        if base is None:
            require_memory(entry.name, prod(entry.shape) * entry.dtype.itemsize)
            return lossless.decode_dense(parts["moves"], None, torch.empty(entry.shape, dtype=entry.dtype))
        start = base.to(entry.dtype)
        if described.kind == "dense":
            return lossless.decode_dense(parts["moves"], start, start)
        if described.kind == "sparse":
            assert described.changed is not None
            return lossless.decode_sparse(parts, str(described.places), described.changed, start)
        if described.kind == "low-rank":
            return lossy.added(start, lossy.product(parts["left"], parts["right"]))
        if described.packed is not None:
            return lossy.added(start, packed.decode(entry.name, described.packed, lambda part: parts[PACKED + part]))
        return start
    except (ValueError, RuntimeError) as error:
        raise PayloadError(f"{entry.name}: does not decode ({in_one_line(error)}).") from None


def same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors of one dtype and shape hold the same bits: -0.0 is not 0.0, a NaN equals itself."""
    return torch.equal(torch.from_numpy(bits_of(one)), torch.from_numpy(bits_of(other)))


def _squares(before: Tensor, got: Tensor, tuned: Tensor) -> Squares:
    """Of float tensors without infinite numbers; of others nothing is counted, since nothing of them is lost."""
    if not tuned.is_floating_point():
        return Squares()
    sums = [0.0, 0.0, 0.0]
    for start, found, aim in pieces(before, got, tuned):
        for number, each in enumerate((found - aim, aim - start, aim)):
            sums[number] += sum_of_squares(each)
    return Squares(*sums) if all(map(math.isfinite, sums)) else Squares()
