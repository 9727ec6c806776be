"""Controls for classification by description: the same, with descriptors that mean nothing (after Roth et al. 2023)."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError
from .descriptions import DescriptionClassifier
from .descriptors import Descriptors, spoken
from .vectors import as_labels, as_matrix
from .zero_shot import EncodeText, fill, predict

PAIRS, SEEDS = 15, 7  # of the published control
LETTERS = tuple("abcdefghijklmnopqrstuvwxyz")
NAMES_ONLY = "a photo of a {}."


def waffle(descriptors: Descriptors, pairs: int = PAIRS, seed: int = 0) -> dict[str, list[str]]:
    """Noise in the place of descriptors, the same for all classes: of each pair one text of random words, which are
    drawn from the descriptors' own, and one of random letters; both of the average length of the descriptors.

    Raises ConfigError if the descriptors have no words.
    """
    texts = [one.split() for some in descriptors.values() for one in some]
    words = sorted({word.strip(".,;:()\"'").lower() for text in texts for word in text} - {""})
    if not words:
        raise ConfigError("waffle: expected descriptors with words, of which random ones are drawn, got none.")
    if pairs < 1:
        raise ConfigError(f"waffle: expected at least one pair, got {pairs}.")
    long = [len(text) for text in texts if text]
    count = max(1, round(float(np.mean(long))))
    letters = max(1, round(float(np.mean([len(word) for word in words]))))
    generator = np.random.default_rng(seed)
    noise: list[str] = []
    for _ in range(pairs):
        noise.append(" ".join(generator.choice(words, count)))
        noise.append(" ".join("".join(generator.choice(LETTERS, letters)) for _ in range(count)))
    return {name: list(noise) for name in descriptors}


def swapped(descriptors: Descriptors, seed: int = 0) -> dict[str, list[str]]:
    """Every class has the descriptors of another one; lists stay together. Raises ConfigError for one class."""
    names = list(descriptors)
    if len(names) < 2:
        raise ConfigError("swapped: expected at least two classes, got one. Descriptors have nowhere to go.")
    circle = np.random.default_rng(seed).permutation(len(names))  # each hands its list to the next in a circle
    following = dict(zip(circle, np.roll(circle, -1), strict=True))
    return {name: list(descriptors[names[following[number]]]) for number, name in enumerate(names)}


def scrambled(descriptors: Descriptors, seed: int = 0) -> dict[str, list[str]]:
    """All descriptors dealt anew over the classes; each class has as many as before."""
    pool = [one for some in descriptors.values() for one in some]
    order = iter(np.random.default_rng(seed).permutation(len(pool)))
    return {name: [pool[next(order)] for _ in some] for name, some in descriptors.items()}


CONTROLS: Mapping[str, Callable[[Descriptors, int], dict[str, list[str]]]] = {
    "waffle": lambda descriptors, seed: waffle(descriptors, seed=seed),
    "swapped": swapped,
    "scrambled": scrambled,
}


@dataclass(frozen=True)
class Control:
    """Accuracies of one control, one a seed."""

    kind: str
    accuracies: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return float(np.mean(self.accuracies))

    @property
    def sd(self) -> float:
        """Over the seeds, of a sample; 0 for one seed."""
        return float(np.std(self.accuracies, ddof=1)) if len(self.accuracies) > 1 else 0.0


@dataclass(frozen=True)
class DescriptionReport:
    """What descriptors are worth: accuracy with the classes' names alone, with their descriptors, and of controls."""

    rows: int
    names: float
    described: float
    controls: tuple[Control, ...]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        controls = [{**vars(control), "mean": control.mean, "sd": control.sd} for control in self.controls]
        return {**vars(self), "controls": controls}


def check_controls(kinds: Sequence[str]) -> None:
    """ConfigError for a control that is none."""
    strange = sorted(set(kinds) - set(CONTROLS))
    if strange:
        raise ConfigError(f"control: expected one of {', '.join(CONTROLS)}, got {strange[0]!r}.")


def control_of(classifier: DescriptionClassifier, kind: str, seed: int) -> DescriptionClassifier:
    """The same classifier with a control in the place of its descriptors, not fitted yet. Raises ConfigError."""
    check_controls([kind])
    options: dict[str, Any] = {**classifier.options, **classifier.more, "empty": "name"}
    return DescriptionClassifier(CONTROLS[kind](classifier.descriptors, seed), **options)


def name_prompts(classifier: DescriptionClassifier, template: str = NAMES_ONLY) -> list[str]:
    """The text of each class without descriptors."""
    return [fill(template, spoken(name)) for name in classifier.classes]


def description_report(
    images: Any,
    labels: Any,
    classifier: DescriptionClassifier,
    encode_text: EncodeText,
    *,
    controls: Sequence[str] = ("waffle",),
    seeds: int = SEEDS,
    names_template: str = NAMES_ONLY,
) -> DescriptionReport:
    """Accuracy of a classifier that was fitted, beside that of names alone and of controls in its place.

    images          [rows, dim], rows of length 1
    labels          [rows], numbers of the classifier's classes
    controls        of waffle, swapped, scrambled
    seeds           of each control
    names_template  of names alone

    Raises ConfigError for a control that is none, and where embeddings and classes do not fit.
    """
    images = as_matrix(images, "images")
    labels = as_labels(labels, "labels", len(images), len(classifier.classes))
    if seeds < 1 or not len(images):
        raise ConfigError(f"controls: expected at least one seed and one image, got {seeds} and {len(images)}.")

    def accuracy(predicted: Any) -> float:
        return float((predicted == labels).mean())

    names = as_matrix(encode_text(name_prompts(classifier, names_template)), "embeddings of names")
    return DescriptionReport(
        len(labels),
        accuracy(predict(images, names.astype(images.dtype, copy=False))),
        accuracy(classifier.predict(images)),
        tuple(
            Control(
                kind,
                tuple(
                    accuracy(control_of(classifier, kind, seed).fit(encode_text).predict(images))
                    for seed in range(seeds)
                ),
            )
            for kind in controls
        ),
    )
