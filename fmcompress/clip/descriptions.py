"""Classification by description (Menon & Vondrick 2023): a class is what its descriptors say of it."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..errors import ConfigError
from .descriptors import TEMPLATE, Descriptors, clause, spoken, texts_of
from .vectors import Labels, Matrix, as_matrix, normalised
from .zero_shot import EncodeText

AGGREGATES: Mapping[str, Callable[..., Any]] = {"mean": np.mean, "max": np.max, "sum": np.sum}
SAID = {"pred": "I saw", "true": "The label says", "name": "Its name alone says", "asked": "For"}
KINDS = tuple(SAID)[:3]


@dataclass(frozen=True)
class Explanation:
    """Why an image is scored as it is for a class.

    kind   how the class was chosen: "pred" (the highest score), "true" (the label), "name" (the nearest bare name), or
           "asked" for
    score  of the class: the mean (or maximum, or sum) of the similarities of `parts`
    parts  (descriptor, similarity), the most similar first; the descriptor is None for the bare name
    """

    name: str
    kind: str
    score: float
    parts: tuple[tuple[str | None, float], ...]
    grammar: str = "fixed"

    def sentence(self, top: int = 5) -> str:
        """In plain words, of the most similar descriptors."""
        name = spoken(self.name).lower()
        article = "an" if name.startswith(tuple("aeiou")) and not name.startswith(("one", "uni", "eu")) else "a"
        known = [(one, value) for one, value in self.parts[:top] if one]
        seen = (f"it{clause(one, self.grammar).removeprefix('which')} ({value:.3f})" for one, value in known)
        said = f"{SAID[self.kind]} {article} {spoken(self.name)} ({self.score:.3f})"
        if not known:
            return f"{said}, of which nothing but its name is known"
        return f"{said}{' because' if self.kind == 'pred' else ':'} {', '.join(seen)}"


class DescriptionClassifier:
    """Scores images by the similarity to each descriptor of a class, put together.

    descriptors  class -> descriptors; a class's number is its place here
    template     of a text, with {cls} and {clause}
    agg          "mean" (as the paper), "max" or "sum" over a class's descriptors
    grammar      "fixed" or "released", see descriptors.clause
    renormalize  with the mean: give each class's mean embedding length 1, as ensembles of prompts have it. Without,
                 as released, a class of diverse descriptors, whose mean is shorter, scores lower
    empty        "error" or "name": what becomes of classes without descriptors

    Known: texts, and of each its descriptor (descriptors_of); starts [classes], where a class's texts begin, counts.
    After fit: text [texts, dim], and weights [classes, dim], whose products with an image are the scores but for "max".
    Raises ConfigError for a class without descriptors, and for options that are none.
    """

    def __init__(
        self,
        descriptors: Descriptors,
        template: str = TEMPLATE,
        agg: str = "mean",
        grammar: str = "fixed",
        *,
        renormalize: bool = False,
        empty: str = "error",
    ) -> None:
        if agg not in AGGREGATES:
            raise ConfigError(f"agg: expected one of {', '.join(AGGREGATES)}, got {agg!r}.")
        if renormalize and agg != "mean":
            raise ConfigError(f"renormalize: goes with agg 'mean', got {agg!r}. Leave it out.")
        if not descriptors:
            raise ConfigError("descriptors: expected at least one class.")
        self.options = {"template": template, "agg": agg, "grammar": grammar}
        self.more = {"renormalize": renormalize, "empty": empty}
        self.descriptors = {name: list(some) for name, some in descriptors.items()}
        self.classes = tuple(self.descriptors)
        self.agg, self.grammar, self.renormalize = agg, grammar, renormalize
        found = texts_of(self.descriptors, template, grammar, empty)
        self.texts = [text for some in found.values() for _, text in some]
        self.descriptors_of = [one for some in found.values() for one, _ in some]
        self.starts = np.cumsum([0, *(len(some) for some in found.values())])[:-1]
        self.counts = np.diff([*self.starts, len(self.texts)])
        self._rows: dict[str, Any] = {}  # by text
        self._encode: EncodeText | None = None

    def fit(self, encode_text: EncodeText) -> "DescriptionClassifier":
        """Embed the texts, each once. Returns itself.

        encode_text  texts -> [texts, dim], rows of length 1
        """
        self._encode = encode_text
        new = [text for text in dict.fromkeys(self.texts) if text not in self._rows]
        if new:
            rows = as_matrix(encode_text(new), "embeddings of descriptions")
            if len(rows) != len(new):
                raise ConfigError(f"embeddings of descriptions: expected {len(new)} rows, got {len(rows)}.")
            self._rows |= dict(zip(new, rows, strict=True))
        self.text: Matrix = np.stack([self._rows[text] for text in self.texts])
        sums = np.add.reduceat(self.text, self.starts, axis=0)
        means = sums if self.agg == "sum" else sums / self.counts[:, None].astype(sums.dtype)
        self.weights: Matrix = normalised(means) if self.renormalize else means
        return self

    def scores(self, images: Any, *, chunk_rows: int = 8192) -> Matrix:
        """[rows, classes] of images [rows, dim] with rows of length 1, in their dtype."""
        images = self._checked(images)
        found = np.empty((len(images), len(self.classes)), images.dtype)
        for begin in range(0, len(images), chunk_rows):
            part = slice(begin, begin + chunk_rows)
            found[part] = self._scores(images[part])
        return found

    def predict(self, images: Any, *, chunk_rows: int = 8192) -> Labels:
        """[rows] int64: the class of the highest score, the first where several have it."""
        images = self._checked(images)
        found = np.empty(len(images), np.int64)
        for begin in range(0, len(images), chunk_rows):
            part = slice(begin, begin + chunk_rows)
            np.argmax(self._scores(images[part]), axis=1, out=found[part])
        return found

    def explain(self, image: Any, classes: Sequence[str] = ("pred",), *, true: str | None = None) -> list[Explanation]:
        """Why one image is scored as it is, for each of some classes, in float64.

        image    [dim], of length 1
        classes  "pred", "true", "name", as Explanation has them, or a class's name
        true     the class that "true" means

        Raises ConfigError for a class that is not there.
        """
        row = self._checked(np.asarray(image)[None])
        return [self._explanation(row, self._number(row, name, true), name) for name in classes]

    def edit(self, name: str, add: Sequence[str] = (), drop: Sequence[str] = ()) -> "DescriptionClassifier":
        """Another classifier, where a class has some descriptors more and some fewer; only new texts are embedded.

        Raises ConfigError for a class or a descriptor that is not there.
        """
        if name not in self.descriptors:
            raise ConfigError(f"edit: expected one of the classes, got {name!r}.")
        some = list(self.descriptors[name])
        for one in drop:
            if one not in some:
                raise ConfigError(f"edit: {name!r} has no descriptor {one!r} to drop.")
            some.remove(one)
        changed = {**self.descriptors, name: [*some, *add]}
        other = DescriptionClassifier(changed, **self.options, **self.more)  # type: ignore[arg-type]
        other._rows = dict(self._rows)
        return other if self._encode is None else other.fit(self._encode)

    def _checked(self, images: Any) -> Matrix:
        if self._encode is None:
            raise ConfigError("DescriptionClassifier: has embedded no texts yet. Call fit(encode_text) first.")
        return as_matrix(images, "images", self.text.shape[1])

    def _scores(self, images: Matrix) -> Matrix:
        if self.agg != "max":
            return images @ self.weights.T.astype(images.dtype, copy=False)
        each = images @ self.text.T.astype(images.dtype, copy=False)
        return np.asarray(np.maximum.reduceat(each, self.starts, axis=1))

    def _number(self, row: Matrix, name: str, true: str | None) -> int:
        if name == "pred":
            return int(self.predict(row)[0])
        if name == "name":
            return int(np.argmax(row @ self._names().T))
        wanted = true if name == "true" else name
        if wanted not in self.classes:
            raise ConfigError(f"explain: expected {', '.join(KINDS)} or one of the classes, got {wanted!r}.")
        return self.classes.index(wanted)

    def _names(self) -> Matrix:
        assert self._encode is not None
        return as_matrix(self._encode([spoken(name) for name in self.classes]), "embeddings of names")

    def _explanation(self, row: Matrix, number: int, asked: str) -> Explanation:
        begin = self.starts[number]
        part = slice(begin, begin + self.counts[number])
        rows = self.text[part].astype(np.float64)
        similarities = rows @ row[0].astype(np.float64)
        if self.renormalize:  # of the scale of the class's score, whose mean they then have
            similarities /= np.linalg.norm(rows.mean(axis=0))
        order = np.argsort(-similarities, kind="stable")
        told = self.descriptors_of[part]
        return Explanation(
            self.classes[number],
            asked if asked in KINDS else "asked",
            float(AGGREGATES[self.agg](similarities)),
            tuple((told[place], float(similarities[place])) for place in order),
            self.grammar,
        )
