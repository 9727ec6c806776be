"""The hidden states of the calibration: at the first block of a stack, and from a block to the next."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from .calibration import BATCH_TOKENS, Batch, StreamedModel, share_equal
from .job import Job

BATCH_IMAGES = 16


def enter(job: Job, streamed: StreamedModel, stack: int, before: list[Batch]) -> list[Batch]:
    """This rank's share of the calibration, at the first block of a stack."""
    with streamed.outside_kept():
        if streamed.follows(stack):
            batches = [streamed.go_on(stack, batch) for batch in before]
        else:
            batches = [streamed.embed(part, stack=stack) for part in _parts(job, streamed.stacks[stack].kind)]
    share_equal(batches)
    return batches


def enter_dense(streamed: StreamedModel, stack: int, batches: list[Batch], before: list[Batch]) -> list[Batch]:
    """What the dense model would be given at the first block of a stack."""
    if streamed.follows(stack):
        with streamed.outside_kept():
            return [streamed.go_on(stack, batch) for batch in before]
    return [replace(batch, finals=dict(batch.finals), handed=dict(batch.handed)) for batch in batches]


def run_on(streamed: StreamedModel, index: int, block: nn.Module, batches: list[Batch]) -> None:
    """Take the hidden states of the batches through a block."""
    for batch in batches:
        batch.hidden = streamed.run_block(index, block, batch).to(batch.hidden.device)


def _parts(job: Job, kind: str) -> Sequence[Tensor | Mapping[str, Tensor]]:
    """This rank's inputs of one kind, in parts that run together; none where other ranks have them all."""
    if kind == "pairs":
        assert job.pairs is not None
        return list(job.pairs.parts(job.ranks.shard(torch.arange(len(job.pairs))), BATCH_IMAGES))
    given = job.windows if kind == "text" else job.images
    assert given is not None
    together = BATCH_IMAGES if kind == "images" else max(1, BATCH_TOKENS // given.shape[1])
    own = job.ranks.shard(given)
    return list(own.split(together)) if len(own) else []
