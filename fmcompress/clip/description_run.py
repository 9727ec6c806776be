"""What the command describe does: descriptors to a classifier, and that to accuracies and explanations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError
from .descriptions import DescriptionClassifier, Explanation
from .descriptors import Descriptors, match_classes
from .embedding_set import EmbeddingSet
from .groups import GroupReport, labelled_report
from .inputs import labels_of
from .known_texts import KnownTexts
from .vectors import Labels, as_matrix
from .waffle import (
    NAMES_ONLY,
    SEEDS,
    DescriptionReport,
    check_controls,
    control_of,
    description_report,
    name_prompts,
)  # fmt: skip
from .zero_shot import EncodeText, predict


@dataclass(frozen=True)
class DescribedImages:
    """What was found.

    predicted  [rows] numbers of the classifier's classes
    labels     [rows], -1 where unknown; None without labels, as are report and groups
    report     accuracies, over the rows with a label
    groups     "names" and "descriptors": accuracy by group, or by class where no groups are known
    notes      what a user should know
    """

    predicted: Labels
    labels: Labels | None
    report: DescriptionReport | None
    groups: dict[str, GroupReport]
    notes: tuple[str, ...]


def choose_classes(
    descriptors: Descriptors, of_images: Sequence[str], classes: Sequence[str] | None
) -> tuple[dict[str, list[str]], list[str]]:
    """The descriptors of the classes to tell apart, and notes.

    of_images  classes that the images have: taken unless they are mere numbers, which count the descriptors' classes
    classes    asked for: taken where there are some

    Raises ConfigError where a class is not among the descriptors.
    """
    named = [] if all(name.isdecimal() for name in of_images) else list(of_images)
    wanted = list(classes or ()) or named or list(descriptors)
    found = match_classes(descriptors, wanted)
    unused = len(descriptors) - len(found)
    return found, [f"{unused} of {len(descriptors)} classes with descriptors are not among the classes"] * bool(unused)


def all_texts(
    classifier: DescriptionClassifier,
    controls: Sequence[str] = ("waffle",),
    seeds: int = SEEDS,
    names_template: str = NAMES_ONLY,
) -> list[str]:
    """Every text that is embedded for a classifier, its controls and the names alone, each once."""
    noise = [control_of(classifier, kind, seed).texts for kind in controls for seed in range(seeds)]
    texts = [*name_prompts(classifier, names_template), *classifier.texts, *(text for some in noise for text in some)]
    return list(dict.fromkeys(texts))


def describe_images(
    images: EmbeddingSet,
    classifier: DescriptionClassifier,
    encode_text: EncodeText,
    *,
    identity: dict[str, Any] | None = None,
    controls: Sequence[str] = ("waffle",),
    seeds: int = SEEDS,
    names_template: str = NAMES_ONLY,
) -> DescribedImages:
    """Fit a classifier, and measure what it makes of images.

    identity  of the model that encode_text belongs to

    Where encode_text knows only the texts of a file, and those of a control are not among them, the control is left
    out, with a note. Raises ConfigError where images, labels and texts do not fit each other.
    """
    classifier.fit(encode_text)
    prompts = name_prompts(classifier, names_template)
    names = as_matrix(encode_text(prompts), "embeddings of names", images.vectors.shape[1])
    labels = labels_of(images, EmbeddingSet(names, names=classifier.classes, identity=identity or {}))
    predicted = classifier.predict(images.vectors)
    if labels is None or not (labels >= 0).any():
        return DescribedImages(predicted, None, None, {}, ("no labels: accuracies are unknown",))
    kept, notes = _possible(classifier, encode_text, controls, seeds, names_template)
    known = labels >= 0
    if not known.all():
        notes.append(f"{int((~known).sum())} of {len(known)} images have no label: they are in no accuracy")
    report = description_report(
        images.vectors[known], labels[known], classifier, encode_text, controls=kept, seeds=seeds,
        names_template=names_template,
    )  # fmt: skip
    found = {"names": predict(images.vectors, names), "descriptors": predicted}
    groups = {
        name: labelled_report(labels, rows, images.groups, classifier.classes, images.group_names)
        for name, rows in found.items()
    }
    return DescribedImages(predicted, labels, report, groups, tuple(notes))


def explain_images(
    images: EmbeddingSet, classifier: DescriptionClassifier, found: DescribedImages, count: int
) -> dict[int, list[Explanation]]:
    """Explanations of so many images, evenly spaced over all: row -> of the class that was found, and of the true one
    where that is another.
    """
    told = {}
    for row in np.unique(np.linspace(0, len(images) - 1, min(count, len(images))).round().astype(int)):
        label = -1 if found.labels is None else int(found.labels[row])
        kinds = ["pred"] if label in (-1, int(found.predicted[row])) else ["pred", "true"]
        true = None if label < 0 else classifier.classes[label]
        told[int(row)] = classifier.explain(images.vectors[row], kinds, true=true)
    return told


def _possible(
    classifier: DescriptionClassifier, encode_text: EncodeText, controls: Sequence[str], seeds: int, template: str
) -> tuple[list[str], list[str]]:
    """The controls that can be run, and notes of the others."""
    kept, notes = [], []
    check_controls(controls)
    for kind in dict.fromkeys(controls):
        try:
            texts = all_texts(classifier, [kind], seeds, template)
        except ConfigError as error:  # classes without any descriptor have no noise in their place either
            notes.append(f"control {kind} was not run ({error})")
            continue
        missing = encode_text.missing(texts) if isinstance(encode_text, KnownTexts) else []
        if missing:
            notes.append(
                f"control {kind} was not run: {len(missing)} of its texts are not in {encode_text.where}. "  # type: ignore[attr-defined]
                "Write all texts with --out-prompts, and embed them"
            )
        else:
            kept.append(kind)
    return kept, notes
