"""Images or videos with a text each, of which those run together whose texts are equally long."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from torch import Tensor

from .batch import BATCH_TOKENS


@dataclass(frozen=True)
class Pairs:
    """What a model is given that looks at both.

    pixels   [count, channels, height, width] of images, or [count, frames, channels, height, width] of videos, float32
    tokens   [count, length] int64
    lengths  [count] int64: the tokens of each text; what follows them is padding, which no model ever sees
    """

    pixels: Tensor
    tokens: Tensor
    lengths: Tensor

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def tensors(self) -> list[Tensor]:
        """All that decides what a run is calibrated with."""
        return [self.pixels, self.tokens, self.lengths]

    def some(self, rows: Tensor) -> Mapping[str, Tensor]:
        """Pairs of one length by the names that models' forwards have for them; rows [some] int64."""
        return {"pixel_values": self.pixels[rows], "input_ids": self.tokens[rows, : int(self.lengths[rows[0]])]}

    def one(self) -> Mapping[str, Tensor]:
        """The pair whose text is of the middle length."""
        return self.some(self.lengths.argsort(stable=True)[[len(self) // 2]])

    def parts(self, rows: Tensor, together: int) -> Iterator[Mapping[str, Tensor]]:
        """Those rows, at most so many at once, shortest texts first: without padding no mask is needed anywhere."""
        for length in self.lengths[rows].unique().tolist():
            same = rows[self.lengths[rows] == length]
            for part in same.split(max(1, min(together, BATCH_TOKENS // length))):
                yield self.some(part)
