"""A small convolutional network without BatchNorm, and how it is trained and validated: weights in, weights out."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice

import torch
from domains import TASKS, Material, Part, looked_at
from torch import Tensor, nn
from torch.nn import functional

from fmcompress.ratatouille import Job

Weights = Mapping[str, Tensor]
HEAD, DIGITS = "head", 10


@dataclass(frozen=True)
class Settings:
    """Steps and learning rates of Adam, chosen on seeds that are in no table. Target runs differ by number.

    rates and decays  of a target run: number 0 has the first of each; later ones draw theirs, as DiWA does
    """

    pretraining: tuple[int, float] = (600, 2e-3)
    auxiliary: tuple[int, float] = (300, 1e-3)
    probe: tuple[int, float] = (200, 5e-3)
    target: int = 200
    rates: tuple[float, ...] = (1e-3, 5e-4, 2e-3)
    decays: tuple[float, ...] = (0.0, 1e-4, 1e-6)
    batch: int = 64
    pretraining_batch: int = 128


class Network(nn.Module):
    """25,000 weights: two convolutions, a layer of 64, and a head."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 4, stride=2, padding=1), nn.GroupNorm(4, 16), nn.ReLU(),
            nn.Conv2d(16, 32, 3, padding=1), nn.GroupNorm(4, 32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Linear(288, 64), nn.LayerNorm(64), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(64, classes)

    def forward(self, images: Tensor) -> Tensor:
        return self.head(self.body(images))


def network(weights: Weights, classes: int, seed: int = 0) -> Network:
    """A network with those weights; what they lack, such as the head, is drawn by the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        made = Network(classes)
    made.load_state_dict({**made.state_dict(), **weights})
    return made


Batches = Callable[[torch.Generator], Iterator[Part]]


def shuffled(part: Part, batch: int) -> Batches:
    """Batches of a part without end, all rows before any comes again."""

    def batches(generator: torch.Generator) -> Iterator[Part]:
        while True:
            order = torch.randperm(len(part.labels), generator=generator)
            for begin in range(0, len(order) - batch + 1, batch):
                rows = order[begin : begin + batch]
                yield part.rows(rows)

    return batches


def fit(made: nn.Module, batches: Batches, steps: int, rate: float, seed: int, decay: float = 0.0) -> None:
    """Adam on the parameters of a network, with a rate that falls to 0 as a cosine, on batches of the seed."""
    optimizer = torch.optim.Adam(made.parameters(), lr=rate, weight_decay=decay, fused=True)
    falling = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    for part in islice(batches(torch.Generator().manual_seed(seed)), steps):
        loss = functional.cross_entropy(made(part.images), part.labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        falling.step()


def pretrained(grey: Part, settings: Settings, seed: int) -> dict[str, Tensor]:
    """The model that everything begins with: it knows other images of digits, in shades of grey."""

    def batches(generator: torch.Generator) -> Iterator[Part]:
        while True:
            some = torch.randint(len(grey.labels), (settings.pretraining_batch,), generator=generator)
            yield looked_at(grey.rows(some), generator)

    made = network({}, DIGITS, seed)
    fit(made, batches, *settings.pretraining, seed)
    return dict(made.state_dict())


class Cook:
    """The training function and the validation of a recipe: it has the training domains, and never the one left out.

    auxiliary  what was trained on auxiliary tasks, which is the same whatever domain is left out; filled
    """

    def __init__(
        self, material: Material, train: Part, valid: Part, settings: Settings, auxiliary: dict[str, Weights]
    ) -> None:
        self.material, self.part, self.valid, self.settings = material, train, valid, settings
        self.auxiliary = auxiliary

    def train(self, weights: Weights, job: Job) -> Weights:
        """See fmcompress.ratatouille.Job."""
        settings = self.settings
        if job.kind == "auxiliary":
            if job.name in self.auxiliary:
                return self.auxiliary[job.name]
            made = network(weights, TASKS[job.task][1], job.seed)
            fit(made, shuffled(self.material.auxiliary[job.task], settings.batch), *settings.auxiliary, job.seed)
            self.auxiliary[job.name] = made.state_dict()
        elif job.kind == "probe":
            made = network(weights, DIGITS, job.seed)
            with torch.no_grad():
                features = made.body(self.part.images)
            fit(made.head, shuffled(Part(features, self.part.labels), settings.batch), *settings.probe, job.seed)
        else:
            made = network(weights, DIGITS)
            drawn = torch.Generator().manual_seed(job.seed)
            rate, decay = (
                many[int(torch.randint(len(many), (), generator=drawn)) if job.number else 0]
                for many in (settings.rates, settings.decays)
            )
            fit(made, shuffled(self.part, settings.batch), settings.target, rate, job.seed, decay)
        return made.state_dict()

    def validate(self, weights: Weights) -> float:
        """Accuracy on held-out images of the training domains."""
        return accuracy(outputs(weights, self.valid.images), self.valid.labels)


@torch.no_grad()
def outputs(weights: Weights, images: Tensor) -> Tensor:
    """Probabilities [rows, 10]."""
    return network(weights, DIGITS)(images).softmax(-1)


def accuracy(probabilities: Tensor, labels: Tensor) -> float:
    return float((probabilities.argmax(-1) == labels).double().mean())
