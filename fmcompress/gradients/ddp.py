"""CocktailSGD as a communication hook of DistributedDataParallel."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import cached_property
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]

from ..errors import ConfigError
from .collectives import Workers
from .compressed_gradient import CompressedGradient, average_
from .config import CocktailConfig
from .sharded_mean import ShardedMean


class CocktailState:
    """The state of cocktail_hook: what was not sent, by parameter, and the steps taken.

    named_parameters  of the model, such as model.named_parameters(), wrapped or not, in the same order on all ranks
    config            how gradients are compressed
    group             whose ranks exchange them; None: all
    start_iteration   steps before it send dense gradients: while the optimizer's moments settle
    min_numel         tensors of fewer elements are sent dense: norms and biases
    loss_scale        what the loss is multiplied by at the moment, such as scaler.get_scale: residuals are kept
                      without it, so that a change of scale does not harm them
    timeout_s         after which a silent rank is taken for gone

    Every parameter is compressed by itself, so residuals and samples do not depend on how DDP fills its buckets.
    state_dict() is this rank's own: save it on every rank, and training goes on bit for bit. Exchanges run in a thread
    of their own, in the order in which DDP hands over the buckets, while the backward pass goes on.

    A bucket with an infinity or NaN on any rank comes back as NaN on all of them, as from a dense all-reduce, so that a
    GradScaler skips the step; its residuals are taken back to what they were, within rounding. What other buckets of a
    skipped step sent is lost, as their gradients are.
    """

    def __init__(
        self,
        named_parameters: Iterable[tuple[str, nn.Parameter]],
        config: CocktailConfig | None = None,
        *,
        group: dist.ProcessGroup | None = None,
        start_iteration: int = 10,
        min_numel: int = 4096,
        loss_scale: Callable[[], float] | None = None,
        timeout_s: float = 300.0,
    ) -> None:
        self.config = config or CocktailConfig()
        self._names = [(name.removeprefix("module."), id(parameter)) for name, parameter in named_parameters]
        self._index = {key: i for i, (_, key) in enumerate(self._names)}
        self._group, self._timeout_s = group, timeout_s
        self.start_iteration, self.min_numel, self.loss_scale = start_iteration, min_numel, loss_scale
        self.iteration = 0
        self._parameters: dict[str, CompressedGradient] = {}
        self._loaded: dict[str, dict[str, Tensor | None]] = {}  # of parameters that no bucket has brought yet
        self._thread = ThreadPoolExecutor(1, "fmcompress-gradients")

    @cached_property
    def workers(self) -> Workers:
        """Made when it is first needed, on all ranks at once, since some trainers start torch.distributed late."""
        return Workers(self._group, self._timeout_s)

    @property
    def bytes_sent(self) -> int:
        """By this rank so far, dense and compressed."""
        return self.workers.bytes_sent

    def state_dict(self) -> dict[str, Any]:
        """Everything that a restart needs to go on bit for bit, as numbers and tensors; differs from rank to rank."""
        self._thread.submit(lambda: None).result()  # after what is still on its way
        held = {name: parameter.state_dict() for name, parameter in self._parameters.items()}
        return {"iteration": self.iteration, **self.workers.place, "parameters": {**self._loaded, **held}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict of the same rank among as many workers. Raises ConfigError for another one's."""
        self.workers.check(state)
        self.iteration = state["iteration"]
        self._parameters, self._loaded = {}, dict(state["parameters"])

    def parameter(self, tensor: Tensor) -> CompressedGradient:
        """The state of a parameter, made when it is first asked for. Raises ConfigError for a parameter not given."""
        if id(tensor) not in self._index:
            raise ConfigError("parameter: the model has one that CocktailState was not given. Pass all of them.")
        index = self._index[id(tensor)]
        name = self._names[index][0]
        if name not in self._parameters:
            mean = ShardedMean(tensor.numel(), self.config, self.workers, tensor.device, stream=index)
            self._parameters[name] = CompressedGradient(mean)
            self._parameters[name].load_state_dict(self._loaded.pop(name, {}))
        return self._parameters[name]

    def __getstate__(self) -> None:
        raise TypeError("CocktailState is not pickled, since it holds a process group. Save its state_dict().")


def cocktail_hook(state: CocktailState, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """For DistributedDataParallel: model.register_comm_hook(CocktailState(model.named_parameters()), cocktail_hook)."""
    buffer, parameters = bucket.buffer(), bucket.parameters()
    devices: list[int | str | torch.device] = [buffer.device] if buffer.device.type == "cuda" else []
    future: torch.futures.Future[Tensor] = torch.futures.Future(devices=devices)
    ready = torch.cuda.current_stream(buffer.device).record_event() if devices else None
    workers, iteration = state.workers, state.iteration
    state.iteration += bucket.is_last()

    def run() -> None:
        try:
            if ready is not None:
                torch.cuda.current_stream(buffer.device).wait_event(ready)
            if iteration < state.start_iteration:
                workers.mean_(buffer)
            else:
                _exchange(state, buffer, parameters, iteration)
            future.set_result(buffer)
        except BaseException as error:  # DDP raises it in the training thread
            future.set_exception(error)  # type: ignore[arg-type]

    state._thread.submit(run)
    return future


def _exchange(state: CocktailState, buffer: Tensor, parameters: list[Tensor], step: int) -> None:
    """The mean of a bucket over the workers, in place."""
    gradients = buffer.split([parameter.numel() for parameter in parameters])  # in whatever order of their dimensions
    small = [gradient for gradient in gradients if len(gradient) < state.min_numel]
    large = [
        (state.parameter(parameter), gradient)
        for parameter, gradient in zip(parameters, gradients, strict=True)
        if len(gradient) >= state.min_numel
    ]
    if small:
        mean = state.workers.ordered_mean(torch.cat(small))
        for gradient, values in zip(small, mean.split([len(gradient) for gradient in small]), strict=True):
            gradient.copy_(values)
    if large:
        scale = state.loss_scale() if state.loss_scale is not None else 1.0
        average_(state.workers, large, step, scale)
