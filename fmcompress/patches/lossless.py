"""Changes kept to the bit: which entries of a tensor moved, and how far, in streams."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from .. import ops
from .numbers import SIGNED, UNSIGNED, Bits, bits_of, distance, moved
from .streams import BLOCK, blocks, read_stream, write_stream

SPARSE_BELOW, DENSE_ABOVE = 0.95, 0.25  # share of changed entries; between the two both forms are tried
GAPS_BELOW = 0.2  # where fewer entries change, the distances between them are fewer bytes than a bit for each
SAMPLED, CLEAR = 16, 1.05  # a block of so many is tried in both forms; from which ratio on the smaller one is taken

Parts = dict[str, Tensor]
Form = tuple[str, Parts, dict[str, Any]]  # kind, parts, further fields of the description
Far = Callable[[int, int], Bits]  # how far the entries from begin to end moved


def encode(before: Tensor | None, after: Tensor) -> Form:
    """The kind, parts and further fields of the smallest form of a tensor that is not equal to its base.

    before  of the same dtype and shape; None: the tensor is kept by itself
    """
    floats, bits = after.is_floating_point(), bits_of(after)
    start = np.zeros(1, bits.dtype) if before is None else bits_of(before)

    def far(begin: int, end: int) -> Bits:
        return distance(start if before is None else start[begin:end], bits[begin:end], floats)

    share = 1.0 if before is None else np.count_nonzero(start != bits) / max(1, len(bits))
    kinds = _kinds(len(bits), bits.itemsize, far, share)
    best = min((_form(kind, len(bits), bits.itemsize, far, share) for kind in kinds), key=lambda form: size_of(form[1]))
    return best if size_of(best[1]) < bits.nbytes else ("raw", {"raw": after}, {})


def size_of(parts: Parts) -> int:
    """Bytes of all parts."""
    return sum(part.numel() * part.itemsize for part in parts.values())


def _kinds(count: int, width: int, far: Far, share: float) -> list[str]:
    """Those that are worth trying; of a large tensor where either may win, what is clearly smaller of a few blocks."""
    if not share < SPARSE_BELOW or width == 8:  # the op packs no wider entries
        return ["dense"]
    if not share > DENSE_ABOVE:
        return ["sparse"]
    every = BLOCK * SAMPLED
    if count < 2 * every:
        return ["sparse", "dense"]
    few = np.concatenate([far(begin, begin + BLOCK) for begin in range(0, count - BLOCK, every)])
    here = np.count_nonzero(few) / len(few)
    sizes = {kind: size_of(_form(kind, len(few), width, _parts_of(few), here)[1]) for kind in ("sparse", "dense")}
    least = min(sizes.values())
    return [kind for kind, size in sizes.items() if size < CLEAR * least]


def _form(kind: str, count: int, width: int, far: Far, share: float) -> Form:
    return _sparse(count, width, far, share) if kind == "sparse" else ("dense", {"moves": _stream(count, far)}, {})


def _sparse(count: int, width: int, far: Far, share: float) -> Form:
    moves = np.empty(count, UNSIGNED[width])
    for begin, end in blocks(count):
        moves[begin:end] = far(begin, end)
    signed = torch.from_numpy(moves.view(SIGNED[width] if width > 1 else np.uint8)).view(1, -1)
    mask = signed != 0
    bitmask, kept = ops.pack_bitmask(signed, mask)
    if share < GAPS_BELOW and count < 1 << 32:
        places = np.flatnonzero(mask.view(-1).numpy())
        gaps = (np.diff(places, prepend=-1) - 1).astype(UNSIGNED[4])
        told, numbers = "gaps", gaps
    else:
        told, numbers = "bitmask", bits_of(bitmask)
    parts = {told: _stream(len(numbers), _parts_of(numbers)), "moves": _stream(len(kept), _parts_of(bits_of(kept)))}
    return "sparse", parts, {"changed": len(kept), "places": told}


def _parts_of(numbers: Bits) -> Callable[[int, int], Bits]:
    return lambda begin, end: numbers[begin:end]


def _stream(count: int, part: Callable[[int, int], Bits]) -> Tensor:
    written = bytearray(write_stream(count, part))
    return torch.frombuffer(written, dtype=torch.uint8) if written else torch.empty(0, dtype=torch.uint8)


def decode_dense(moves: Tensor, base: Tensor | None, like: Tensor) -> Tensor:
    """The tensor of which all entries moved; written into `base`, or into `like` where they are counted from 0.

    Raises ValueError if the stream is none of that tensor.
    """
    to = like if base is None else base
    _move(to, read_stream(bits_of(moves), to.numel(), to.itemsize), from_zero=base is None)
    return to


def decode_sparse(parts: Parts, told: str, changed: int, base: Tensor) -> Tensor:
    """The tensor of which some entries moved; written into `base`. Raises ValueError if the parts are none of it."""
    bits = bits_of(base)
    moves = _whole(parts["moves"], changed, base.itemsize)
    if told == "gaps":
        places = np.cumsum(_whole(parts["gaps"], changed, 4).astype(np.int64) + 1) - 1
        if changed and places[-1] >= len(bits):
            raise ValueError("an entry lies after the last one")
        bits[places] = moved(bits[places], moves, base.is_floating_point())
        return base
    bitmask = _whole(parts["bitmask"], -(-len(bits) // 8), 1)
    _move(base, _spread(bitmask, moves, len(bits)))
    return base


def _spread(bitmask: Bits, moves: Bits, count: int) -> Iterator[tuple[int, int, Bits]]:
    """(begin, end, numbers) of blocks of `count` entries: the next of the moves where a bit is set, 0 elsewhere."""
    kept = torch.from_numpy(moves.view(SIGNED[moves.itemsize] if moves.itemsize > 1 else np.uint8))
    at = 0
    for begin, end in blocks(count):
        here = bitmask[begin // 8 : -(-end // 8)]
        until = at + int(np.count_nonzero(np.unpackbits(here)))
        yield begin, end, bits_of(ops.unpack_bitmask(torch.from_numpy(here).view(1, -1), kept[at:until], end - begin))
        at = until
    if at != len(moves):
        raise ValueError(f"the bitmask counts {at} entries, got {len(moves)}")


def _move(tensor: Tensor, by: Iterable[tuple[int, int, Bits]], from_zero: bool = False) -> None:
    bits, floats = bits_of(tensor), tensor.is_floating_point()
    zero = np.zeros(1, bits.dtype)
    for begin, end, numbers in by:
        bits[begin:end] = moved(zero if from_zero else bits[begin:end], numbers, floats)


def _whole(stream: Tensor, count: int, width: int) -> Bits:
    numbers = np.empty(count, UNSIGNED[width])
    for begin, end, block in read_stream(bits_of(stream), count, width):
        numbers[begin:end] = block
    return numbers
