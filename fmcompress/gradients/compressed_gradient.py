"""The gradient of one tensor, averaged over the workers with error feedback on both sides."""

import torch
from torch import Tensor

from .. import ops
from ..errors import ConfigError, FmcompressError
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
            if values.is_cuda:  # of another stream, which may have no more use for it
                values.record_stream(torch.cuda.current_stream(values.device))


def average_(
    workers: Workers, large: list[tuple[CompressedGradient, Tensor]], step: int, scale: float = 1.0
) -> list[Tensor]:
    """The means of gradients [numel] over the workers, in place, all in one exchange.

    scale    that the gradients are multiplied by; residuals are kept without it
    returns  what this worker has sent of each mean as the server of a shard, [row_bytes] uint8

    All workers must have agreed that their gradients are finite(..., 1 / scale): compression changes residuals, which
    is not undone. Raises FmcompressError on all of them if they are not.
    """
    rows = [parameter.compress(gradient, step, 1 / scale) for parameter, gradient in large]
    sizes = [parameter.mean.row_bytes for parameter, _ in large]
    received = workers.exchange(torch.cat(rows, 1)).split(sizes, 1)
    served = [parameter.mean.serve(part, step) for (parameter, _), part in zip(large, received, strict=True)]
    means = workers.gather(torch.cat(served)).split(sizes, 1)
    for (parameter, gradient), mean in zip(large, means, strict=True):
        if not all(parameter.mean.finite(mean)):
            raise FmcompressError(f"gradient: got an infinity or NaN while step {step} sent it. Do not write to it.")
        gradient.zero_()
        parameter.mean.add_(mean, gradient, step, scale)
    return served
