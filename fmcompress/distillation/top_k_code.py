"""The likeliest tokens of a teacher in few bits: which they are, and how likely, by the project's packing ops.

Which: ids ascend, so that of each the lower bits are packed as they are and the upper ones stand in unary, as Elias and
Fano have it: one bit an id and one for each value of the upper bits. How likely: log p falls linearly by codes from
that of the likeliest token, which is kept in float16 with the step and with the log of what is left over.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ops
from ..errors import ConfigError, PayloadError

WIDTHS = (8, 4, 3, 2)  # bits of a code that pack_codes knows
SPAN = 20.0  # nats below the likeliest token; what is less likely is taken for that
VALUE_BITS = (4, 8)


@dataclass(frozen=True)
class TopK:
    """The k likeliest of a teacher's next tokens, n times.

    ids    [n, k] int64, ascending in each row
    log_p  [n, k] float32, their log-probabilities
    rest   [n] float32, the log of the probability of all others; -inf where there is none
    """

    ids: Tensor
    log_p: Tensor
    rest: Tensor


def top_k(logits: Tensor, k: int, temperature: float = 1.0) -> TopK:
    """What is kept of logits [n, vocabulary], any float dtype: of softmax(logits / temperature)."""
    log_p = (logits.float() / temperature).log_softmax(-1)
    ids = log_p.topk(k, dim=-1).indices.sort(-1).values
    rest = log_p.scatter(-1, ids, -torch.inf).logsumexp(-1)
    return TopK(ids, log_p.gather(-1, ids), rest)


@dataclass(frozen=True)
class Code:
    """How rows are packed.

    k, vocabulary  tokens kept, of so many
    bits           of a value: 4 or 8

    Raises ConfigError for sizes that do not fit.
    """

    k: int
    vocabulary: int
    bits: int = 8

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.vocabulary or self.bits not in VALUE_BITS:
            raise ConfigError(
                f"top-k, bits: expected 1 to {self.vocabulary}, the vocabulary, and 4 or 8, got {self.k} and "
                f"{self.bits}."
            )

    @property
    def low_bits(self) -> int:
        """Of an id, packed as they are: as many as make a row shortest; 1 cannot be packed."""
        able = [0, *range(2, max(2, (self.vocabulary - 1).bit_length()) + 1)]
        return min(able, key=lambda low: self.k * low + self._unary_bits(low))

    def _unary_bits(self, low: int) -> int:
        return self.k + (self.vocabulary - 1 >> low)

    def shapes(self) -> dict[str, tuple[torch.dtype, int]]:
        """The tensors of a code, of which each token has one row: dtype and columns."""
        planes = {f"lower.{n}": (torch.uint8, _bytes(self.k * w)) for n, w in enumerate(_planes(self.low_bits))}
        return {
            **planes,
            "upper": (torch.uint8, (self._unary_bits(self.low_bits) + 7) // 8),
            "values": (torch.uint8, _bytes(self.k * self.bits)),
            "scale": (torch.float16, 3),  # log p of the likeliest, step of a code, log of the rest
        }

    @property
    def row_bytes(self) -> int:
        """Of a token."""
        return sum(dtype.itemsize * cols for dtype, cols in self.shapes().values())

    def encode(self, known: TopK) -> dict[str, Tensor]:
        """Pack n rows into tensors of shapes()."""
        ids, low = known.ids, self.low_bits
        parts, shift = {}, 0
        for number, width in enumerate(_planes(low)):
            parts[f"lower.{number}"] = ops.pack_codes((ids >> shift & ((1 << width) - 1)).to(torch.uint8), width)
            shift += width
        marks = torch.zeros(len(ids), self._unary_bits(low), dtype=torch.bool, device=ids.device)
        marks.scatter_(1, (ids >> low) + torch.arange(self.k, device=ids.device), True)
        parts["upper"] = ops.pack_bitmask(marks.view(torch.uint8), marks, ids.numel())[0]
        likeliest = known.log_p.max(-1, keepdim=True).values.half()
        fall = (likeliest.float() - known.log_p).clamp(0, SPAN)
        top = (1 << self.bits) - 1
        step = (fall.max(-1, keepdim=True).values / top).half()
        codes = torch.where(step > 0, fall / step.float(), 0.0).round_().clamp_(0, top)
        parts["values"] = ops.pack_codes(codes.to(torch.uint8), self.bits)
        rest = known.rest.clamp_min(-60000.0).half().unsqueeze(-1)  # the lowest stands for none
        parts["scale"] = torch.cat([likeliest, step, rest], 1)
        return parts

    def decode(self, parts: dict[str, Tensor]) -> TopK:
        """The rows again, values as near as the codes tell, probabilities that sum up to 1.

        Raises PayloadError for what no teacher can have said: ids outside of the vocabulary, or numbers that are none.
        """
        low, count = self.low_bits, len(parts["scale"])
        try:
            ones = torch.ones(count * self.k, dtype=torch.uint8)
            marks = ops.unpack_bitmask(parts["upper"], ones, self._unary_bits(low))
        except (ValueError, RuntimeError):
            raise _damaged(f"marks {self.k} tokens in each row") from None
        if count and not bool((marks.sum(1, dtype=torch.int64) == self.k).all()):
            raise _damaged(f"marks {self.k} tokens in each row")
        ids = (marks.nonzero()[:, 1].view(count, self.k) - torch.arange(self.k)) << low
        shift = 0
        for number, width in enumerate(_planes(low)):
            ids += ops.unpack_codes(parts[f"lower.{number}"], width, self.k).long() << shift
            shift += width
        if ids.numel() and (int(ids.max()) >= self.vocabulary or not bool((ids.diff(dim=1) > 0).all())):
            raise _damaged(f"names ascending tokens below {self.vocabulary}")
        likeliest, step, rest = parts["scale"].float().split(1, dim=1)
        if not bool(
            parts["scale"].isfinite().all() and (parts["scale"][:, [0, 2]] <= 0.01).all() and (step >= 0).all()
        ):
            raise _damaged("holds logarithms of probabilities")
        codes = ops.unpack_codes(parts["values"], self.bits, self.k).float()
        log_p = torch.cat([likeliest - codes * step, rest.masked_fill(rest < -50000, -torch.inf)], 1)
        if self.k == self.vocabulary:
            log_p[:, -1] = -torch.inf
        log_p = log_p.log_softmax(1)
        return TopK(ids, log_p[:, :-1].contiguous(), log_p[:, -1].contiguous())


def _damaged(expected: str) -> PayloadError:
    return PayloadError(f"logits: expected what {expected}, got something else. The file is damaged: make it anew.")


def _planes(bits: int) -> list[int]:
    """Widths of codes that together have so many bits, which are not 1."""
    planes = []
    while bits:
        planes.append(next(width for width in WIDTHS if bits - width == 0 or bits - width >= 2))
        bits -= planes[-1]
    return planes


def _bytes(bits: int) -> int:
    """Of a row of pack_codes."""
    return (bits + 31) // 32 * 4
