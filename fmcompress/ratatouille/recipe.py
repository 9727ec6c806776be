"""The five steps of Model Ratatouille over any training function, and the runs that its ablations are made of."""

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from ..errors import ConfigError
from ..merging.weights import Weights, average, check_alike
from .job import FUSED, PRETRAINED, TARGET, Job, Progress, Run, Train, Validate, seed_of
from .kept import Kept, digest
from .methods import METHODS, RECYCLED, Dish, make
from .weights import check_finite, check_untied, copied, featuriser, grafted

FUSING_RANGE = 4.0  # of the released code: shares are as exp(4 u), u uniform in [0, 1)


class Ratatouille:
    """Fine-tunings of one pretrained featuriser, recycled and averaged (Ramé et al. 2023), with the paper's ablations.

    pretrained   state dict of the pretrained model, phi_pt; a head in it is not used. All weights are held on the
                 device of its first tensor, wherever `train` works
    head         the module that is the head, such as "classifier": all tensors below it
    auxiliaries  names of the auxiliary tasks
    train        (weights, Job) -> weights; see Job. It may change what it gets. It must be a function of the two alone
    validate     weights -> a number on held-out data of the target's training domains, higher is better. It is all that
                 is ever looked at for a choice: a test set is not taken
    runs         fine-tunings on the target, for each method as many
    seed         of the recipe; a job's seed comes from it
    with_pretrained  whether the pretrained featuriser is one of the starting points beside the auxiliaries', the
                 first, as in the released code; run number i starts from number i modulo how many there are
    settings     JSON that tells `train` from another one; a folder with other settings is refused
    folder       where finished trainings are kept, so that a recipe that was killed goes on; None keeps them in memory
    progress     (done, of so many that were missing, name) after each training; what the folder has is not counted
    recompute    averaged weights, of a featuriser alone where it is for fusing -> the same with BatchNorm's statistics
                 computed anew; without it models whose statistics differ are refused

    Runs of one number and one start are one training, whatever methods ask for them. Raises ConfigError for options
    that do not fit and for weights from `train` that are not what was asked for.
    """

    def __init__(
        self,
        pretrained: Weights,
        head: str,
        auxiliaries: Sequence[str],
        train: Train,
        validate: Validate,
        *,
        runs: int = 20,
        seed: int = 0,
        with_pretrained: bool = True,
        settings: Mapping[str, Any] | None = None,
        folder: str | Path | None = None,
        progress: Progress | None = None,
        recompute: Callable[[Weights], Weights] | None = None,
    ) -> None:
        _check(auxiliaries, runs)
        self.body = featuriser(copied(pretrained, "pretrained"), head)
        if not self.body:
            raise ConfigError(f"head: every tensor is below {head!r}, so that there is no featuriser. Name the head.")
        check_finite(self.body, "pretrained")
        self._device = next(iter(self.body.values())).device
        self.head, self.auxiliaries, self.runs, self.seed = head, tuple(auxiliaries), runs, seed
        self.starts = ((PRETRAINED,) if with_pretrained else ()) + self.auxiliaries
        self._train, self._validate, self._recompute = train, validate, recompute
        self._progress, self._done = progress, dict[str, Run]()
        self._missing: list[str] = []  # when cook() began
        fingerprint = {
            "pretrained": digest(self.body), "head": head, "auxiliaries": list(auxiliaries), "seed": seed,
            "with_pretrained": with_pretrained, "settings": dict(settings or {}),
        }  # fmt: skip
        self._kept = Kept(None if folder is None else Path(folder), fingerprint)

    def cook(self, *methods: str) -> dict[str, Dish]:
        """Train what is missing for the methods, all of METHODS if none is named, and make their models."""
        unknown = sorted(set(methods) - METHODS.keys())
        if unknown:
            raise ConfigError(f"{unknown[0]}: no such method. Known: {', '.join(METHODS)}.")
        asked = methods or tuple(METHODS)
        self._missing = list(dict.fromkeys(name for method in asked for name in self._missing_for(METHODS[method][0])))
        return {method: self._cook(method) for method in asked}

    def _cook(self, method: str) -> Dish:
        family, how = METHODS[method]
        return make(how, self.family(family), self.validate, self._average)

    def family(self, family: str) -> list[Run]:
        """The fine-tunings on the target that start from "pretrained", from the "recycled" featurisers, or "fused"."""
        if family not in (PRETRAINED, RECYCLED, FUSED):
            raise ConfigError(f"{family}: no such family. Known: {PRETRAINED}, {RECYCLED}, {FUSED}.")
        return [self.target(start, number) for start, number in self._starts_of(family)]

    def target(self, start: str, number: int) -> Run:
        """Step 4: the probed head on the featuriser of a start, fine-tuned on the target, all of it."""
        if start not in (PRETRAINED, FUSED, *self.auxiliaries):
            raise ConfigError(f"{start}: no such start. Known: {', '.join((PRETRAINED, FUSED, *self.auxiliaries))}.")
        job = Job("target", TARGET, start, number, seed_of(self.seed, TARGET, number))
        return self._finished(job, lambda: grafted(self._body(start, number), self.probe().weights, self.head))

    def probe(self) -> Run:
        """Step 3: a head for the target, trained on the pretrained featuriser, which must stay as it is."""
        return self._finished(Job("probe", TARGET, PRETRAINED, 0, seed_of(self.seed, "probe")), lambda: self.body)

    def auxiliary(self, task: str) -> Run:
        """Step 2: the pretrained featuriser, fine-tuned on an auxiliary task with a head of its own."""
        if task not in self.auxiliaries:
            raise ConfigError(f"{task}: no such auxiliary task. Known: {', '.join(self.auxiliaries)}.")
        job = Job("auxiliary", task, PRETRAINED, 0, seed_of(self.seed, f"auxiliary {task}"))
        return self._finished(job, lambda: self.body)

    def shares(self, number: int) -> list[float]:
        """How much of each start is in the fused featuriser of a run: exp(4 u) over their sum, u drawn by seed."""
        drawn = random.Random(seed_of(self.seed, "fusing", number))
        kappas = [math.exp(FUSING_RANGE * drawn.random()) for _ in self.starts]
        return [kappa / sum(kappas) for kappa in kappas]

    def validate(self, weights: Weights) -> float:
        """The validation of some weights. Raises ConfigError unless it is a finite number."""
        found = self._validate(weights)
        try:
            number = float(found)
        except (TypeError, ValueError, RuntimeError):  # the last of tensors
            number = math.nan
        if not math.isfinite(number):
            raise ConfigError(f"validate: expected a finite number, higher for better weights, got {found!r:.100}.")
        return number

    def _body(self, start: str, number: int) -> Weights:
        if start == PRETRAINED:
            return self.body
        if start == FUSED:
            bodies = [featuriser(self._body(one, number), self.head) for one in self.starts]
            return self._average(bodies, self.shares(number))
        return self.auxiliary(start).weights

    def _average(self, models: Sequence[Weights], shares: Sequence[float] | None = None) -> Weights:
        found = average(models, shares, statistics=self._recompute is not None)
        if self._recompute is None:
            return found
        anew = copied(self._recompute(found), "recompute", self._device)
        if len(featuriser(found, self.head)) == len(found):  # for fusing; a model that computed them has a head
            anew = featuriser(anew, self.head)
        check_alike(anew, found, "recompute")
        return anew

    def _starts_of(self, family: str) -> Iterator[tuple[str, int]]:
        for number in range(self.runs):
            yield self.starts[number % len(self.starts)] if family == RECYCLED else family, number

    def _missing_for(self, family: str) -> Iterator[str]:
        for start, number in self._starts_of(family):
            name = Job("target", TARGET, start, number, 0).name
            if not self._is_there(name):
                bodies = [one for one in (self.starts if family == FUSED else (start,)) if one != PRETRAINED]
                needed = ["probe", *(f"auxiliary-{one}" for one in bodies)]
                yield from (one for one in (*needed, name) if not self._is_there(one))

    def _is_there(self, name: str) -> bool:
        return name in self._done or self._kept.has(name)

    def _finished(self, job: Job, start: Callable[[], Weights]) -> Run:
        """The run of a job: of this process, of the folder, or trained now."""
        if job.name not in self._done:
            run = self._read(job)
            if run is None:
                run = self._trained(job, start())
                if self._progress and job.name in self._missing:
                    done = sum(name in self._done for name in self._missing) + 1
                    self._progress(done, len(self._missing), job.name)
            self._done[job.name] = run
        return self._done[job.name]

    def _read(self, job: Job) -> Run | None:
        found = self._kept.read(job.name)
        if found is None:
            return None
        weights, facts = found
        if facts.get("job") != asdict(job):
            raise ConfigError(f"{job.name}: the training kept is of another job, {facts.get('job')}. Remove it.")
        return Run(job, copied(weights, job.name, self._device), facts.get("validation"))

    def _trained(self, job: Job, start: Weights) -> Run:
        found = self._train(copied(start, job.name, self._device), job)
        weights = copied(found, job.name, self._device)
        check_untied(found, self.head, job.name)
        body = featuriser(weights, self.head)
        if job.kind == "target":
            check_alike(weights, start, job.name)
        else:
            check_alike(body, self.body, job.name)
            if len(body) == len(weights):
                raise ConfigError(f"{job.name}: expected weights with a head, {self.head!r}, got none. Return it, too.")
        if job.kind == "probe" and not all(torch.equal(body[name], one) for name, one in self.body.items()):
            raise ConfigError("probe: the featuriser has changed. Train the head alone, and freeze BatchNorm.")
        check_finite(weights, job.name)
        validation = self.validate(weights) if job.kind == "target" else None
        self._kept.write(job.name, weights, {"job": asdict(job), "validation": validation})
        return Run(job, weights, validation)


def _check(auxiliaries: Sequence[str], runs: int) -> None:
    if isinstance(auxiliaries, str) or not auxiliaries or len(set(auxiliaries)) < len(auxiliaries):
        raise ConfigError(f"auxiliaries: expected names of tasks, each once, got {auxiliaries!r}.")
    for name in auxiliaries:  # they become names of files
        if (
            not isinstance(name, str)
            or not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name)
            or name in (PRETRAINED, FUSED, TARGET)
        ):
            raise ConfigError(
                f"auxiliaries: expected letters, digits, '.', '_' and '-', and none of {PRETRAINED}, {FUSED} and "
                f"{TARGET}, got {name!r}."
            )
    if not isinstance(runs, int) or runs < 1:
        raise ConfigError(f"runs: expected a whole number, at least 1, got {runs!r}.")
