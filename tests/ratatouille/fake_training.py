"""A training function that writes into the weights what was asked of it."""

import torch

from fmcompress.ratatouille import Job, Ratatouille

PRETRAINED = {"body.weight": torch.tensor([10.0]), "head.weight": torch.tensor([-1.0])}
SHIFT = {"one": 100.0, "two": 200.0}  # of the featuriser, by auxiliary task
PROBED = 7.0


class Recorder:
    """Adds a number to the featuriser that tells the job; remembers jobs and the weights that each began with."""

    def __init__(self, stop_before: str | None = None, scores=None) -> None:
        self.calls: list[tuple[Job, dict[str, float]]] = []
        self.stop_before, self.scores = stop_before, scores or {}
        self.validated: list[float] = []

    def train(self, weights, job):
        if job.name == self.stop_before:
            raise KeyboardInterrupt
        self.calls.append((job, {name: tensor.item() for name, tensor in weights.items()}))
        if job.kind == "auxiliary":
            weights["body.weight"] += SHIFT[job.task]
            return weights | {"head.weight": torch.tensor([55.0, 56.0])}
        if job.kind == "probe":
            return weights | {"head.weight": torch.tensor([PROBED])}
        weights["body.weight"] += job.number + 1
        weights["head.weight"] += job.seed % 97
        return weights

    def validate(self, weights):
        value = weights["body.weight"].item()
        self.validated.append(value)
        return self.scores.get(round(value, 3), 0.0)

    @property
    def names(self):
        return [job.name for job, _ in self.calls]

    def recipe(self, folder=None, **options):
        options = {"runs": 3, **options}
        return Ratatouille(
            PRETRAINED, "head", ["one", "two"], self.train, self.validate, folder=folder, **options
        )  # fmt: skip
