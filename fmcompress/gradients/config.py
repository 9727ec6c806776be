"""How gradients are compressed, and what that comes to in bytes."""

import math
from dataclasses import dataclass
from typing import Literal

import torch

from .. import ops
from ..errors import ConfigError

BITS_OF = {"fp32": 32, "fp16": 16, "bf16": 16}
SHARE_TOLERANCE = 0.1  # of the fraction that is sampled
LARGE = 100_000_000  # elements of the tensor that figures without a size are for


@dataclass(frozen=True)
class CocktailConfig:
    """CocktailSGD's three compressors in a row (Wang et al., ICML 2023), and its error feedback.

    random_fraction  of the blocks that are sampled in a step, in (0, 1]
    topk_fraction    of a sampled block's elements that are kept, in (0, 1]
    bits             of a kept element, 1 to 8; 32: float32
    block            elements of a block, a power of two from 128 to 8192; fewer for tensors of few blocks, down to 128
    group_size       kept elements that share a scale; None: those of a block
    quantizer        "sign-magnitude": levels from the smallest to the largest magnitude of a group, better at the same
                     bits, since nothing kept is near 0; "symmetric": levels from 0
    error_feedback   what is not sent is added to the next gradient; without it it is forgotten
    residual_dtype   of what was not sent: torch.float32, or torch.bfloat16, which rounds it
    seed             of the sampling

    The defaults are those of the released code's README, p = 0.1, k = 0.2 and 4 bits. Raises ConfigError for values
    that do not fit.
    """

    random_fraction: float = 0.1
    topk_fraction: float = 0.2
    bits: int = 4
    block: int = 4096
    group_size: int | None = None
    quantizer: Literal["sign-magnitude", "symmetric"] = "sign-magnitude"
    error_feedback: bool = True
    residual_dtype: torch.dtype = torch.float32
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("random_fraction", "topk_fraction"):
            value = getattr(self, name)
            if not (isinstance(value, (int, float)) and 0 < value <= 1):
                raise ConfigError(f"{name}: expected a share above 0 and at most 1, got {value!r}.")
        if self.quantizer not in ("sign-magnitude", "symmetric"):
            raise ConfigError(f"quantizer: expected sign-magnitude or symmetric, got {self.quantizer!r}.")
        if self.residual_dtype not in (torch.float32, torch.bfloat16):
            raise ConfigError(f"residual_dtype: expected torch.float32 or torch.bfloat16, got {self.residual_dtype}.")
        for name in ("bits", "block", "seed"):
            if type(getattr(self, name)) is not int:
                raise ConfigError(f"{name}: expected a whole number, got {getattr(self, name)!r}.")
        if self.group_size is not None and (type(self.group_size) is not int or self.group_size < 1):
            raise ConfigError(f"group_size: expected a whole number from 1 on, or None, got {self.group_size!r}.")
        try:
            ops.check_layout(LARGE, self.layout(LARGE))
        except ValueError as error:
            raise ConfigError(str(error)) from None

    def layout(self, numel: int, step: int = 0, stream: int = 0) -> ops.Layout:
        """How a tensor of so many elements is compressed in a step; tensors of other streams are sampled elsewhere."""
        block = self._block_of(numel)
        sampled = self._sampled(-(-numel // block))
        kept = max(1, math.floor(self.topk_fraction * block + 1e-9))
        group = min(self.group_size or kept, kept)
        return ops.Layout(
            self.seed, step, stream, block, sampled, kept, self.bits, group, self.quantizer == "symmetric"
        )

    def _sampled(self, blocks: int) -> int:
        return max(1, -(-blocks // ops.MAX_STRATUM), round(self.random_fraction * blocks))

    def _block_of(self, numel: int) -> int:
        """The largest block with which about the fraction is sampled: of few blocks it may be far from it."""

        def error(block: int) -> float:
            blocks = -(-numel // block)
            return abs(self._sampled(blocks) / blocks / self.random_fraction - 1)

        sizes = [self.block >> i for i in range(7) if self.block >> i >= 128] or [self.block]
        fitting = [size for size in sizes if error(size) <= SHARE_TOLERANCE and size < 2 * max(numel, 128)]
        return fitting[0] if fitting else min(reversed(sizes), key=error)

    def payload_bytes(self, numel: int) -> int:
        """Of one compressed tensor: header, masks, codes, scales."""
        return self.layout(numel).payload_bytes

    def bits_per_element(self, numel: int) -> float:
        """Of a tensor of so many elements, everything counted."""
        return 8 * self.payload_bytes(numel) / numel

    @property
    def bits_per_parameter(self) -> float:
        """Of a tensor of 100 million elements, everything counted: masks, codes, scales and the header."""
        return self.bits_per_element(LARGE)

    def ratio(self, vs: Literal["fp16", "bf16", "fp32"] = "fp16", numel: int = LARGE) -> float:
        """How many times fewer bytes than the dense tensor in that type. Raises ConfigError for another type."""
        if vs not in BITS_OF:
            raise ConfigError(f"vs: expected one of {', '.join(BITS_OF)}, got {vs!r}.")
        return BITS_OF[vs] / self.bits_per_element(numel)
