"""CocktailSGD as a communication hook of DistributedDataParallel."""

from collections.abc import Callable, Iterable
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed import GradBucket  # type: ignore[attr-defined]

from .. import ops
from ..errors import CommunicationError, ConfigError
from .background import Background
from .collectives import Workers
from .compressed_gradient import CompressedGradient, average_
from .config import CocktailConfig
from .finite import finite
from .sharded_mean import ShardedMean, shards_of


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

    Where the compressed tensors of a bucket have an infinity, a NaN or a number above 2^100 in magnitude on any rank,
    they come back as NaN on all of them, as from a dense all-reduce, so that a GradScaler skips the step; their
    residuals stay as they are. What the other buckets of such a backward pass deliver, the skipped step throws away:
    the server of each shard takes it into its residual again, so that it comes with later steps. It is counted twice
    where a trainer does not skip the step.

    A failed exchange reaches the training thread through DDP as a RuntimeError with the message of the first error;
    after it nothing is exchanged any more: make a new object.
    close() gives back thread and process group. Not yet run on a GPU. Parameters that get no gradient on any rank must
    not be among DDP's: it would not copy what they exchange.

    Raises ConfigError for trainable parameters that are not float32, bfloat16 or float16.
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
        for name, parameter in self._held:
            if parameter.requires_grad and parameter.dtype not in ops.INPUTS:
                raise ConfigError(
                    f"{name}: expected float32, bfloat16 or float16, got {parameter.dtype}. Convert or freeze it."
                )
        self._index = {id(parameter): i for i, (_, parameter) in enumerate(self._held)}
        self._group, self._timeout_s = group, timeout_s
        self.start_iteration, self.min_numel, self.loss_scale = start_iteration, min_numel, loss_scale
        self.iteration = 0
        self._parameters: dict[str, CompressedGradient] = {}
        self._loaded: dict[str, dict[str, Tensor | None]] = {}  # of parameters that no bucket has brought yet
        self._workers: Workers | None = None
        self._background, self._closed = Background(), False
        self._pass = _Pass()
        self._failed: Exception | None = None  # the first error, after which nothing is exchanged any more

    @property
    def workers(self) -> Workers:
        """Made when it is first needed, on all ranks at once, since some trainers start torch.distributed late."""
        if self._workers is None:
            if self._closed:
                raise CommunicationError("CocktailState: close() was called. Make a new one.")
            self._workers = Workers(self._group, self._timeout_s)
        return self._workers

    @property
    def bytes_sent(self) -> int:
        """By this rank so far, dense and compressed."""
        return 0 if self._workers is None else self._workers.bytes_sent

    def close(self) -> None:
        """Stop the thread after what is on its way, and destroy the process group. Every rank should; again: nothing.

        state_dict() still works afterwards, once a step was taken; backward() of the model does not.
        """
        self._closed = True
        self._background.close()
        if self._workers is not None:
            self._workers.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything that a restart needs to go on bit for bit, as numbers and tensors; differs from rank to rank."""
        self._background.wait()
        held = {name: parameter.state_dict() for name, parameter in self._parameters.items()}
        return {"iteration": self.iteration, **self.workers.place, "parameters": {**self._loaded, **held}}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict of the same rank among as many workers. Raises ConfigError for another one's, and for
        one of another model."""
        self.workers.check(state)
        unknown = list(state["parameters"].keys() - dict(self._held).keys())
        if unknown:
            some = ", ".join(sorted(unknown)[:3]) + (", …" if len(unknown) > 3 else "")
            raise ConfigError(f"parameters: the saved state has {some}, which the model lacks. Load its own.")
        for name, parameter in self._held:
            self._check_sizes(name, parameter, state["parameters"].get(name, {}))
        self._background.wait()
        self.iteration = state["iteration"]
        self._parameters, self._loaded = {}, dict(state["parameters"])

    def _check_sizes(self, name: str, parameter: nn.Parameter, held: dict[str, Tensor | None]) -> None:
        shard = shards_of(parameter.numel(), self.workers.count)[self.workers.rank]
        for key, size in (("residual", parameter.numel()), ("server", shard.stop - shard.start)):
            values = held.get(key)
            if values is not None and values.numel() != size:
                raise ConfigError(
                    f"{name}: expected a {key} of {size} elements, got {values.numel()} of another model."
                )

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


class _Pass:
    """What the buckets of one backward pass have come to, the same on all ranks but for what is served."""

    def __init__(self) -> None:
        self.finite = True
        self.served: list[tuple[ShardedMean, Tensor]] = []  # rows that this rank has sent as a server

    def take_back_(self, step: int) -> None:
        for mean, row in self.served:
            mean.take_back_(row, step)


def cocktail_hook(state: CocktailState, bucket: GradBucket) -> torch.futures.Future[Tensor]:
    """For DistributedDataParallel: model.register_comm_hook(CocktailState(model.named_parameters()), cocktail_hook)."""
    buffer, parameters, is_last = bucket.buffer(), bucket.parameters(), bucket.is_last()
    devices: list[int | str | torch.device] = [buffer.device] if buffer.device.type == "cuda" else []
    future: torch.futures.Future[Tensor] = torch.futures.Future(devices=devices)
    workers, iteration = state.workers, state.iteration
    workers.check_open()
    if bucket.index() == 0:  # the pass before it may have broken off
        state._pass = _Pass()
    current, after = state._pass, state._background.after(buffer.device)
    state.iteration += is_last

    def run() -> None:
        try:
            if state._failed is not None:  # other ranks would take this bucket for the one that failed
                raise state._failed
            with after:
                if iteration < state.start_iteration:
                    buffer.copy_(workers.ordered_mean(buffer))
                else:
                    _exchange(state, current, buffer, parameters, iteration)
                    if is_last and not current.finite:
                        current.take_back_(iteration)
                future.set_result(buffer)  # here, since it makes DDP wait for the stream that is current
        except BaseException as error:  # DDP raises its text in the training thread, as a RuntimeError
            state._failed = error if isinstance(error, Exception) else RuntimeError(repr(error))
            future.set_exception(state._failed)  # type: ignore[arg-type]

    state._background.submit(run)
    return future


def _exchange(state: CocktailState, current: _Pass, buffer: Tensor, parameters: list[Tensor], step: int) -> None:
    """The mean of a bucket over the workers, in place."""
    gradients = buffer.split([parameter.numel() for parameter in parameters])  # in whatever order of their dimensions
    least = max(1, state.min_numel)
    small = [gradient for gradient in gradients if len(gradient) < least]
    large = [
        (state.parameter(parameter), gradient)
        for parameter, gradient in zip(parameters, gradients, strict=True)
        if len(gradient) >= least
    ]
    scale = state.loss_scale() if state.loss_scale is not None else 1.0
    own = finite([gradient for _, gradient in large], 1 / scale) if large else torch.ones((), dtype=torch.bool)
    if not small:
        agreed = state.workers.agree(own)
    else:
        agreed, others = _mean_of_small_(state.workers, small, own.to(buffer.device))
        current.finite &= others
    if large and agreed:
        served = average_(state.workers, large, step, scale)
        current.served += zip([gradient.mean for gradient, _ in large], served, strict=True)
    elif large:
        for _, gradient in large:
            gradient.fill_(torch.nan)
    current.finite &= agreed
    if buffer.dtype == torch.float16:  # in which the scale may have made an infinity of a mean
        current.finite &= bool(buffer.isfinite().all())


def _mean_of_small_(workers: Workers, small: list[Tensor], own: Tensor) -> tuple[bool, bool]:
    """The dense mean of small tensors, in place. A flag [] travels with them: whether it holds on all workers, and
    whether the means are numbers."""
    flag = torch.zeros((), dtype=small[0].dtype, device=own.device).where(own, torch.nan)
    mean = workers.ordered_mean(torch.cat([*small, flag.view(1)]))
    *parts, agreed = mean.split([*map(len, small), 1])
    for gradient, values in zip(small, parts, strict=True):
        gradient.copy_(values)
    return bool(agreed.isfinite()), bool(mean.isfinite().all())
