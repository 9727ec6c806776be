"""Block reconstruction: the kept weights of a solved block, trained together until it gives what the dense one gave."""

import math
from collections.abc import Callable, Iterator

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .calibration import Batch, StreamedModel
from .ranks import Ranks

LEARNING_RATE = 0.03  # of a weight's root mean square, falling to 0 along a cosine
BETAS = (0.9, 0.95)


def advance_dense(streamed: StreamedModel, index: int, block: nn.Module, batches: list[Batch]) -> None:
    """Run the dense model's hidden states through a block that holds its dense weights."""
    for batch in batches:
        assert batch.dense is not None
        batch.dense = streamed.run_block(index, block, batch, batch.dense).to(batch.dense.device)


def output_error(streamed: StreamedModel, index: int, block: nn.Module, batches: list[Batch], ranks: Ranks) -> float:
    """Squared error of a block's output to the dense model's at the same place, relative to the latter's squares."""
    sums = torch.zeros(2, dtype=torch.float64)
    for batch in batches:
        error, energy = _squares(streamed.run_block(index, block, batch), batch)
        sums += torch.stack([error, energy]).double().cpu()
    error, energy = ranks.sum_(sums).tolist()
    return error / (energy or 1.0)


def train_kept(
    streamed: StreamedModel,
    index: int,
    block: nn.Module,
    batches: list[Batch],
    kept: dict[str, Tensor],
    *,
    steps: int,
    seed: int,
    ranks: Ranks,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Tensor]:
    """Weights with which a block, given the pruned model's hidden states, comes closest to the dense model's next ones.

    batches  with `dense` as it is after the block; this rank's share, of which every step takes one
    kept     name of a parameter within the block -> which of its entries may move; all others stay
    steps    of Adam; gradients are averaged over the ranks
    seed     of the order of the batches
    returns  name -> float32 weight; the block is left as it is

    Layer by layer, each weight answers for its own layer's error only; here they make up for each other's, attention
    and nonlinearities in between, and for what the blocks before have left wrong. (Reconstruction of blocks at a fixed
    mask, as in arXiv 2510.14444.)
    """
    parameters = dict(block.named_parameters())
    weights = {name: parameters[name].detach().float().clone().requires_grad_() for name in kept}
    groups = [{"params": [weights[name]], "rate": LEARNING_RATE * _scale(weights[name], kept[name])} for name in kept]
    optimizer = torch.optim.Adam(groups, lr=0.0, betas=BETAS)
    order = _passes(batches, seed, index)

    def run(hidden: Tensor, *args: object, **kwargs: object) -> object:
        moving = {n: torch.where(kept[n], w, w.detach()).to(parameters[n].dtype) for n, w in weights.items()}
        return functional_call(block, moving, (hidden, *args), kwargs)

    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        if batches:
            batch = next(order)
            with torch.enable_grad():
                error, energy = _squares(streamed.run_block(index, run, batch), batch)
                (error / energy.clamp(min=torch.finfo(torch.float32).tiny)).backward()
        _average_gradients(list(weights.values()), ranks)
        optimizer.step()
        progress(step + 1)
    return {name: weight.detach() for name, weight in weights.items()}


def _squares(output: Tensor, batch: Batch) -> tuple[Tensor, Tensor]:
    """Sums of squares, of the error and of what should have come out; padding does not count."""
    assert batch.dense is not None
    wanted = batch.dense.to(output.device).float()
    error, energy = (output.float() - wanted).square(), wanted.square()
    if batch.real is not None:
        real = batch.real.to(output.device)
        error, energy = error[real], energy[real]
    return error.sum(), energy.sum()


def _scale(weight: Tensor, kept: Tensor) -> float:
    count = max(1, int(kept.sum()))
    return math.sqrt(float(torch.where(kept, weight.detach(), 0.0).square().sum()) / count)


def _passes(batches: list[Batch], seed: int, index: int) -> Iterator[Batch]:
    """The batches in ever new orders."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + index)
    while True:
        for number in torch.randperm(len(batches), generator=generator).tolist():
            yield batches[number]


def _average_gradients(weights: list[Tensor], ranks: Ranks) -> None:
    if ranks.count == 1:
        return
    for weight in weights:
        if weight.grad is None:  # a rank without batches
            weight.grad = torch.zeros_like(weight)
        ranks.sum_(weight.grad).div_(ranks.count)
