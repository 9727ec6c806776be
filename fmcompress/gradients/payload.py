"""Payloads from elsewhere: checked from the first byte to the checksum before anything is made of them."""

from dataclasses import dataclass

import torch
from torch import Tensor

from .. import ops
from ..errors import PayloadError


@dataclass(frozen=True)
class PayloadHeader:
    """What a payload says of itself; docs/wire-format.md.

    numel   elements of the tensor
    layout  how they were compressed
    finite  False: the tensor held an infinity or NaN, and the payload decodes to NaN
    """

    numel: int
    layout: ops.Layout
    finite: bool

    @classmethod
    def parse(cls, payload: Tensor) -> "PayloadHeader":
        """Check header, size and checksum. payload [bytes] uint8. Raises PayloadError."""
        if payload.dtype != torch.uint8 or payload.dim() != 1 or len(payload) < ops.HEADER_BYTES:
            raise PayloadError(
                f"payload: expected a row of at least {ops.HEADER_BYTES} bytes (uint8), "
                f"got {list(payload.shape)} {payload.dtype}."
            )
        fields = ops.HEADER.unpack(bytes(payload[: ops.HEADER_BYTES].tolist()))
        magic, version, flags, bits, quantizer, numel, *sizes = fields
        seed, step, stream, block, sampled, kept, group, *zeros, checksum = sizes
        if magic != b"FMCG":
            raise PayloadError(f"payload: expected to begin with FMCG, got {magic!r}. These are other bytes.")
        if version != 1:
            raise PayloadError(f"payload: expected version 1, got {version}. Use the same fmcompress on all sides.")
        if flags > ops.NOT_FINITE or quantizer > 1 or any(zeros):
            raise PayloadError("payload: the header has fields that no version 1 writes. The bytes are damaged.")
        layout = ops.Layout(seed, step, stream, block, sampled, kept, bits, group, quantizer == 0)
        try:
            ops.check_layout(numel, layout)
        except ValueError as error:
            raise PayloadError(f"payload: {error} The bytes are damaged.") from None
        if len(payload) != layout.payload_bytes:
            raise PayloadError(f"payload: expected {layout.payload_bytes} bytes, got {len(payload)}. It was cut.")
        if int(ops.payload_checksum(payload.contiguous())) != checksum:
            raise PayloadError("payload: the checksum differs. Bytes were changed on the way.")
        return cls(numel, layout, flags == 0)
