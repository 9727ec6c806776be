"""What a step of training sends, and how long a network takes for it; arithmetic, nothing is measured."""

import math
from dataclasses import dataclass
from pathlib import Path

from ..errors import ConfigError
from ..formats import open_checkpoint
from .config import BITS_OF, CocktailConfig
from .sharded_mean import row_bytes


@dataclass(frozen=True)
class Traffic:
    """Bytes that one worker sends in one step; it receives as many.

    parameters        of the model
    workers           of them
    dense_bytes       by a ring's all-reduce of dense gradients, 2 (N - 1) / N of them
    compressed_bytes  by cocktail_hook: to the servers of the shards and back, headers and small dense tensors counted,
                      but not the number in every bucket that says whether all others are finite
    """

    parameters: int
    workers: int
    dense_bytes: float
    compressed_bytes: int

    @property
    def ratio(self) -> float:
        """How many times fewer."""
        return self.dense_bytes / self.compressed_bytes if self.compressed_bytes else float("nan")

    def seconds(self, bits_per_second: float) -> tuple[float, float]:
        """On a link of that speed each way, dense and compressed, without delays and protocol."""
        return 8 * self.dense_bytes / bits_per_second, 8 * self.compressed_bytes / bits_per_second

    def break_even(self, compression_s: float) -> float:
        """Bits a second of a link below which compressing pays that takes a worker so many seconds a step; 0: never.

        There a step takes as long either way, 8 dense_bytes / B = 8 compressed_bytes / B + compression_s, so
        B = 8 (dense_bytes - compressed_bytes) / compression_s. Neither overlaps with anything, delays are left out,
        and the sums and conversions of the dense all-reduce, which are not counted, would raise B.
        """
        saved = max(0.0, self.dense_bytes - self.compressed_bytes)
        return 8 * saved / compression_s if compression_s else 0.0


def traffic(
    numels: list[int], config: CocktailConfig, workers: int, *, vs: str = "fp16", min_numel: int = 4096
) -> Traffic:
    """What the gradients of tensors of so many elements come to; small ones go dense in float32, as in the hook.

    vs  the type of the dense gradients to compare with: fp16, bf16 or fp32
    """
    if vs not in BITS_OF:
        raise ConfigError(f"vs: expected one of {', '.join(BITS_OF)}, got {vs!r}.")
    if workers < 1:
        raise ConfigError(f"workers: expected at least 1, got {workers}.")
    total, others = sum(numels), workers - 1
    small = -(-sum(numel for numel in numels if numel < min_numel) // workers)  # of which one worker takes the mean
    rows = sum(row_bytes(numel, workers, config) for numel in numels if numel >= min_numel)
    return Traffic(total, workers, 2 * others / workers * total * BITS_OF[vs] / 8, others * 2 * (rows + 4 * small))


def parse_number(text: str) -> float:
    """A number such as 1.3B, 500M or 10G. Raises ConfigError."""
    scale = {"K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9, "T": 1e12}.get(text[-1:].upper(), 1.0)
    try:
        value = float(text[:-1] if scale > 1 else text) * scale
    except ValueError:
        value = math.nan
    if not (0 < value < 1e18):
        raise ConfigError(f"expected a number such as 1.3B, 500M or 10G, got {text!r}.")
    return value


def parameters_of(model: str) -> list[int]:
    """Elements of every floating-point tensor of a checkpoint, or of one tensor as large as a number says.

    Raises CheckpointError for a folder that is no checkpoint, ConfigError for what is neither.
    """
    folder = Path(model)
    if not folder.exists():
        try:
            return [max(1, int(parse_number(model)))]
        except ConfigError:
            raise ConfigError(f"{model}: no such folder, and no number of parameters such as 1.3B.") from None
    tensors = open_checkpoint(folder).tensors.values()
    numels = [math.prod(tensor.shape) for tensor in tensors if tensor.dtype.is_floating_point]
    return [numel for numel in numels if numel]
