"""The paper's algorithm for custom training loops: workers train apart and exchange what their models have learnt."""

from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from .. import ops
from ..errors import ConfigError, FmcompressError
from .background import Background
from .collectives import Workers
from .config import CocktailConfig
from .finite import finite
from .sharded_mean import ShardedMean

_ALIGNMENT = 16  # elements; every parameter begins where vectors do


class CocktailSGD:
    """Local steps, and after each one the compressed mean of the models' changes (Wang et al., ICML 2023, algorithm 1).

    model            its trainable parameters are moved into one flat tensor; all float32 and on one device, and so
                     they must stay
    optimizer        steps on them locally, any of torch's
    config           how changes are compressed
    group            whose ranks train together; None: all
    delay            0: the exchange ends before the next step begins; 1: it runs during the next forward and backward
                     pass, and what it brings arrives one step late
    start_iteration  steps before it average dense gradients, while the optimizer's moments settle
    timeout_s        after which a silent rank is taken for gone

    Every worker keeps its own model x, and a copy g of the shared one that is the same on all of them. A step sends
    C(x - g), takes it from x, and adds the compressed mean to both: what was not sent stays in x - g, the worker's
    error feedback, and what the server of a shard could not send stays in its residual. Memory: g, and the residual of
    a shard, beside the model.

    Call step() instead of optimizer.step(); buffers such as running means and frozen parameters are not exchanged. Save
    state_dict() on every rank, since models differ: that and the optimizer's go on bit for bit. average_() ends a
    training with one model; close() gives back thread and process group. There is no step to skip for a GradScaler:
    train in float32 or under bfloat16 autocast. Not yet run on a GPU.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        config: CocktailConfig | None = None,
        *,
        group: dist.ProcessGroup | None = None,
        delay: int = 0,
        start_iteration: int = 10,
        timeout_s: float = 300.0,
    ) -> None:
        if delay not in (0, 1):
            raise ConfigError(f"delay: expected 0 or 1, got {delay!r}. Older changes harm more than they help.")
        self.config, self.optimizer = config or CocktailConfig(), optimizer
        self.delay, self.start_iteration = delay, start_iteration
        self.workers = Workers(group, timeout_s)
        self.parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        self.local = _flatten(self.parameters)
        self.workers.broadcast_(self.local)
        self.shared = self.local.clone()
        self.mean = ShardedMean(self.local.numel(), self.config, self.workers, self.local.device)
        self.iteration = 0
        self._background = Background()
        self._sent: Tensor | None = None  # rows on their way, of which step, and what will come back
        self._sent_step = 0
        self._coming: Future[Tensor] | None = None

    @property
    def bytes_sent(self) -> int:
        """By this rank so far, dense and compressed."""
        return self.workers.bytes_sent

    @torch.no_grad()
    def step(self) -> None:
        """Take the optimizer's step, and exchange. Raises CommunicationError where another rank has gone and after
        close(); and FmcompressError on all of them where one's model has an infinity or NaN: in this step, with
        delay=1 at the beginning of the next. Restart from a checkpoint then.
        """
        self.workers.check_open()
        self._check_views()
        self._receive()
        if self.iteration < self.start_iteration:
            self._dense_step()
        else:
            self.optimizer.step()
            self._send()
            if self.delay == 0:
                self._receive()
        self.iteration += 1

    def _check_views(self) -> None:
        at = self.local.data_ptr()
        for parameter, size in zip(self.parameters, _sizes(self.parameters), strict=True):
            if parameter.data_ptr() != at and parameter.numel():
                raise ConfigError("model: was moved or converted after CocktailSGD was made. Do that before.")
            at += size * parameter.element_size()

    def _dense_step(self) -> None:
        missing = [parameter for parameter in self.parameters if parameter.grad is None]
        for parameter in missing:
            parameter.grad = torch.zeros_like(parameter)
        flat = torch.cat([parameter.grad.reshape(-1) for parameter in self.parameters])  # type: ignore[union-attr]
        self.workers.mean_(flat)
        for parameter, mean in zip(self.parameters, flat.split([p.numel() for p in self.parameters]), strict=True):
            parameter.grad.copy_(mean.view_as(parameter))  # type: ignore[union-attr]
        for parameter in missing:
            if not parameter.grad.any():  # type: ignore[union-attr]
                parameter.grad = None  # which no worker has: weight decay shall not move it
        self.optimizer.step()
        if self.iteration + 1 == self.start_iteration:
            self.workers.broadcast_(self.local)  # other processors may have rounded otherwise
        self.shared.copy_(self.local)

    def _send(self) -> None:
        def compress(shard: slice, layout: ops.Layout) -> Tensor:
            return ops.compress_delta_(self.local[shard], self.shared[shard], layout)

        step = self._sent_step = self.iteration
        # all of the model, or a NaN would be noticed only when its block is sampled
        self._sent = self.mean.compress(step, compress) if finite([self.local]) else self.mean.refuse(step)
        if self.delay and all(self.mean.finite(self._sent)):  # until it arrives the model stays as it is
            self.mean.add_(self._sent, self.local, step)
        rows, after = self._sent, self._background.after(self.local.device)
        self._coming = self._background.submit(lambda: self._exchange(rows, step, after))

    def _exchange(self, rows: Tensor, step: int, after: AbstractContextManager[None]) -> Tensor:
        """In the thread, which touches nothing of the training's but these rows and the server's residual."""
        with after:
            means = self.workers.gather(self.mean.serve(self.workers.exchange(rows), step))
            if means.is_cuda:  # so that what is done can be used in any stream
                torch.cuda.current_stream().synchronize()
        return means

    def _receive(self) -> None:
        """Wait for what is on its way, and apply it."""
        if self._coming is None or self._sent is None:
            return
        means = self._coming.result()
        step = self._sent_step
        if not all(self.mean.finite(means)):
            raise FmcompressError(f"model: has an infinity or NaN on some worker after step {step}. Train more gently.")
        if self.delay:
            self.mean.add_(self._sent, self.local, step, -1.0)
        self.mean.add_(means, self.local, step)
        self.mean.add_(means, self.shared, step)
        self._sent = self._coming = None

    @torch.no_grad()
    def average_(self) -> None:
        """Give every worker the mean of all models, dense, such as at the end."""
        self.workers.check_open()
        self._receive()
        self.workers.mean_(self.local)
        self.shared.copy_(self.local)
        if self.mean.server is not None:
            self.mean.server.zero_()

    @contextmanager
    def shared_model(self) -> Iterator[None]:
        """Inside, the model's parameters are those of the shared copy, the same on all workers; for evaluation."""
        own = self.local.clone()
        self.local.copy_(self.shared)
        try:
            yield
        finally:
            self.local.copy_(own)

    def close(self) -> None:
        """Stop the thread after what is on its way, and destroy the process group. Every rank should; again: nothing.

        state_dict() still works afterwards, nothing that sends does.
        """
        self._background.close()
        self.workers.close()

    def state_dict(self) -> dict[str, Any]:
        """Everything of this rank that a restart needs beside the optimizer's state, as numbers and tensors."""
        coming = None if self._coming is None else self._coming.result()
        return {
            "iteration": self.iteration,
            **self.workers.place,
            "delay": self.delay,
            "config": repr(self.config),
            "sent_step": self._sent_step,
            "local": self.local.clone(),
            "shared": self.shared.clone(),
            "server": None if self.mean.server is None else self.mean.server.clone(),
            "sent": None if self._sent is None else self._sent.clone(),
            "coming": coming,
        }

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on from a state_dict of the same rank among as many workers. Raises ConfigError for another one's."""
        self.workers.check(state)
        for key, now in (("delay", self.delay), ("config", repr(self.config))):
            if state[key] != now:
                raise ConfigError(f"{key}: expected {now}, got a state of {state[key]}. Go on with the same options.")
        if self._coming is not None:
            self._coming.exception()  # waits: it changes the server's residual
        if state["local"].shape != self.local.shape:
            raise ConfigError(f"model: expected {self.local.numel()} elements, got {state['local'].numel()}.")
        self.iteration = state["iteration"]
        self.local.copy_(state["local"])
        self.shared.copy_(state["shared"])
        if self.mean.server is not None and state["server"] is not None:
            self.mean.server.copy_(state["server"])
        self._sent, self._coming, self._sent_step = None, None, state["sent_step"]
        if state["coming"] is not None:
            self._sent, self._coming = state["sent"].to(self.local.device), Future()
            self._coming.set_result(state["coming"].to(self.local.device))


@torch.no_grad()
def _flatten(parameters: list[nn.Parameter]) -> Tensor:
    """One tensor that holds all parameters, which become views of it."""
    kinds = {(parameter.dtype, parameter.device) for parameter in parameters}
    if len(kinds) != 1:
        found = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds)) or "none"
        raise ConfigError(f"model: expected trainable parameters of one dtype on one device, got {found}.")
    if parameters[0].dtype != torch.float32:  # small changes would be lost between local and shared copies
        raise ConfigError(
            f"model: expected float32 parameters, got {parameters[0].dtype}. Use autocast for the passes."
        )
    sizes = _sizes(parameters)
    flat = torch.zeros(sum(sizes), dtype=parameters[0].dtype, device=parameters[0].device)
    for parameter, part in zip(parameters, flat.split(sizes), strict=True):
        view = part[: parameter.numel()].view(parameter.shape)
        view.copy_(parameter)
        parameter.data = view
    return flat


def _sizes(parameters: list[nn.Parameter]) -> list[int]:
    """Elements that each parameter takes in the flat tensor."""
    return [-(-parameter.numel() // _ALIGNMENT) * _ALIGNMENT for parameter in parameters]
