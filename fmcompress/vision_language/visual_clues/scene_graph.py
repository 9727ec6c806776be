"""Scene graphs: what is in a picture, how it is, and how it stands to what else is there."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from ...errors import ConfigError

Fact = tuple[str, ...]  # (object,), (object, attribute) or (subject, relation, object)
_FIELDS = {"objects": 1, "attributes": 2, "relations": 3}


@dataclass(frozen=True)
class SceneGraph:
    """Objects, attributes and relations, in words.

    objects     names; twice the same name is one object
    attributes  (object, attribute)
    relations   (subject, relation, object)

    Raises ConfigError for words that are missing or empty, and where an attribute or a relation names what is no
    object of the graph.
    """

    objects: tuple[str, ...] = ()
    attributes: tuple[tuple[str, str], ...] = ()
    relations: tuple[tuple[str, str, str], ...] = ()

    def __post_init__(self) -> None:
        for field, length in _FIELDS.items():
            for fact in getattr(self, field):
                words = (fact,) if length == 1 else fact
                if not _is_words(words, length):
                    raise ConfigError(f"{field} of a scene graph: expected {_wanted(length)}, got {fact!r}.")
        known = set(self.objects)
        for name in [a[0] for a in self.attributes] + [end for r in self.relations for end in (r[0], r[2])]:
            if name not in known:
                raise ConfigError(f"scene graph: {name!r} is no object of it. Name it under objects, too.")

    @property
    def facts(self) -> tuple[Fact, ...]:
        """Every tuple once, in order: objects, attributes, relations."""
        return tuple(dict.fromkeys([*((name,) for name in self.objects), *self.attributes, *self.relations]))

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "objects": list(self.objects),
            "attributes": [list(fact) for fact in self.attributes],
            "relations": [list(fact) for fact in self.relations],
        }

    @classmethod
    def from_dict(cls, value: Any, what: str = "scene graph") -> "SceneGraph":
        """The graph of a JSON value as of as_dict; fields that are not there are empty.

        what  names the value in errors

        Raises ConfigError for anything else.
        """
        if not isinstance(value, Mapping) or not set(value) <= set(_FIELDS) or not value:
            got = sorted(map(str, value)) if isinstance(value, Mapping) else type(value).__name__
            raise ConfigError(f"{what}: expected an object with objects, attributes and relations, got {got}.")
        lists = [value.get(field, []) for field in _FIELDS]
        for field, some in zip(_FIELDS, lists, strict=True):
            if not isinstance(some, list):
                raise ConfigError(f"{what}: expected a list of {field}, got {type(some).__name__}.")
        try:
            objects, attributes, relations = lists
            return cls(
                tuple(objects),
                *(tuple(tuple(f) if isinstance(f, list) else f for f in some) for some in (attributes, relations)),
            )
        except ConfigError as error:
            raise ConfigError(f"{what}: {error}") from None


class SceneGraphParser(Protocol):
    """What finds the scene graph that a text tells of."""

    def parse(self, text: str) -> SceneGraph:
        """The graph of a text of any length; an empty one of a text that names nothing."""


def merged(graphs: Sequence[SceneGraph]) -> SceneGraph:
    """One graph of several: every tuple once, in order."""
    return SceneGraph(
        tuple(dict.fromkeys(name for graph in graphs for name in graph.objects)),
        tuple(dict.fromkeys(fact for graph in graphs for fact in graph.attributes)),
        tuple(dict.fromkeys(fact for graph in graphs for fact in graph.relations)),
    )


def _is_words(words: Any, length: int) -> bool:
    return (
        isinstance(words, tuple)
        and len(words) == length
        and all(isinstance(word, str) and word.strip() for word in words)
    )


def _wanted(length: int) -> str:
    return ("a name", "[object, attribute]", "[subject, relation, object]")[length - 1]
