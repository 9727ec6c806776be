"""CocktailSGD's compression composed of PyTorch's own ops, as one would write it without this package: the baseline.

Whole blocks, 4 bits, symmetric, an even number kept. What is cheaper here than in the contract stays so: finite numbers
are told from others by a sum, and there are neither strata to compute nor checksums.
"""

import torch
from torch import Tensor

from fmcompress._ops import Layout

LEVELS, MIDDLE = 7, 8


class EagerCocktail:
    """The ops of one layout on the device of `blocks`, which are the sampled ones."""

    def __init__(self, layout: Layout, blocks: Tensor) -> None:
        if layout.bits != 4 or not layout.symmetric or layout.kept % 2 or layout.kept % layout.group:
            raise ValueError("layout: expected 4 bits, symmetric, an even number kept, whole groups.")
        self.layout, self.blocks = layout, blocks
        self.weights = 1 << torch.arange(8, dtype=torch.uint8, device=blocks.device)

    def rows(self, tensor: Tensor) -> Tensor:
        """The sampled blocks of a tensor, a copy."""
        return tensor.view(-1, self.layout.block).index_select(0, self.blocks)

    def put(self, tensor: Tensor, rows: Tensor) -> None:
        """The way back."""
        tensor.view(-1, self.layout.block).index_copy_(0, self.blocks, rows)

    def encode(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """Payload's body, and `rows` without what it decodes to."""
        layout, count = self.layout, len(rows)
        largest = rows.abs().topk(layout.kept, dim=1, sorted=False).indices
        mask = torch.zeros_like(rows, dtype=torch.bool).scatter_(1, largest, True)
        kept = rows[mask].view(count, -1, layout.group)
        scale = kept.abs().amax(2, keepdim=True).to(torch.bfloat16)
        step = scale.float() / LEVELS
        levels = (kept / step).round_().clamp_(-LEVELS, LEVELS)
        codes = (levels + MIDDLE).to(torch.uint8).view(count, -1)
        packed = codes[:, 0::2] | codes[:, 1::2] << 4
        bits = (mask.view(count, -1, 8) * self.weights).sum(2, dtype=torch.uint8)
        body = torch.cat((bits, packed, scale.view(count, -1).view(torch.uint8)), 1)
        rows[mask] -= (levels * step).flatten()
        return body, rows

    def decode(self, body: Tensor) -> tuple[Tensor, Tensor]:
        """Mask, and the values it keeps."""
        layout, count = self.layout, len(body)
        bits, packed, scale = body.split((layout.block // 8, layout.kept // 2, 2 * layout.groups), 1)
        mask = (bits[:, :, None] & self.weights).ne(0).view(count, -1)
        codes = torch.stack((packed & 15, packed >> 4), 2).view(count, -1, layout.group)
        step = scale.contiguous().view(torch.bfloat16).float()[:, :, None] / LEVELS
        return mask, ((codes.float() - MIDDLE) * step).flatten()

    def compress_gradient_(self, gradient: Tensor, residual: Tensor, scale: float) -> Tensor | None:
        """As ops.compress_gradient_."""
        if not gradient.sum().isfinite():
            return None
        residual.add_(gradient, alpha=scale)
        body, left = self.encode(self.rows(residual))
        self.put(residual, left)
        return body

    def compress_delta_(self, local: Tensor, shared: Tensor) -> Tensor | None:
        """As ops.compress_delta_."""
        own = self.rows(local)
        delta = own - self.rows(shared)
        if not delta.sum().isfinite():
            return None
        body, left = self.encode(delta.clone())
        self.put(local, own.sub_(delta.sub_(left)))
        return body

    def compress_mean_(self, bodies: list[Tensor], residual: Tensor) -> Tensor:
        """As ops.compress_mean_."""
        total = torch.zeros(len(self.blocks), self.layout.block, device=residual.device)
        for body in bodies:
            mask, kept = self.decode(body)
            total[mask] += kept
        body, left = self.encode(total.div_(len(bodies)).add_(self.rows(residual)))
        self.put(residual, left)
        return body

    def add_payload_(self, body: Tensor, out: Tensor, scale: float) -> None:
        """As ops.add_payload_."""
        mask, kept = self.decode(body)
        rows = self.rows(out)
        rows[mask] += kept * scale
        self.put(out, rows)
