"""Bytes between the workers of a group, with an error that a person can act on when one of them is gone."""

from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import CommunicationError, ConfigError, in_one_line

# the name in new versions of torch, and in old ones
_all_gather: Callable[..., Any] = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


class Workers:
    """A process group of its own, so that its collectives never meet those of the trainer out of turn.

    group      whose ranks take part; None: all
    timeout_s  after which a worker that does not answer is taken for gone

    Every rank of the group must build it, at the same point of the program. All methods that send raise
    CommunicationError where another worker has gone, and after close().
    """

    def __init__(self, group: dist.ProcessGroup | None = None, timeout_s: float = 300.0) -> None:
        if not dist.is_initialized():
            raise CommunicationError("torch.distributed: is not initialized. Call init_process_group() first.")
        ranks = None if group is None else dist.get_process_group_ranks(group)
        backend = dist.get_backend(group)
        limit = timedelta(seconds=timeout_s)  # each group of ranks by itself, where there are several
        self.group = dist.new_group(ranks, limit, backend, use_local_synchronization=ranks is not None)
        self.rank, self.count = dist.get_rank(self.group), dist.get_world_size(self.group)
        self.bytes_sent = 0
        self._closed = False

    def close(self) -> None:
        """Destroy the process group; every rank should, at the same point. Again: nothing."""
        if not self._closed and dist.is_initialized():
            with suppress(ValueError):  # the trainer has destroyed all groups before
                dist.destroy_process_group(self.group)
        self._closed = True

    def check_open(self) -> None:
        """Raise CommunicationError after close()."""
        if self._closed:
            raise CommunicationError("workers: close() was called. Make a new object, from a state_dict, to go on.")

    @property
    def place(self) -> dict[str, int]:
        """What a saved state says of where it was."""
        return {"rank": self.rank, "workers": self.count}

    def check(self, state: dict[str, Any]) -> None:
        """Raise ConfigError unless a saved state is of this rank among as many workers."""
        for key, own in self.place.items():
            if state[key] != own:
                raise ConfigError(f"{key}: expected a state saved with {key} {own}, got {state[key]}. Load its own.")

    def exchange(self, rows: Tensor) -> Tensor:
        """Row j of every worker's [workers, n] goes to worker j, which gets [workers, n]."""
        received = torch.empty_like(rows)
        self._run("all-to-all", dist.all_to_all_single, received, rows)
        self.bytes_sent += rows.nbytes // self.count * (self.count - 1)
        return received

    def gather(self, row: Tensor) -> Tensor:
        """[n] of every worker to all of them, [workers, n]."""
        received = row.new_empty(self.count, len(row))
        self._run("all-gather", _all_gather, received.view(-1), row)
        self.bytes_sent += row.nbytes * (self.count - 1)
        return received

    def mean_(self, tensor: Tensor) -> None:
        """The mean over the workers, in place."""
        tensor.div_(self.count)  # first, so that halves do not overflow
        self._run("all-reduce", dist.all_reduce, tensor)
        self.bytes_sent += 2 * tensor.nbytes * (self.count - 1) // self.count  # a ring's

    def ordered_mean(self, tensor: Tensor) -> Tensor:
        """The mean over the workers, summed in their order wherever an element stands, unlike a ring's. [n] -> [n]"""
        each = -(-len(tensor) // self.count)
        rows = torch.nn.functional.pad(tensor, (0, each * self.count - len(tensor))).view(self.count, each)
        total = torch.zeros_like(rows[0], dtype=torch.float32)
        for part in self.exchange(rows):
            total += part
        return self.gather((total / self.count).to(tensor.dtype)).view(-1)[: len(tensor)]

    def agree(self, flag: Tensor) -> bool:
        """Whether a flag holds on all workers. flag [] bool"""
        return bool(self.gather(flag.view(1).to(torch.uint8)).all())

    def broadcast_(self, tensor: Tensor) -> None:
        """The first worker's to all, in place."""
        first = dist.get_global_rank(self.group, 0)
        self._run("broadcast", dist.broadcast, tensor, first)

    def _run(self, name: str, collective: Callable[..., Any], *tensors: Any) -> None:
        self.check_open()
        try:
            collective(*tensors, group=self.group)
        except RuntimeError as error:
            raise CommunicationError(
                f"{name} of {self.count} workers: failed on rank {self.rank}. Another one has stopped or cannot be "
                f"reached; restart all of them from the last checkpoint ({in_one_line(error)})."
            ) from None
