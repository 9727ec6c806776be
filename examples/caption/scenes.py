"""What we see in twelve photographs, typed by hand, and the sentences that facts like these become."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from fmcompress.vision_language.visual_clues import Clue, DetectedObject, SceneGraph, VisualClues

HERE = Path(__file__).parent
Box = tuple[float, float, float, float]
# what no photograph shows: for scenes that are made up, and for claims that are false
ELSEWHERE = (
    "dog", "car", "tree", "house", "bird", "boat", "bench", "lamp", "window", "chair", "hat", "bag", "book", "bottle",
    "bridge", "bicycle", "ball", "child", "mountain", "river", "cake", "phone", "door", "train",
)  # fmt: skip
OTHER_ATTRIBUTES = ("purple", "golden", "old", "broken", "wet", "huge", "pink", "plastic", "heavy", "square")


@dataclass(frozen=True)
class Thing:
    """An object: its name, how it is, and where; no box means that no clue tells of it."""

    name: str
    attributes: tuple[str, ...]
    box: Box | None


@dataclass(frozen=True)
class Scene:
    """What somebody sees in a picture."""

    caption: str
    things: tuple[Thing, ...]
    relations: tuple[tuple[str, str, str], ...]

    @property
    def graph(self) -> SceneGraph:
        """The human scene graph."""
        attributes = tuple((thing.name, word) for thing in self.things for word in thing.attributes)
        return SceneGraph(tuple(thing.name for thing in self.things), attributes, self.relations)


def read_scenes() -> dict[str, Scene]:
    """The twelve photographs by their files' names."""
    found = json.loads((HERE / "scenes.json").read_text(encoding="utf-8"))
    return {
        name: Scene(
            one["caption"],
            tuple(Thing(n, tuple(words), tuple(box) if box else None) for n, words, box in one["objects"]),
            tuple((a, r, b) for a, r, b in one["relations"]),
        )
        for name, one in found.items()
    }


def vocabulary(scenes: dict[str, Scene]) -> tuple[list[str], list[str], list[str]]:
    """(names, attributes, relations) of all scenes and of none."""
    things = [thing for scene in scenes.values() for thing in scene.things]
    names = sorted({thing.name for thing in things} | set(ELSEWHERE))
    attributes = sorted({word for thing in things for word in thing.attributes} | set(OTHER_ATTRIBUTES))
    return names, attributes, sorted({relation for scene in scenes.values() for _, relation, _ in scene.relations})


def plural(name: str) -> bool:
    """Whether a name of our list is one of several things."""
    return name.endswith("s") and name not in ("grass", "canvas")


def a(name: str, attributes: Sequence[str] = ()) -> str:
    """A noun phrase: "an orange suit", "grey stones"."""
    words = " ".join([*attributes, name])
    return words if plural(name) else f"{'an' if words[0] in 'aeiou' else 'a'} {words}"


def sentence(name: str, attributes: Sequence[str], place: str | None, generator: np.random.Generator) -> str:
    """A sentence that tells of an object, in one of three forms."""
    are = "are" if plural(name) else "is"
    where = f" in the {place}" if place else ""
    form = generator.integers(3)
    if form == 0 and attributes:
        return f"The {name}{where} {are} {' and '.join(attributes)}."
    if form == 1 and place:
        phrase = a(name, attributes)
        return f"{phrase[0].upper()}{phrase[1:]} {are}{where}."
    return f"There {are} {a(name, attributes)}{where}."


def related(subject: str, relation: str, other: str) -> str:
    """A sentence that tells of a relation."""
    return f"The {subject} {'are' if plural(subject) else 'is'} {relation} the {other}."


def clues_of(things: Sequence[Thing], captions: Sequence[str], tags: Sequence[str]) -> VisualClues:
    """Clues in our types; without scores, since somebody typed them."""
    objects = tuple(
        DetectedObject(Clue(t.name), t.box, tuple(Clue(word) for word in t.attributes)) for t in things if t.box
    )
    return VisualClues(tuple(map(Clue, tags)), objects, tuple(map(Clue, captions)))
