"""The mean of a flat tensor over all workers, compressed to the server of each shard and compressed back.

Every worker serves one shard: it decodes what the others send, adds what it could not send before, and compresses the
mean (CocktailSGD, Wang et al., ICML 2023; the two-sided error feedback is that of DoubleSqueeze, Tang et al. 2019)."""

import itertools
from collections.abc import Callable

import torch
from torch import Tensor

from .. import ops
from ..errors import CommunicationError, ConfigError
from .collectives import Workers
from .config import CocktailConfig

_UNIT = 128  # elements, of which a shard has a multiple
_SAME = slice(6, 56)  # of a header: everything but version, flags and checksum
MAX_WORKERS = 1 << 12  # so that a stream's number has room for the shard's


def shards_of(numel: int, workers: int) -> list[slice]:
    """The elements that each worker serves; of a small tensor the last ones may have none."""
    each = -(-numel // (_UNIT * workers)) * _UNIT
    edges = [min(numel, i * each) for i in range(workers + 1)]
    return [slice(a, b) for a, b in itertools.pairwise(edges)]


def row_bytes(numel: int, workers: int, config: CocktailConfig) -> int:
    """Of the largest shard's payload, which is what travels for each of them."""
    return max(config.payload_bytes(s.stop - s.start) for s in shards_of(numel, workers) if s.stop > s.start)


class ShardedMean:
    """How a tensor of so many elements is cut into shards, and the server's residual of this worker's own one.

    compress() on all workers, their rows exchanged, serve(), those gathered, add_(): for several tensors side by side
    the rows travel together.

    stream  tells such tensors apart, the same on all workers
    """

    def __init__(
        self, numel: int, config: CocktailConfig, workers: Workers, device: torch.device, stream: int = 0
    ) -> None:
        if workers.count > MAX_WORKERS or stream >= 1 << 20:
            raise ConfigError(f"expected at most {MAX_WORKERS} workers and {1 << 20} tensors side by side.")
        self.config, self.workers, self.stream, self.numel = config, workers, stream, numel
        self.shards = shards_of(numel, workers.count)
        self.own = self.shards[workers.rank]
        self.row_bytes = row_bytes(numel, workers.count, config)
        self.device = device
        keeps = config.error_feedback
        size = self.own.stop - self.own.start
        self.server = torch.zeros(size, dtype=config.residual_dtype, device=device) if keeps else None

    def layout(self, shard: int, step: int) -> ops.Layout:
        """How a shard that is not empty is compressed."""
        part = self.shards[shard]
        return self.config.layout(part.stop - part.start, step, self.stream * MAX_WORKERS + shard)

    def compress(self, step: int, compress: Callable[[slice, ops.Layout], Tensor]) -> Tensor:
        """A row for every server, [workers, row_bytes] uint8; compress(shard, layout) gives a payload."""
        rows = torch.zeros(self.workers.count, self.row_bytes, dtype=torch.uint8, device=self.device)
        for i, shard in enumerate(self.shards):
            if shard.stop > shard.start:
                payload = compress(shard, self.layout(i, step))
                rows[i, : len(payload)] = payload
        return rows

    def refuse(self, step: int) -> Tensor:
        """Rows that say that this worker has no numbers to send, as compress() gives them."""

        def shard(part: slice, layout: ops.Layout) -> Tensor:
            nothing = torch.full((part.stop - part.start,), torch.nan, device=self.device)
            return ops.compress_gradient_(nothing, None, layout)

        return self.compress(step, shard)

    def serve(self, received: Tensor, step: int) -> Tensor:
        """The compressed mean of this worker's shard from what all sent, [workers, row_bytes] -> [row_bytes] uint8.

        Raises CommunicationError where another worker is at another step or has another configuration.
        """
        mean = torch.zeros(self.row_bytes, dtype=torch.uint8, device=self.device)
        size = self.own.stop - self.own.start
        if size:
            layout = self.layout(self.workers.rank, step)
            own = received[self.workers.rank]
            if not torch.equal(received[:, _SAME], own[_SAME].expand(self.workers.count, -1)):
                raise CommunicationError(
                    "workers: differ in step, seed or options of the compression. Start all from the same checkpoint."
                )
            payloads = received[:, : layout.payload_bytes].contiguous()
            mean[: layout.payload_bytes] = ops.compress_mean_(payloads, self.server, size, layout)
        return mean

    def take_back_(self, row: Tensor, step: int) -> None:
        """Put what serve() has sent into the server's residual again, since nobody has used it. row [row_bytes]"""
        if self.server is not None and len(self.server):
            layout = self.layout(self.workers.rank, step)
            ops.add_payload_(row[: layout.payload_bytes].contiguous(), self.server, layout)

    def add_(self, rows: Tensor, out: Tensor, step: int, scale: float = 1.0) -> None:
        """out += scale * what rows of payloads decode to, one for each shard. out [numel]"""
        for i, shard in enumerate(self.shards):
            if shard.stop > shard.start:
                layout = self.layout(i, step)
                ops.add_payload_(rows[i, : layout.payload_bytes].contiguous(), out[shard], layout, scale=scale)

    def finite(self, rows: Tensor) -> list[bool]:
        """For every shard, whether its payload holds numbers; an empty one does."""
        return [not flag & ops.NOT_FINITE for flag in rows[:, 5].tolist()]
