"""Insights: pairs of texts that say in words which difference is spurious, and which tells classes apart."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import ConfigError
from ..files import write_json
from .directions import between
from .vectors import Matrix
from .zero_shot import EncodeText

KINDS = ("reject", "accept")


@dataclass(frozen=True)
class Insight:
    """A difference between two classes: `a` is what the one has, `b` what the other has instead.

    kind    "reject" if the difference is spurious, "accept" if it tells the classes apart
    source  who says so: a language model's name, or a person
    """

    kind: Literal["reject", "accept"]
    a: str
    b: str
    source: str = ""
    class_pair: tuple[str, str] | None = None
    date: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ConfigError(f"insight: expected kind reject or accept, got {self.kind!r}.")
        if not self.a.strip() or not self.b.strip() or self.a.strip() == self.b.strip():
            raise ConfigError(f"insight: expected two texts that differ, got {self.a!r} and {self.b!r}.")


def write_insights(path: str | Path, insights: Sequence[Insight]) -> None:
    """A JSON file that read_insights reads. Raises DiskError if it cannot be written."""

    def entry(insight: Insight) -> dict[str, Any]:
        facts = asdict(insight)
        facts["source_model"] = facts.pop("source")
        return {key: value for key, value in facts.items() if value}

    write_json(Path(path), {"insights": [entry(insight) for insight in insights]})


def read_insights(path: str | Path) -> tuple[Insight, ...]:
    """The insights of a JSON file: {"insights": [{kind, a, b, class_pair?, source_model?, date?}, ...]}, or the list.

    Raises ConfigError that names the entry for anything else.
    """
    try:
        document = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: cannot be read as JSON: {error}.") from None
    entries = document.get("insights") if isinstance(document, dict) else document
    if not isinstance(entries, list) or not entries:
        raise ConfigError(f'{path}: expected {{"insights": [...]}} with at least one insight.')
    return tuple(_insight(entry, f"{path}: insight {number}") for number, entry in enumerate(entries))


def directions(insights: Sequence[Insight], encode_text: EncodeText) -> tuple[Matrix, Matrix]:
    """What RoboShot rejects and accepts, [r, dim] and [a, dim]: differences of the two texts' embeddings.

    encode_text  of the model whose embeddings are to be changed; every text is asked for once

    Raises ConfigError for a pair whose texts have the same embedding, and without insights.
    """
    if not insights:
        raise ConfigError("insights: expected at least one.")
    texts = list(dict.fromkeys(text for insight in insights for text in (insight.a, insight.b)))
    rows = np.asarray(encode_text(texts))
    place = {text: number for number, text in enumerate(texts)}
    found = []
    for kind in KINDS:
        some = [insight for insight in insights if insight.kind == kind]
        first, second = ([place[text] for text in side] for side in ([i.a for i in some], [i.b for i in some]))
        found.append(between(rows[first], rows[second], f"insights to {kind}"))
    return found[0], found[1]


def _insight(entry: Any, where: str) -> Insight:
    if not isinstance(entry, dict):
        raise ConfigError(f"{where}: expected an object with kind, a and b, got {type(entry).__name__}.")
    unknown = sorted(set(entry) - {"kind", "a", "b", "class_pair", "source_model", "date"})
    if unknown:
        raise ConfigError(f"{where}: {unknown[0]!r} is no key of an insight.")
    texts = {key: entry.get(key, "") for key in ("kind", "a", "b", "source_model", "date")}
    wrong = [key for key, text in texts.items() if not isinstance(text, str)]
    if wrong:
        raise ConfigError(f"{where}: expected text as {wrong[0]}, got {texts[wrong[0]]!r}.")
    pair = entry.get("class_pair")
    if pair is not None and not (isinstance(pair, list) and len(pair) == 2 and all(isinstance(c, str) for c in pair)):
        raise ConfigError(f"{where}: expected two names of classes as class_pair, got {pair!r}.")
    try:
        return Insight(
            texts["kind"],  # type: ignore[arg-type]
            texts["a"],
            texts["b"],
            texts["source_model"],
            (pair[0], pair[1]) if pair else None,
            texts["date"],
        )
    except ConfigError as error:
        raise ConfigError(f"{where}: {error}") from None
