"""Compress a tensor a step in any trainer: payloads out, residuals kept in a plain dict."""

from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..errors import ConfigError, PayloadError
from .config import CocktailConfig
from .payload import PayloadHeader


class Compressor:
    """Compress tensors with error feedback, for any trainer and any collective.

    A state belongs to one tensor and one worker, and is a dict of numbers and tensors that can be saved as it is.
    """

    def __init__(self, config: CocktailConfig | None = None) -> None:
        self.config = config or CocktailConfig()

    def init_state(self, like: Tensor, stream: int = 0) -> dict[str, Any]:
        """A state that has sent nothing yet. Give every tensor of a model its own stream, the same on all workers."""
        keeps = self.config.error_feedback
        residual = torch.zeros(like.numel(), dtype=self.config.residual_dtype, device=like.device) if keeps else None
        return {"step": 0, "stream": stream, "residual": residual}

    def compress(self, tensor: Tensor, state: dict[str, Any], *, scale: float = 1.0) -> Tensor:
        """The payload of tensor * scale + residual, [bytes] uint8; the state takes a step and keeps what is not sent.

        tensor  any shape, float32, bfloat16 or float16; read row after row
        scale   such as 1 over a loss scale

        Of a tensor with an infinity or NaN the payload says so, and the residual stays. Raises ConfigError if the state
        is another tensor's.
        """
        residual = state["residual"]
        if residual is not None and residual.numel() != tensor.numel():
            raise ConfigError(f"state: belongs to a tensor of {residual.numel()} elements, got {tensor.numel()}.")
        layout = self.config.layout(tensor.numel(), state["step"], state["stream"])
        payload = ops.compress_gradient_(tensor.detach().contiguous().view(-1), residual, layout, scale=scale)
        state["step"] += 1
        return payload

    def decompress(self, payload: Tensor, max_numel: int = 1 << 28) -> Tensor:
        """The tensor that a payload holds, [numel] float32. Raises PayloadError, also if it has more elements than
        max_numel: a few bytes may ask for gigabytes.
        """
        header = PayloadHeader.parse(payload)
        if header.numel > max_numel:
            raise PayloadError(f"payload: has {header.numel} elements, more than max_numel = {max_numel}.")
        try:
            out = torch.zeros(header.numel, device=payload.device)
        except RuntimeError:
            raise PayloadError(f"payload: there is no memory for its {header.numel} elements.") from None
        _add(out, payload, header, 1.0)
        return out

    def decompress_into_(self, out: Tensor, payload: Tensor, scale: float = 1.0) -> None:
        """out += scale * the tensor that a payload holds. out: any shape, neighbours in memory. Raises PayloadError."""
        header = PayloadHeader.parse(payload)
        if header.numel != out.numel():
            raise PayloadError(f"payload: expected {out.numel()} elements, got {header.numel}. It is another tensor's.")
        _add(out.view(-1), payload, header, scale)


def _add(out: Tensor, payload: Tensor, header: PayloadHeader, scale: float) -> None:
    try:
        ops.add_payload_(payload.contiguous(), out, header.layout, scale=scale)
    except ValueError as error:  # a mask with another number of bits
        raise PayloadError(f"payload: {error}") from None
