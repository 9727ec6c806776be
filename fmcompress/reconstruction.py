"""Block reconstruction: the kept weights of a solved block, trained together until it gives what the dense one gave."""

import math
from collections.abc import Callable, Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.func import functional_call

from .calibration import Batch, Place, StreamedModel
from .ranks import Ranks

LEARNING_RATE = 0.03  # of a weight's root mean square, falling to 0 along a cosine
BETAS = (0.9, 0.95)


def output_error(
    streamed: StreamedModel,
    index: int,
    block: nn.Module,
    batches: Sequence[Batch],
    wanted: Sequence[Tensor],
    ranks: Ranks,
) -> float:
    """Squared error of a block's outputs, relative to the squares of those that are wanted, over all ranks.

    wanted  per batch [sequences, length, width]
    """
    sums = torch.zeros(2, dtype=torch.float64)
    for batch, target in zip(batches, wanted, strict=True):
        sums += torch.stack(_squares(streamed.run_block(index, block, batch), target, batch.real)).double().cpu()
    error, energy = ranks.sum_(sums).tolist()
    return error / (energy or 1.0)


def kept_entries(block: nn.Module, places: Sequence[Place]) -> dict[str, Tensor]:
    """Name of a parameter within a block -> [as the parameter] bool, its entries of these places that are not 0."""
    names = dict.fromkeys(place.name_in(block) for place in places)  # in an order that is the same on all ranks
    kept = {name: torch.zeros_like(block.get_parameter(name), dtype=torch.bool) for name in names}
    for place in places:
        place.within(kept[place.name_in(block)]).copy_(place.weight != 0)
    return kept


def train_kept(
    streamed: StreamedModel,
    index: int,
    block: nn.Module,
    batches: Sequence[Batch],
    wanted: Sequence[Tensor],
    kept: dict[str, Tensor],
    *,
    steps: int,
    seed: int,
    ranks: Ranks,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[str, Tensor]:
    """Weights with which a block, given the pruned model's hidden states, comes closest to the dense model's output.

    batches  this rank's share, of which every step takes one
    wanted   per batch what the dense model's block gives, [sequences, length, width]
    kept     name of a parameter within the block -> which of its entries may move; all others stay
    steps    of Adam; gradients are averaged over the ranks
    seed     of the order of the batches
    returns  name -> float32 weight; the block itself is left as it is

    Layer by layer, a weight answers for its own layer's error only; here the layers make up for each other's, with
    attention and nonlinearities in between, and for what the blocks before have left wrong. (At a fixed mask, as in
    arXiv 2510.14444.)
    """
    parameters = dict(block.named_parameters())
    weights = {name: parameters[name].detach().float().clone().requires_grad_() for name in kept}
    groups = [{"params": [weights[name]], "rate": LEARNING_RATE * _scale(weights[name], kept[name])} for name in kept]
    optimizer = torch.optim.Adam(groups, lr=0.0, betas=BETAS)
    order = _passes(len(batches), seed, index)

    def run(*args: object, **kwargs: object) -> object:
        moving = {n: torch.where(kept[n], w, w.detach()).to(parameters[n].dtype) for n, w in weights.items()}
        return functional_call(block, moving, args, kwargs)

    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = group["rate"] * (1 + math.cos(math.pi * step / steps)) / 2
        optimizer.zero_grad()
        if batches:
            number = next(order)
            with torch.enable_grad():
                output = streamed.run_block(index, run, batches[number])
                error, energy = _squares(output, wanted[number], batches[number].real)
                # a token's share each: of all of them together gradients would be too small for float16, and for Adam
                loss = error / energy.clamp(min=torch.finfo(torch.float32).tiny) * (output.numel() / output.shape[-1])
                loss.backward()
        _average_gradients(list(weights.values()), ranks)
        optimizer.step()
        progress(step + 1)
    return {name: weight.detach() for name, weight in weights.items()}


def _squares(output: Tensor, wanted: Tensor, real: Tensor | None) -> tuple[Tensor, Tensor]:
    """Sums of squares, of the error and of what should have come out; padding does not count."""
    wanted = wanted.to(output.device).float()
    error, energy = (output.float() - wanted).square(), wanted.square()
    if real is not None:
        error, energy = error[real.to(error.device)], energy[real.to(error.device)]
    return error.sum(), energy.sum()


def _scale(weight: Tensor, kept: Tensor) -> float:
    """Root mean square of what may move."""
    return math.sqrt(float(torch.where(kept, weight.detach(), 0.0).square().sum()) / max(1, int(kept.sum())))


def _passes(count: int, seed: int, index: int) -> Iterator[int]:
    """The numbers below `count` in ever new orders."""
    generator = torch.Generator().manual_seed(1_000_003 * seed + index)
    while True:
        yield from torch.randperm(count, generator=generator).tolist()


def _average_gradients(weights: Sequence[Tensor], ranks: Ranks) -> None:
    if ranks.count == 1:
        return
    for weight in weights:
        if weight.grad is None:  # a rank without batches
            weight.grad = torch.zeros_like(weight)
        ranks.sum_(weight.grad).div_(ranks.count)
