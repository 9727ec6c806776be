"""The gradient of one tensor, averaged over the workers with error feedback on both sides."""

import torch
from torch import Tensor

from .. import ops
from ..errors import ConfigError
from .collectives import Workers
from .sharded_mean import ShardedMean


class CompressedGradient:
    """What the gradients of one tensor have not sent yet: by this worker, and by this worker as server of a shard."""

    def __init__(self, mean: ShardedMean) -> None:
        keeps, dtype = mean.config.error_feedback, mean.config.residual_dtype
        self.mean = mean
        self.residual = torch.zeros(mean.numel, dtype=dtype, device=mean.device) if keeps else None

    def compress(self, gradient: Tensor, step: int, scale: float) -> Tensor:
        """Rows of payloads for the servers. gradient [numel]"""

        def shard(part: slice, layout: ops.Layout) -> Tensor:
            own = None if self.residual is None else self.residual[part]
            return ops.compress_gradient_(gradient[part], own, layout, scale=scale)

        return self.mean.compress(step, shard)

    def refuse(self, step: int) -> Tensor:
        """Rows that say that there are no numbers in this step."""

        def shard(part: slice, layout: ops.Layout) -> Tensor:
            nothing = torch.full((part.stop - part.start,), torch.nan, device=self.mean.device)
            return ops.compress_gradient_(nothing, None, layout)

        return self.mean.compress(step, shard)

    def take_back(self, rows: Tensor, gradient: Tensor, step: int, scale: float) -> None:
        """Undo compress() in the residual, within the rounding of the largest number that was added to it."""
        for i, finite in enumerate(self.mean.finite(rows)):
            part = self.mean.shards[i]
            if self.residual is not None and finite and part.stop > part.start:
                layout = self.mean.layout(i, step)
                ops.add_payload_(rows[i, : layout.payload_bytes].contiguous(), self.residual[part], layout)
                self.residual[part] -= gradient[part].float() * scale

    def state_dict(self) -> dict[str, Tensor | None]:
        """Copies of both residuals."""
        held = {"residual": self.residual, "server": self.mean.server}
        return {key: None if values is None else values.clone() for key, values in held.items()}

    def load_state_dict(self, state: dict[str, Tensor | None]) -> None:
        """Go on from a state_dict; what it lacks stays 0. Raises ConfigError for another tensor's."""
        for key, to in (("residual", self.residual), ("server", self.mean.server)):
            values = state.get(key)
            if to is None or values is None:
                continue
            if values.shape != to.shape:
                raise ConfigError(f"{key}: expected {to.numel()} elements, got {values.numel()} of another model.")
            to.copy_(values)


def average_(workers: Workers, large: list[tuple[CompressedGradient, Tensor]], step: int, scale: float = 1.0) -> None:
    """The means of gradients [numel] over the workers, in place, all in one exchange; NaN where one holds no numbers.

    scale  that the gradients are multiplied by; residuals are kept without it
    """
    rows = [parameter.compress(gradient, step, 1 / scale) for parameter, gradient in large]
    sent = rows
    if not all(all(parameter.mean.finite(row)) for (parameter, _), row in zip(large, rows, strict=True)):
        sent = [parameter.refuse(step) for parameter, _ in large]  # then nothing shall be averaged, on no worker
    sizes = [parameter.mean.row_bytes for parameter, _ in large]
    received = workers.exchange(torch.cat(sent, 1)).split(sizes, 1)
    served = [parameter.mean.serve(part, step) for (parameter, _), part in zip(large, received, strict=True)]
    means = workers.gather(torch.cat(served)).split(sizes, 1)
    finite = all(all(parameter.mean.finite(mean)) for (parameter, _), mean in zip(large, means, strict=True))
    for (parameter, gradient), row, mean in zip(large, rows, means, strict=True):
        if finite:
            gradient.zero_()
            parameter.mean.add_(mean, gradient, step, scale)
        else:
            parameter.take_back(row, gradient, step, 1 / scale)
            gradient.fill_(torch.nan)
