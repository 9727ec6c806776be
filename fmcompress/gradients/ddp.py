"""CocktailSGD as a communication hook of DistributedDataParallel."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]

from .. import ops
from ..errors import ConfigError
from .collectives import Workers
from .config import CocktailConfig
from .sharded_mean import ShardedMean


class _Parameter:
    """What one parameter's gradients have not sent yet: by this worker, and by this worker as server of a shard."""

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
        """Undo compress() in the residual, within rounding."""
        for i, finite in enumerate(self.mean.finite(rows)):
            part = self.mean.shards[i]
            if self.residual is not None and finite and part.stop > part.start:
                layout = self.mean.layout(i, step)
                ops.add_payload_(rows[i, : layout.payload_bytes].contiguous(), self.residual[part], layout)
                self.residual[part] -= gradient[part] * scale


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
        self.workers = Workers(group, timeout_s)
        self.start_iteration, self.min_numel, self.loss_scale = start_iteration, min_numel, loss_scale
        self.iteration = 0
        self._parameters: dict[str, _Parameter] = {}
        self._loaded: dict[str, dict[str, Tensor | None]] = {}  # of parameters that no bucket has brought yet
        self._thread = ThreadPoolExecutor(1, "fmcompress-gradients")

    @property
    def bytes_sent(self) -> int:
        """By this rank so far, dense and compressed."""
        return self.workers.bytes_sent

    def state_dict(self) -> dict[str, Any]:
        """Everything that a restart needs to go on bit for bit, as numbers and tensors; differs from rank to rank."""
        self._thread.submit(lambda: None).result()  # after what is still on its way
        held = {
            name: {"residual": _copy(parameter.residual), "server": _copy(parameter.mean.server)}
            for name, parameter in self._parameters.items()
        }
        own = {"rank": self.workers.rank, "workers": self.workers.count}
        return {"iteration": self.iteration, **own, "parameters": {**self._loaded, **held}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict of the same rank among as many workers. Raises ConfigError for another one's."""
        for key, own in (("workers", self.workers.count), ("rank", self.workers.rank)):
            if state[key] != own:
                raise ConfigError(f"{key}: expected the state of {key} {own}, got that of {state[key]}.")
        self.iteration = state["iteration"]
        self._parameters, self._loaded = {}, dict(state["parameters"])

    def parameter(self, tensor: Tensor) -> _Parameter:
        """The state of a parameter, made when it is first asked for. Raises ConfigError for a parameter not given."""
        if id(tensor) not in self._index:
            raise ConfigError("parameter: the model has one that CocktailState was not given. Pass all of them.")
        index = self._index[id(tensor)]
        name = self._names[index][0]
        if name not in self._parameters:
            mean = ShardedMean(tensor.numel(), self.config, self.workers, tensor.device, stream=index)
            parameter = self._parameters[name] = _Parameter(mean)
            held = self._loaded.pop(name, {})
            for key, to in (("residual", parameter.residual), ("server", mean.server)):
                values = held.get(key)
                if to is not None and values is not None:
                    to.copy_(values)
        return self._parameters[name]

    def __getstate__(self) -> None:
        raise TypeError("CocktailState is not pickled, since it holds a process group. Save its state_dict().")


def cocktail_hook(state: CocktailState, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """For DistributedDataParallel: model.register_comm_hook(CocktailState(model.named_parameters()), cocktail_hook)."""
    buffer, parameters = bucket.buffer(), bucket.parameters()
    devices: list[int | str | torch.device] = [buffer.device] if buffer.device.type == "cuda" else []
    future: torch.futures.Future[Tensor] = torch.futures.Future(devices=devices)
    ready = torch.cuda.current_stream(buffer.device).record_event() if devices else None
    iteration = state.iteration
    state.iteration += bucket.is_last()

    def run() -> None:
        try:
            if ready is not None:
                torch.cuda.current_stream(buffer.device).wait_event(ready)
            if iteration < state.start_iteration:
                state.workers.mean_(buffer)
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
        _exchange_compressed(state, large, step)


def _exchange_compressed(state: CocktailState, large: list[tuple[_Parameter, Tensor]], step: int) -> None:
    scale = state.loss_scale() if state.loss_scale is not None else 1.0
    rows = [parameter.compress(gradient, step, 1 / scale) for parameter, gradient in large]
    sent = rows
    if not all(all(parameter.mean.finite(row)) for (parameter, _), row in zip(large, rows, strict=True)):
        sent = [parameter.refuse(step) for parameter, _ in large]  # then nothing shall be averaged, on no worker
    sizes = [parameter.mean.row_bytes for parameter, _ in large]
    received = state.workers.exchange(torch.cat(sent, 1)).split(sizes, 1)
    served = [parameter.mean.serve(part, step) for (parameter, _), part in zip(large, received, strict=True)]
    means = state.workers.gather(torch.cat(served)).split(sizes, 1)
    finite = all(all(parameter.mean.finite(mean)) for (parameter, _), mean in zip(large, means, strict=True))
    for (parameter, gradient), row, mean in zip(large, rows, means, strict=True):
        if finite:
            gradient.zero_()
            parameter.mean.add_(mean, gradient, step, scale)
        else:
            parameter.take_back(row, gradient, step, 1 / scale)
            gradient.fill_(torch.nan)


def _copy(tensor: Tensor | None) -> Tensor | None:
    return None if tensor is None else tensor.clone()
