"""A network measured between the ranks of torch.distributed: round trips of tiny messages, transfers of large ones."""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor

from ..errors import CommunicationError, ConfigError, in_one_line
from ..gradients.collectives import Workers
from .network import Matrix, Network

REGION = "FMCOMPRESS_REGION"
SMALL_BYTES, LARGE_BYTES, REPEATS = 8, 8_000_000, 5
LEAST_SHARE = 0.01  # of a transfer's time that counts as transfer, however long the round trip is that it includes
NAME_BYTES = 256  # that a name and a region may have


def probe(
    group: dist.ProcessGroup | None = None,
    *,
    small_bytes: int = SMALL_BYTES,
    large_bytes: int = LARGE_BYTES,
    repeats: int = REPEATS,
    region: str | None = None,
    device: str | torch.device | None = None,
    timeout_s: float = 300.0,
) -> Network:
    """The network between the ranks of a group, the same on all of them; device k of it is the k-th rank.

    group        whose ranks take part; None: all
    small_bytes  of the message whose least round trip is twice the delay, the same for both directions
    large_bytes  of the message that is sent one way and answered by a small one; its least time without the round trip
                 gives the bandwidth, for each direction by itself
    repeats      of each, of which the fastest counts
    region       where this rank stands; None: $FMCOMPRESS_REGION, or the name of its host
    device       of the messages; None: the GPU of this process with NCCL, else the CPU
    timeout_s    after which a silent rank is taken for gone

    Every rank of the group must call it, at the same point. In each of the rounds, of which there are as many as ranks
    less one, every rank is one of a pair, so that no two pairs share a network card. Raises ConfigError for sizes that
    do not fit, CommunicationError where another rank has gone. With NCCL it has not run yet.
    """
    for name, value, least in (
        ("small_bytes", small_bytes, 1), ("large_bytes", large_bytes, small_bytes + 1), ("repeats", repeats, 1),
    ):  # fmt: skip
        if value < least:
            raise ConfigError(f"{name}: expected at least {least}, got {value}.")
    if not dist.is_initialized():
        raise CommunicationError("probe: torch.distributed is not initialized. Call init_process_group() first.")
    if device is None:
        device = torch.device("cuda", torch.cuda.current_device()) if dist.get_backend(group) == "nccl" else "cpu"
    try:
        with closing(Workers(group, timeout_s)) as workers:
            link = _Link(workers, torch.device(device), small_bytes, large_bytes, repeats)
            names = link.told(f"{socket.gethostname()}-{workers.rank}")
            regions = link.told(region or os.environ.get(REGION) or socket.gethostname())
            delay, speed = link.measure()
    except RuntimeError as error:
        raise CommunicationError(
            f"probe: rank {dist.get_rank(group)} of {dist.get_world_size(group)} has lost another one. See what that "
            f"one says, and start all again ({in_one_line(error)})."
        ) from None
    return Network(delay, speed, names, regions)


def probe_under_torchrun(
    *,
    small_bytes: int = SMALL_BYTES,
    large_bytes: int = LARGE_BYTES,
    repeats: int = REPEATS,
    region: str | None = None,
    device: str = "cpu",
    timeout_s: float = 300.0,
) -> Network | None:
    """The network between the processes that torchrun has started, on rank 0; None on the others.

    As probe; device "cuda" takes a GPU for each process and NCCL. Makes and destroys the process group. Of an error one
    rank tells, the others exit with code 1. Raises ConfigError for one process alone.
    """
    from ..ranks import Ranks

    ranks = Ranks.of_environment()
    if ranks.count == 1:
        raise ConfigError(
            "probe: expected several processes, got one. Start it on every machine with torchrun: torchrun --nnodes N "
            "--nproc-per-node 1 --rdzv-endpoint HOST:PORT -m fmcompress schedule probe …"
        )
    with ranks:
        place = ranks.device(torch.device(device))
        network = probe(
            small_bytes=small_bytes, large_bytes=large_bytes, repeats=repeats, region=region, device=place,
            timeout_s=timeout_s,
        )  # fmt: skip
        return network if ranks.is_writer else None


def rounds(count: int) -> Iterator[list[tuple[int, int]]]:
    """All pairs of so many ranks in rounds in which each meets one other at most (the circle method).

    One rank stays, the others move on by a place: count - 1 rounds, or count where one has to sit out.
    """
    seats: list[int] = [*range(count), *[-1] * (count % 2)]
    for _ in range(len(seats) - 1):
        half = len(seats) // 2
        pairs = zip(seats[:half], reversed(seats[half:]), strict=True)
        yield [(min(pair), max(pair)) for pair in pairs if min(pair) >= 0]
        seats = [seats[0], seats[-1], *seats[1:-1]]


@dataclass
class _Link:
    """How one rank measures what is between it and the others."""

    workers: Workers
    device: torch.device
    small_bytes: int
    large_bytes: int
    repeats: int

    def told(self, own: str) -> tuple[str, ...]:
        """The texts of all ranks."""
        raw = bytearray(own.encode()[:NAME_BYTES].ljust(NAME_BYTES, b"\0"))
        rows = self.workers.gather(torch.frombuffer(raw, dtype=torch.uint8).to(self.device))
        return tuple(bytes(row).rstrip(b"\0").decode(errors="replace") for row in rows.tolist())

    def measure(self) -> tuple[Matrix, Matrix]:
        """[ranks, ranks] s of delay and bits a second."""
        count, own = self.workers.count, self.workers.rank
        sizes = self.small_bytes, self.large_bytes
        small, large = (torch.zeros(size, dtype=torch.uint8, device=self.device) for size in sizes)
        times = torch.zeros(2, count, dtype=torch.float64)  # of round trips of either, from this rank
        for pairs in rounds(count):
            self.workers.gather(small).tolist()  # until all are here
            for pair in pairs:
                if own not in pair:
                    continue
                peer = sum(pair) - own
                for asks in (own < peer, own > peer):  # one direction after the other
                    for message, row in ((small, times[0]), (large, times[1])):
                        seconds = [self._run(asks, message, small, peer) for _ in range(self.repeats + 1)]
                        row[peer] = min(seconds) if asks else row[peer]  # the first one opens connections
        trips, whole = self.workers.gather(times.view(-1).to(self.device)).view(count, 2, count).unbind(1)
        trips = torch.minimum(trips, trips.T)
        sent = torch.maximum(whole - trips, LEAST_SHARE * whole).fill_diagonal_(1.0)
        return (trips / 2).cpu().numpy(), (8 * self.large_bytes / sent).cpu().numpy()

    def _run(self, asks: bool, message: Tensor, answer: Tensor, peer: int) -> float:
        """Send a message and wait for the answer, or the other way round; the seconds of that."""
        begin = time.perf_counter()
        if asks:
            dist.send(message, group=self.workers.group, group_dst=peer)
            dist.recv(answer, group=self.workers.group, group_src=peer)
        else:
            dist.recv(message, group=self.workers.group, group_src=peer)
            dist.send(answer, group=self.workers.group, group_dst=peer)
        if self.device.type == "cuda":  # both have only been queued
            torch.cuda.synchronize(self.device)
        return time.perf_counter() - begin
