"""The last embeddings of a momentum encoder, as many negatives more than a batch has (He et al. 2020, MoCo)."""

import torch
from torch import Tensor, nn

from .univlc import Keys


class MemoryBank(nn.Module):
    """First in, first out. Empty at first: nothing random is ever compared to; batches may be of any size.

    dim   numbers in an embedding
    size  rows that are kept at most
    """

    visual: Tensor
    text: Tensor
    labels: Tensor
    pushed: Tensor

    def __init__(self, dim: int, size: int) -> None:
        super().__init__()
        if dim < 1 or size < 0:
            raise ValueError(f"expected dim of 1 and size of 0 at least, got {dim} and {size}.")
        self.size = size
        self.register_buffer("visual", torch.zeros(size, dim))
        self.register_buffer("text", torch.zeros(size, dim))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.int64))
        self.register_buffer("pushed", torch.zeros((), dtype=torch.int64))  # rows since the beginning

    def __len__(self) -> int:
        return min(int(self.pushed), self.size)

    @torch.no_grad()
    def push(self, keys: Keys) -> None:
        """Add rows, in their order; the oldest leave. Raises ValueError for rows of another length."""
        if keys.visual.shape != keys.text.shape or keys.visual.shape != (len(keys.labels), self.visual.shape[1]):
            raise ValueError(
                f"keys: expected [{len(keys.labels)}, {self.visual.shape[1]}] twice, got {list(keys.visual.shape)} and "
                f"{list(keys.text.shape)}."
            )
        count = len(keys.labels)
        kept = min(count, self.size)
        if kept:
            numbers = int(self.pushed) + torch.arange(count - kept, count, device=self.labels.device)
            for own, new in ((self.visual, keys.visual), (self.text, keys.text), (self.labels, keys.labels)):
                own[numbers % self.size] = new[count - kept :].to(own.dtype)
        self.pushed += count

    def keys(self) -> Keys:
        """A copy of what is kept, the oldest first: later pushes do not change it."""
        count = len(self)
        begin = int(self.pushed) - count
        order = (begin + torch.arange(count, device=self.labels.device)) % max(1, self.size)
        return Keys(self.visual[order], self.text[order], self.labels[order])

    def after(self, keys: Keys) -> Keys:
        """Those keys, and what is kept behind them."""
        kept = self.keys()
        return Keys(*(torch.cat([new, old.to(new.dtype)]) for new, old in zip(keys, kept, strict=True)))
