"""A search for the sparsity of each layer (as EvoPress, arXiv 2410.14649): by the KL divergence to the dense model."""

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..config import PruneConfig
from ..divergence import kl_, log_probabilities
from ..errors import ConfigError
from ..evaluation import Hidden, final_hidden, perplexity, windows_at_once
from ..job import Job, Observer
from ..pipeline import compress_checkpoint
from ..shares import Allocation
from .budget import exact_shares
from .evolution import Candidate, Space, evolve
from .levels import Level, MixedReader

PART_TOKENS = 4096  # of the calibration text, by which the candidates of a generation are compared


class Divergence:
    """The mean KL(dense || candidate) in nats a token, on calibration windows [count, length].

    One block is in memory at a time, and the final hidden states of two models on a part of the windows. Raises
    CheckpointError where outputs are NaN.
    """

    def __init__(self, job: Job, levels: Sequence[Level], layers: Sequence[str], seed: int) -> None:
        assert job.streamed is not None
        assert job.windows is not None
        self.streamed, self.windows, self.levels, self.layers = job.streamed, job.windows, levels, layers
        self._chance = random.Random(seed)

    def on_a_part(self, candidates: Sequence[Candidate]) -> list[float]:
        """Of several candidates, on the same windows, which are drawn anew each time."""
        count = min(len(self.windows), max(1, PART_TOKENS // self.windows.shape[1]))
        return self._mean(self.windows[self._chance.sample(range(len(self.windows)), count)], candidates)

    def on_all(self, candidates: Sequence[Candidate]) -> list[float]:
        """Of several candidates, on all windows."""
        return self._mean(self.windows, candidates)

    def _mean(self, windows: Tensor, candidates: Sequence[Candidate]) -> list[float]:
        sums = [0.0] * len(candidates)
        for part in windows.split(windows_at_once([self.streamed] * 2, windows.shape[1])):
            dense = final_hidden(self.streamed, part)
            for number, candidate in enumerate(candidates):
                sums[number] += self._sum(dense, final_hidden(self.streamed, part, source=self._reader(candidate)))
        predicted = len(windows) * (windows.shape[1] - 1)
        return [perplexity(total / predicted, self.streamed.checkpoint.folder)[1] for total in sums]  # raises for NaN

    def _reader(self, candidate: Candidate) -> MixedReader:
        chosen = {name: self.levels[level].checkpoint for name, level in zip(self.layers, candidate, strict=True)}
        return MixedReader(self.streamed.checkpoint, chosen)

    def _sum(self, dense: Hidden, pruned: Hidden) -> float:
        pairs = log_probabilities(self.streamed, dense, self.streamed, pruned)
        return sum(float(kl_(log_p, log_q).sum(dtype=torch.float64)) for log_p, log_q, _ in pairs)


def allocate_by_search(
    job: Job,
    levels: Sequence[Level],
    *,
    generations: int,
    offspring: int,
    progress: Callable[[int, float], None] = lambda generation, best: None,
) -> Allocation:
    """Search how to share the zeros among layers of equally many weights.

    job       a run of PruneConfig with a sparsity; nothing of it is pruned
    levels    by rising sparsity in equal steps, as open_levels gives them; all layers begin at the job's sparsity
    progress  called with the number of finished generations and the divergence of the best on a part of the text

    What was found is kept only if it diverges less than equal sparsities on all of the calibration text. Raises
    ConfigError if there is nothing to exchange, CheckpointError if the model predicts no next token.
    """
    config = job.config
    assert isinstance(config, PruneConfig)
    sparsity = config.sparsity
    assert sparsity is not None
    weights = searched_layers(job)
    names, strange = list(weights), levels[0].layers ^ weights.keys()
    if strange:
        raise ConfigError(
            f"levels: they and the chosen layers of the language model differ, {min(strange)} first. "
            "Give the same --include and --exclude."
        )
    middle = min(range(len(levels)), key=lambda number: abs(levels[number].sparsity - sparsity))
    divergence, even = Divergence(job, levels, names, config.seed), (middle,) * len(names)
    found = evolve(
        even,
        Space(list(weights.values()), len(levels)),
        divergence.on_a_part,
        generations=generations,
        offspring=offspring,
        seed=config.seed,
        progress=progress,
    )
    before, after = divergence.on_all([even, found])
    best = found if after < before else even
    shares = {name: levels[level].sparsity for name, level in zip(names, best, strict=True)}
    told: dict[str, Any] = {
        "levels": [level.sparsity for level in levels],
        "level_methods": sorted({level.method for level in levels}),
        "generations": generations,
        "offspring": offspring,
        "kl_even": before,
        "kl": min(before, after),
    }
    return Allocation(sparsity, "search", exact_shares(shares, weights, sparsity), told)


def searched_layers(job: Job) -> dict[str, int]:
    """The chosen layers of a language model, and how many weights each has.

    Raises CheckpointError if the model predicts no next token, ConfigError if no two layers can exchange anything.
    """
    assert job.streamed is not None
    layers = [layer for index in job.streamed.text_blocks for layer in job.layers[index].values()]
    weights = {layer.tensor: layer.rows * layer.cols for layer in layers}
    if len(set(weights.values())) == len(weights):
        raise ConfigError(
            "search: no two layers have equally many weights, so none can be exchanged. Loosen --include and "
            "--exclude, or use --method owl."
        )
    return weights


def make_levels(
    ready: Callable[[PruneConfig], Job],
    config: PruneConfig,
    sparsities: Sequence[float],
    folder: Path,
    watch: Callable[[Job], AbstractContextManager[Observer]],
) -> list[Path]:
    """Prune a model to several sparsities into folders of `folder`, which must have room for them.

    ready  makes a run of options
    watch  gives who watches a run
    """
    made = []
    for sparsity in sparsities:
        made.append(folder / f"{sparsity:g}")
        job = ready(config.model_copy(update={"sparsity": sparsity}))
        with watch(job) as observer:
            compress_checkpoint(job, made[-1], observer)
    return made
