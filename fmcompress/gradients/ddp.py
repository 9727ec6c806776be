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

    Where the compressed tensors of a bucket have an infinity or NaN on any rank, they come back as NaN on all of them,
    as from a dense all-reduce, so that a GradScaler skips the step; their residuals are taken back to what they were,
    within rounding. What other buckets of a skipped step delivered is lost, including what residuals held from earlier
    steps.

    A failed exchange reaches the training thread through DDP as a RuntimeError with the message of the first error.
    A checkpoint taken during the dense steps goes on within rounding with three or more workers, since DDP fills its
    buckets in another order at first. Not yet run on a GPU. Parameters that get no gradient on any rank must not be
    among DDP's: it would not copy what they exchange.
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
        held = list(named_parameters)
        wrapped = all(name.startswith("module.") for name, _ in held)  # by DistributedDataParallel
        self._held = [(name.removeprefix("module.") if wrapped else name, parameter) for name, parameter in held]
        self._index = {id(parameter): i for i, (_, parameter) in enumerate(self._held)}
        self._group, self._timeout_s = group, timeout_s
        self.start_iteration, self.min_numel, self.loss_scale = start_iteration, min_numel, loss_scale
        self.iteration = 0
        self._parameters: dict[str, CompressedGradient] = {}
        self._loaded: dict[str, dict[str, Tensor | None]] = {}  # of parameters that no bucket has brought yet
        self._thread = ThreadPoolExecutor(1, "fmcompress-gradients")
        self._failed: Exception | None = None  # the first error, after which nothing is exchanged any more

    @cached_property
    def workers(self) -> Workers:
        """Made when it is first needed, on all ranks at once, since some trainers start torch.distributed late."""
        return Workers(self._group, self._timeout_s)

    @property
    def bytes_sent(self) -> int:
        """By this rank so far, dense and compressed."""
        return self.workers.bytes_sent if "workers" in self.__dict__ else 0

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
        name = self._held[index][0]
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
            if state._failed is not None:  # other ranks would take this bucket for the one that failed
                raise state._failed
            if ready is not None:
                torch.cuda.current_stream(buffer.device).wait_event(ready)
            if iteration < state.start_iteration:
                workers.mean_(buffer)
            else:
                _exchange(state, buffer, parameters, iteration)
            future.set_result(buffer)
        except BaseException as error:  # DDP raises its text in the training thread, as a RuntimeError
            state._failed = error if isinstance(error, Exception) else RuntimeError(repr(error))
            future.set_exception(state._failed)  # type: ignore[arg-type]

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
