"""What tuning a prompt gives: the prompt, how it came about, and what it is worth."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .prompt_models import PromptModel
from .prompt_training import probabilities
from .pseudolabel_config import PseudolabelConfig
from .pseudolabels import PseudoLabels, harmonic_mean
from .vectors import Labels, Matrix, as_labels, as_matrix


@dataclass(frozen=True)
class Evaluation:
    """Accuracies in shares from 0 to 1; the last three only where some classes are seen and others not.

    accuracy  over all images, among all classes
    seen, unseen, harmonic  on images of either kind, among all classes, and their harmonic mean
    """

    accuracy: float
    seen: float | None = None
    unseen: float | None = None
    harmonic: float | None = None

    @property
    def score(self) -> float:
        """What the paper reports: the harmonic mean where there is one, else the accuracy."""
        return self.accuracy if self.harmonic is None else self.harmonic


@dataclass(frozen=True)
class Iteration:
    """One training in turn.

    k                    images a class that were asked for; 0: labelled images only
    labels               the pseudo-labels, `classes` being numbers of all classes
    losses               of each epoch, the mean
    label_accuracy       share of pseudo-labels that are true, and
    class_accuracy       [classes] the same by class, NaN where there are none; None without the truth
    validation_accuracy  on the pseudo-labels that were held out; None if none were
    evaluation           on the images to evaluate on; None without these
    """

    k: int
    labels: PseudoLabels
    losses: tuple[float, ...]
    label_accuracy: float | None
    class_accuracy: Matrix | None
    validation_accuracy: float | None
    evaluation: Evaluation | None

    def as_dict(self) -> dict[str, Any]:
        """For JSON: numbers alone, without each image's label."""
        by_class = (
            None if self.class_accuracy is None else [None if x != x else x for x in self.class_accuracy.tolist()]
        )
        return {
            "k": self.k,
            "pseudo_labels": len(self.labels),
            "loss": self.losses[-1],
            "label_accuracy": self.label_accuracy,
            "class_accuracy": by_class,
            "validation_accuracy": self.validation_accuracy,
            "evaluation": None if self.evaluation is None else vars(self.evaluation),
        }


@dataclass(frozen=True)
class Tuned:
    """A tuned prompt.

    model      that was given, now with the prompt of the last epoch, as the released code returns it
    classes    their names
    seen       numbers of the classes that had labels, in "trzsl"; else None
    zero_shot  what the model was worth without a prompt, on the images to evaluate on; None without these
    history    each training
    """

    model: PromptModel
    config: PseudolabelConfig
    classes: tuple[str, ...]
    seen: tuple[int, ...] | None
    zero_shot: Evaluation | None
    history: tuple[Iteration, ...]

    @property
    def notes(self) -> list[str]:
        """What was not as one might hope: a prompt that is worth less than none."""
        last = self.history[-1].evaluation
        if self.zero_shot is None or last is None or last.score >= self.zero_shot.score:
            return []
        shares = f"{100 * last.score:.1f} % instead of {100 * self.zero_shot.score:.1f} %"
        return [f"the tuned prompt is worse than none: {shares}. Train longer, at a lower rate, or fewer vectors"]

    def predict(self, images: Any) -> Labels:
        """[images] int64, of each the likeliest of all classes."""
        return predict(self.model, as_images(self.model, images, "images"))

    def evaluate(self, images: Any, labels: Any, seen: Sequence[int] | None = None) -> Evaluation:
        """How many are right; by seen and unseen classes in "trzsl", or if seen ones are named.

        Raises ConfigError for labels that do not fit, or without an image of either kind.
        """
        given = self.seen if seen is None else tuple(seen)
        return evaluation(self.predict(images), labels, len(self.classes), given)

    def text_embeddings(self) -> Matrix:
        """[classes, dim] the tuned classes, rows of length 1: a zero-shot classifier of the model's own embeddings.

        Raises ConfigError where the prompt changes embeddings of images, too.
        """
        if self.model.takes != "embeddings" or not hasattr(self.model, "text_features"):
            raise ConfigError("prompt: expected one of text alone, whose classes are embeddings. Save the prompt.")
        with torch.no_grad():
            every = torch.arange(len(self.classes), device=self.model.device)
            return self.model.text_features(every).cpu().numpy()


def predict(model: PromptModel, images: Tensor, *, zero_shot: bool = False) -> Labels:
    """[images] int64, of each the likeliest class, with the prompt or without."""
    every = torch.arange(model.class_count, device=model.device)
    return probabilities(model, images, every, zero_shot=zero_shot).argmax(dim=1).cpu().numpy()


def evaluation(predicted: Labels, labels: Any, classes: int, seen: Sequence[int] | None) -> Evaluation:
    """The accuracies of a prediction. Raises ConfigError for labels that do not fit, or without an image of a kind."""
    truth = as_labels(labels, "labels to evaluate on", len(predicted), classes)
    right = predicted == truth
    if not len(right):
        raise ConfigError("evaluate: expected at least one image.")
    if seen is None:
        return Evaluation(float(right.mean()))
    known = np.isin(truth, seen)
    if known.all() or not known.any():
        raise ConfigError(f"evaluate: no image is of {'an unseen' if known.all() else 'a seen'} class. Give some.")
    old, new = float(right[known].mean()), float(right[~known].mean())
    return Evaluation(float(right.mean()), old, new, harmonic_mean(old, new))


def as_images(model: PromptModel, images: Any, what: str) -> Tensor:
    """Images as the model takes them, as a tensor that stays where it is. Raises ConfigError for anything else."""
    if model.takes == "embeddings":
        rows = images.detach().cpu().numpy() if isinstance(images, Tensor) else images
        text = getattr(model, "text", None)
        matrix = as_matrix(rows, what, None if text is None else text.shape[1])
        found = torch.from_numpy(np.array(matrix))
        return found if text is None else found.to(text.dtype)
    found = torch.as_tensor(images)
    if found.dim() != 4 or not found.is_floating_point() or not found.isfinite().all():
        raise ConfigError(
            f"{what}: expected pixels [images, channels, height, width] of finite floats, got {list(found.shape)} of "
            f"{found.dtype}. Prepare them by the model's processor."
        )
    return found
