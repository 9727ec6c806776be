"""Weights of a checkpoint in the parts that PackedWeight takes, from either of the packed forms."""

import torch
from torch import Tensor

from .. import ops
from ..checkpoint import Checkpoint
from ..checkpoint.layout import DTYPE_NAMES
from ..errors import PayloadError
from ..formats import PackedCheckpoint, QuantizedCheckpoint, compressed_tensors, packed
from ..formats.description import Description
from .mapped import MappedTensors
from .packed_linear import PackedWeight


class WeightReader:
    """The packed weights of a checkpoint.

    verify  hold checksums, masks, places and scales against what they should be; reads everything once
    """

    def __init__(self, checkpoint: Checkpoint, mapped: MappedTensors, verify: bool) -> None:
        self.checkpoint, self.mapped, self.verify = checkpoint, mapped, verify

    def read(self, name: str) -> PackedWeight | None:
        """A weight by the name of its dense tensor; None if it is stored dense.

        Raises PayloadError, naming the tensor, if it is damaged.
        """
        checkpoint = self.checkpoint
        if isinstance(checkpoint, PackedCheckpoint) and name in checkpoint.descriptions:
            described = checkpoint.descriptions[name]
            if described.grid is None and not described.masked and described.pattern is None:
                return None  # all values in a row: nothing is packed about it

            def part(suffix: str) -> Tensor:
                return self.mapped.tensor(checkpoint.stored[f"{name}.{suffix}"])

            weight = PackedWeight(described, packed.read_parts(name, described, part, self.verify))
        elif isinstance(checkpoint, QuantizedCheckpoint) and checkpoint.is_packed(name):
            weight = self._quantized(checkpoint, name)
        else:
            return None
        if self.verify:
            _check_numbers(name, weight, positive=isinstance(checkpoint, PackedCheckpoint))
        return weight

    def _quantized(self, checkpoint: QuantizedCheckpoint, name: str) -> PackedWeight:
        """Of compressed-tensors: its codes lie as ours do, its zero-points run down the rows."""
        grid = checkpoint.grid
        (rows, cols), codes, scale, zero = compressed_tensors.read_parts(
            name, grid, lambda part: self.mapped.tensor(checkpoint.part(name, part))
        )
        if scale.dtype not in (torch.float32, torch.bfloat16, torch.float16):
            raise PayloadError(f"{name}: expected scales in float32, bfloat16 or float16, got {scale.dtype}.")
        parts = {"codes": codes, "scale": scale}
        if not grid.symmetric:
            parts["zero"] = ops.pack_codes(zero, grid.bits)
        fields = {"bits": grid.bits, "group_size": grid.group_size, "symmetric": grid.symmetric}
        described = Description.model_validate(
            {
                "dtype": DTYPE_NAMES[scale.dtype],
                "rows": rows,
                "cols": cols,
                "kept": rows * cols,
                "pattern": None,
                "masked": False,
                "grid": fields,
                "crc32": {},
            }
        )
        return PackedWeight(described, parts)


def _check_numbers(name: str, weight: PackedWeight, positive: bool) -> None:
    """A product with one token reads every row and checks it; with zeros it must be zeros."""
    scale, damaged = weight.scale, "The file is damaged: fetch it again."
    if scale is not None and not (torch.isfinite(scale).all() and (not positive or (scale > 0).all())):
        raise PayloadError(f"{name}: a scale is not a positive number. {damaged}")
    try:
        product = weight.product(torch.zeros(1, weight.shape[1], dtype=torch.float32, device="cpu"), None)
    except ValueError as error:
        raise PayloadError(f"{name}: {error}") from None
    if product.count_nonzero():  # NaN counts
        raise PayloadError(f"{name}: holds values that are not finite. {damaged}")
