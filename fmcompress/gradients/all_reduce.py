"""A compressed all-reduce of one tensor, step after step: for FSDP2's hook and for trainers of one's own."""

from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import ConfigError
from .collectives import Workers
from .compressed_gradient import CompressedGradient, average_
from .config import CocktailConfig
from .finite import finite
from .sharded_mean import ShardedMean


class CocktailAllReduce:
    """Call it with a tensor of the same size every step: it becomes its mean over the workers, compressed both ways.

    config           how it is compressed
    group            whose ranks take part, such as the replicas of a device mesh; None: all
    stream           the tensor's number, where several are averaged; the same on all workers
    start_iteration  steps before it are dense
    workers          of another CocktailAllReduce, to share its process group
    timeout_s        after which a silent rank is taken for gone

    Where a worker's tensor has an infinity, a NaN or a number above 2^100 in magnitude, it becomes NaN on all of them,
    and nothing else changes. Where a trainer skips the whole step because of it, what the others of its tensors have
    delivered in that step is lost, unlike with cocktail_hook.

    With FSDP2 on a one-dimensional mesh, whose reduce-scatter stays inside a fast network, the hook is the exchange
    between the replicas:

        shared = CocktailAllReduce(config, group=replicas)
        model.set_all_reduce_hook(shared)  # what is in no block: embeddings, norm, head
        for i, block in enumerate(model.layers, 1):
            block.set_all_reduce_hook(CocktailAllReduce(config, stream=i, workers=shared.workers))

    On a CUDA device the hook runs on FSDP's stream; it has not run on a GPU yet.
    """

    def __init__(
        self,
        config: CocktailConfig | None = None,
        *,
        group: dist.ProcessGroup | None = None,
        stream: int = 0,
        start_iteration: int = 0,
        workers: Workers | None = None,
        timeout_s: float = 300.0,
    ) -> None:
        self.config, self.stream, self.start_iteration = config or CocktailConfig(), stream, start_iteration
        self.workers, self._owned = workers or Workers(group, timeout_s), workers is None
        self.iteration = 0
        self._gradient: CompressedGradient | None = None
        self._loaded: dict[str, Any] = {}

    def __call__(self, tensor: Tensor) -> None:
        """tensor: float32, bfloat16 or float16, neighbours in memory, changed. Raises CommunicationError where another
        rank has gone, ConfigError for a tensor of another size than before.
        """
        flat = tensor.view(-1)
        if self._gradient is not None and len(flat) != self._gradient.mean.numel:
            raise ConfigError(f"tensor: expected {self._gradient.mean.numel} elements as before, got {len(flat)}.")
        if self.iteration < self.start_iteration:
            self.workers.mean_(flat)
        elif len(flat):
            self._average_(flat)
        self.iteration += 1

    def _average_(self, flat: Tensor) -> None:
        gradient = self._of(flat)
        if self.workers.agree(finite([flat])):
            average_(self.workers, [(gradient, flat)], self.iteration)
        else:
            flat.fill_(torch.nan)

    def close(self) -> None:
        """Destroy the process group, unless it is that of the `workers` given. Every rank should; again: nothing."""
        if self._owned:
            self.workers.close()

    def _of(self, flat: Tensor) -> CompressedGradient:
        if self._gradient is None:
            mean = ShardedMean(len(flat), self.config, self.workers, flat.device, self.stream)
            self._gradient = CompressedGradient(mean)
            self._gradient.load_state_dict(self._loaded)
        return self._gradient

    def state_dict(self) -> dict[str, Any]:
        """Everything of this rank that a restart needs, as numbers and tensors."""
        held = self._loaded if self._gradient is None else self._gradient.state_dict()
        return {"iteration": self.iteration, **self.workers.place, **held}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict of the same rank among as many workers. Raises ConfigError for another one's."""
        self.workers.check(state)
        self.iteration, self._gradient = state["iteration"], None
        self._loaded = {key: state[key] for key in ("residual", "server") if key in state}
