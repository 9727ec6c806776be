"""Prompts tuned by a model's own pseudo-labels: FPL, IFPL and GRIP (Menghini et al. 2023), for any prompt."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .prompt_models import PromptModel
from .prompt_training import Examples, Schedule, probabilities, train
from .pseudolabel_config import PseudolabelConfig
from .pseudolabels import PseudoLabels, grip_schedule, select_topk
from .tuned import Evaluation, Iteration, Tuned, as_images, evaluation, predict
from .vectors import Labels, as_labels

HELD_OUT_FROM = 10  # pseudo-labels a class, in the released code
Observer = Callable[[int, int, int, float], None]  # iteration from 0, iterations, epoch from 0, its loss


def fit(
    model: PromptModel,
    unlabelled: Any,
    classes: Sequence[str],
    config: PseudolabelConfig | None = None,
    *,
    labelled: Any = None,
    labels: Any = None,
    seen: Sequence[int] | None = None,
    truth: Any = None,
    evaluate: tuple[Any, Any] | None = None,
    observer: Observer | None = None,
    **options: Any,
) -> Tuned:
    """Tune a model's prompt on images without labels, beside those with labels where the paradigm has some.

    model       is trained in place; its towers stay as they are
    unlabelled  [images, dim] embeddings of length 1 or [images, channels, height, width] pixels, as the model takes
    classes     names of the model's classes
    config      how; `options` change single values of it, such as strategy="fpl"
    labelled    images with labels, and
    labels      [images] int64, numbers of classes; both None in "ul"
    seen        numbers of the classes that have labels, in "trzsl"; those among the labels without
    truth       [images] int64, the unlabelled images' classes, to tell how true pseudo-labels are; never trained on
    evaluate    images and their classes to measure on after each training; never trained on
    observer    is told of each epoch

    Raises ConfigError for anything that does not fit, CalibrationError if training diverges.
    """
    config = (config or PseudolabelConfig()).changed(**options)
    task = _Task(model, tuple(classes), config, unlabelled, labelled, labels, seen, truth, evaluate)
    ks = task.schedule()
    shares = probabilities(model, task.free, task.targets, zero_shot=True) if ks[0] else None
    history: list[Iteration] = []
    for number, k in enumerate(ks):
        picked = task.pick(shares, k)
        if config.reinit:
            model.reset(torch.Generator().manual_seed(config.seed))
        told = None if observer is None else _numbered(observer, number, len(ks))
        history.append(task.train(picked, k, number, told))
        if number + 1 < len(ks):
            shares = probabilities(model, task.free, task.targets)
    return Tuned(model, config, task.classes, task.seen, task.zero_shot, tuple(history))


class _Task:
    """What is given to fit, checked, and what each iteration needs of it."""

    def __init__(
        self, model: PromptModel, classes: tuple[str, ...], config: PseudolabelConfig, unlabelled: Any, labelled: Any,
        labels: Any, seen: Sequence[int] | None, truth: Any, evaluate: tuple[Any, Any] | None,
    ) -> None:  # fmt: skip
        self.model, self.classes, self.config = model, classes, config
        if len(classes) != model.class_count or len(set(classes)) != len(classes):
            raise ConfigError(f"classes: expected {model.class_count} different names, got {len(set(classes))}.")
        free = as_images(model, unlabelled, "unlabelled")
        known, self.labels = self._labelled(labelled, labels)
        if known.shape[1:] != free.shape[1:] and len(known):
            raise ConfigError(
                f"labelled: expected images of {list(free.shape[1:])}, as the unlabelled, got {list(known.shape[1:])}."
            )
        self.count = len(free)
        self.pool = torch.cat([free, known]) if len(known) else free
        self.pool = self.pool.to(model.device)
        self.free = self.pool[: self.count]
        self.seen = self._seen(seen) if config.paradigm == "trzsl" else None
        unseen = [number for number in range(len(classes)) if number not in (self.seen or ())]
        self.targets = torch.tensor(unseen, device=model.device)  # classes that pseudo-labels may be of
        self.truth = None if truth is None else as_labels(truth, "truth", self.count, len(classes))
        self.test = None if evaluate is None else (as_images(model, evaluate[0], "evaluate"), evaluate[1])
        self.zero_shot = self.evaluation(zero_shot=True)

    def schedule(self) -> tuple[int, ...]:
        """Pseudo-labels a class in each iteration; one 0 for labelled images alone."""
        config = self.config
        if config.strategy == "labelled":
            return (0,)
        if config.strategy == "grip":
            return grip_schedule(self.count, len(self.targets), config.iterations)
        return (config.k,) * (1 if config.strategy == "fpl" else config.iterations)

    def pick(self, shares: Tensor | None, k: int) -> PseudoLabels:
        """The pseudo-labels of probabilities among the target classes, as numbers of all classes."""
        if shares is None:
            nothing = np.zeros(0, np.int64)
            return PseudoLabels(nothing, nothing, np.zeros(0, np.float32))
        found = select_topk(shares.cpu().numpy(), k, self.config.select)
        return replace(found, classes=self.targets.cpu().numpy()[found.classes])

    def train(
        self, picked: PseudoLabels, k: int, number: int, observer: Callable[[int, float], None] | None
    ) -> Iteration:
        """Train on the labelled images and on pseudo-labels, and measure."""
        config = self.config
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + number)
        order = np.arange(len(picked))
        held = int(config.validation * len(picked)) if k >= HELD_OUT_FROM else 0
        if held:
            order = torch.randperm(len(picked), generator=generator).numpy()
        used, out = np.sort(order[held:]), order[:held]
        rows = np.concatenate([picked.images[used], np.arange(self.count, len(self.pool))])
        examples = Examples(
            self._tensor(rows),
            self._tensor(np.concatenate([picked.classes[used], self.labels])),
            self._tensor(rows >= self.count),
            config.loss_weights(len(self.labels), len(used)),
            self._among(len(picked)),
        )
        lr = self.model.lr if config.lr is None else config.lr
        schedule = Schedule(config.epochs, config.batch_size, lr, config.weight_decay, config.warmup_epochs)
        losses = train(self.model, self.pool, examples, schedule, generator, observer)
        held_right = None
        if held:
            held_right = float((predict(self.model, self.free[picked.images[out]]) == picked.classes[out]).mean())
        right = None if self.truth is None else self.truth[picked.images] == picked.classes
        return Iteration(
            k,
            picked,
            tuple(losses),
            float(right.mean()) if right is not None and len(right) else None,
            None if right is None else _by_class(right, picked.classes, len(self.classes)),
            held_right,
            self.evaluation(),
        )

    def evaluation(self, *, zero_shot: bool = False) -> Evaluation | None:
        """On the images to evaluate on, if there are some."""
        if self.test is None:
            return None
        predicted = predict(self.model, self.test[0], zero_shot=zero_shot)
        return evaluation(predicted, self.test[1], len(self.classes), self.seen)

    def _among(self, pseudo: int) -> Tensor:
        """The classes to tell apart in training: all, or those that have labels if only these are trained on."""
        if self.seen is not None and not pseudo:
            return torch.tensor(self.seen, device=self.model.device)
        return torch.arange(len(self.classes), device=self.model.device)

    def _labelled(self, labelled: Any, labels: Any) -> tuple[Tensor, Labels]:
        if (labelled is None) != (labels is None):
            raise ConfigError("labels: expected labelled images and their labels, got one without the other.")
        if self.config.paradigm == "ul":
            if labels is not None:
                raise ConfigError("labels: ul uses none. Put the images into unlabelled, or use ssl or trzsl.")
            return torch.empty(0), np.zeros(0, np.int64)
        if labels is None or not len(labels):
            raise ConfigError(f"labels: {self.config.paradigm} needs labelled images. Give some, or use ul.")
        images = as_images(self.model, labelled, "labelled")
        return images, as_labels(labels, "labels", len(images), len(self.classes))

    def _seen(self, seen: Sequence[int] | None) -> tuple[int, ...]:
        found = {int(number) for number in np.unique(self.labels)}
        given = found if seen is None else {int(number) for number in seen}
        if not found <= given <= set(range(len(self.classes))) or len(given) == len(self.classes):
            raise ConfigError(
                f"seen: expected the {len(found)} classes of the labels among them, and fewer than all of "
                f"{len(self.classes)}, got {len(given)}. In trzsl some classes have no labels."
            )
        return tuple(sorted(given))

    def _tensor(self, values: Any) -> Tensor:
        return torch.from_numpy(np.ascontiguousarray(values)).to(self.model.device)


def _by_class(right: Any, classes: Labels, count: int) -> Any:
    """[classes] the share that is right, NaN where there is none."""
    rows = np.bincount(classes, minlength=count)
    hits = np.bincount(classes, weights=right, minlength=count)
    return np.divide(hits, rows, out=np.full(count, np.nan), where=rows > 0)


def _numbered(observer: Observer, number: int, count: int) -> Callable[[int, float], None]:
    return lambda epoch, loss: observer(number, count, epoch, loss)
