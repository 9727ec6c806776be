"""Training of a prompt on labelled and pseudo-labelled images: SGD, warm-up, cosine."""

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from ..errors import CalibrationError
from .prompt_models import PromptModel

MOMENTUM = 0.9
CHUNK = {"embeddings": 8192, "pixels": 256}  # images at a time without gradients
Observer = Callable[[int, float], None]  # epoch from 0, its mean loss


@dataclass(frozen=True)
class Schedule:
    """How long and how fast: what the released code's settings hold, and a step's images.

    lr             of SGD at its highest
    weight_decay   of SGD, and its momentum is 0.9
    warmup_epochs  over which the rate rises linearly from 0, before it falls as a cosine
    """

    epochs: int
    batch_size: int
    lr: float
    weight_decay: float
    warmup_epochs: int


@dataclass(frozen=True)
class Examples:
    """What is trained on, as rows of one pool of images.

    rows      [examples] int64, of the pool
    classes   [examples] int64, numbers of all classes
    labelled  [examples] bool: a person's label, not a pseudo-label
    weights   of the mean loss of labelled examples of a batch, and of that of pseudo-labelled ones
    among     [classes] int64: which classes are told apart
    """

    rows: Tensor
    classes: Tensor
    labelled: Tensor
    weights: tuple[float, float]
    among: Tensor


def lr_factor(epoch: int, epochs: int, warmup_epochs: int = 5) -> float:
    """Of the highest rate, in an epoch from 0: 0 at first, 1 after the warm-up, 0 at the end."""
    if epoch < warmup_epochs:
        return epoch / warmup_epochs
    return 0.5 * (1 + math.cos(math.pi * (epoch - warmup_epochs) / (epochs - warmup_epochs)))


def train(
    model: PromptModel,
    pool: Tensor,
    examples: Examples,
    schedule: Schedule,
    generator: torch.Generator,
    observer: Observer | None = None,
) -> list[float]:
    """Train the prompt in place on examples of a pool of images; returns each epoch's mean loss.

    pool       as the model takes them, on its device
    generator  on the CPU, draws the order of examples

    Raises CalibrationError if the loss is no finite number.
    """
    parameters = [one for one in model.parameters() if one.requires_grad]
    optimizer = torch.optim.SGD(parameters, schedule.lr, MOMENTUM, weight_decay=schedule.weight_decay)
    where = torch.full((int(examples.among.max()) + 1,), -1, device=pool.device)
    where[examples.among] = torch.arange(len(examples.among), device=pool.device)
    targets, losses = where[examples.classes], []
    for epoch in range(schedule.epochs):
        for group in optimizer.param_groups:
            group["lr"] = schedule.lr * lr_factor(epoch, schedule.epochs, schedule.warmup_epochs)
        order, total, steps = torch.randperm(len(examples.rows), generator=generator).to(pool.device), 0.0, 0
        for part in order.split(schedule.batch_size):
            logits = model.logits(pool[examples.rows[part]], examples.among)
            each = nn.functional.cross_entropy(logits, targets[part], reduction="none")
            loss = _weighted(each, examples.labelled[part], examples.weights)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total, steps = total + float(loss.detach()), steps + 1
        losses.append(total / steps)
        if not math.isfinite(losses[-1]):
            raise CalibrationError(f"epoch {epoch}: the loss is {losses[-1]}. Lower lr.")
        if observer:
            observer(epoch, losses[-1])
    return losses


def probabilities(model: PromptModel, images: Tensor, classes: Tensor, *, zero_shot: bool = False) -> Tensor:
    """[images, classes] of each image to be of each of some classes, and of no other; with the prompt, or without."""
    return scores(model, images, classes, zero_shot=zero_shot).softmax(dim=-1)


@torch.no_grad()
def scores(model: PromptModel, images: Tensor, classes: Tensor, *, zero_shot: bool = False) -> Tensor:
    """[images, classes] logits, some images at a time."""
    score = model.zero_shot if zero_shot else model.logits
    return torch.cat([score(part.to(model.device), classes) for part in images.split(CHUNK[model.takes])])


def _weighted(losses: Tensor, labelled: Tensor, weights: tuple[float, float]) -> Tensor:
    """The means of both kinds in a batch, weighted; a kind that the batch lacks counts nothing."""
    total = losses.new_zeros(())
    for weight, chosen in zip(weights, (labelled, ~labelled), strict=True):
        if weight and chosen.any():
            total = total + weight * losses[chosen].mean()
    return total
