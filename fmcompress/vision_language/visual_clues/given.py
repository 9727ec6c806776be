"""Clues that somebody has written, or a run has found: a JSON file of images, read as data and checked to the letter.

{"IMAGE NAME": {"tags": ["dog", {"text": "park", "score": 0.3}], "captions": ["a dog runs"], "pixels": true,
                "objects": [{"name": "dog", "box": [0, 20, 90, 80], "attributes": ["brown"], "captions": []}]}}
"""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...clip.lists import FORMS, read_json
from ...errors import ConfigError, in_one_line
from .clues import Box, Clue, DetectedObject, VisualClues
from .prompt import Example

OF_IMAGE = ("tags", "captions", "objects", "pixels")
OF_OBJECT = ("name", "box", "attributes", "captions")
OF_CLUE = ("text", "score")


class ClueFile:
    """Clues by the name of an image. All of the file is checked at once.

    names  of the images that it knows

    Raises ConfigError that names file, image and field.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        self._entries = _object(read_json(self.path), str(path), None)
        if not self._entries:
            raise ConfigError(f"{path}: expected clues by the name of an image, got none.")
        self.names = tuple(self._entries)
        for name in self.names:
            parse_clues(self._entries[name], f"{path}: image {name!r}")

    def find(self, name: str) -> str | None:
        """How the file calls an image: as it is called here, without folders, or without folders and ending."""
        return next((form(name) for form in FORMS if form(name) in self._entries), None)

    def clues(self, name: str, size: tuple[int, int]) -> VisualClues:
        """Of an image by its name in the file. size  width and height, for boxes in pixels"""
        return parse_clues(self._entries[name], f"{self.path}: image {name!r}", size)


def parse_clues(entry: Any, where: str, size: tuple[int, int] | None = None) -> VisualClues:
    """Clues of one image from JSON.

    where  names the image in errors
    size   width and height; without it boxes in pixels are checked, but not made shares

    Raises ConfigError that names the field.
    """
    fields = _object(entry, where, OF_IMAGE)
    pixels = fields.get("pixels", False)
    if not isinstance(pixels, bool):
        raise _wrong(f"{where}, pixels", "true or false", pixels)
    scale = (size or (math.inf, math.inf)) if pixels else (1, 1)
    objects = tuple(
        _detected(one, f"{where}, objects[{number}]", scale)
        for number, one in enumerate(_list(fields.get("objects", []), f"{where}, objects"))
    )
    found = VisualClues(_clues(fields, "tags", where), objects, _clues(fields, "captions", where))
    if found == VisualClues():
        raise ConfigError(f"{where}: expected tags, captions or objects, got none. Add some, or remove the image.")
    return found


def clues_as_dict(clues: VisualClues) -> dict[str, Any]:
    """For JSON, as parse_clues reads it; boxes as shares."""
    return {
        "tags": [_clue_as_dict(clue) for clue in clues.tags],
        "captions": [_clue_as_dict(clue) for clue in clues.captions],
        "objects": [
            {
                "name": _clue_as_dict(one.name),
                "box": list(one.box),
                "attributes": [_clue_as_dict(clue) for clue in one.attributes],
                "captions": [_clue_as_dict(clue) for clue in one.captions],
            }
            for one in clues.objects
        ],
    }


def read_examples(path: str | Path) -> list[Example]:
    """Clues and paragraphs that a prompt begins with: [{"clues": {…}, "paragraph": "…"}, …]; boxes as shares.

    Raises ConfigError that names file and field.
    """
    examples = []
    for number, one in enumerate(_list(read_json(Path(path)), str(path))):
        where = f"{path}: example {number}"
        fields = _object(one, where, ("clues", "paragraph"), ("clues", "paragraph"))
        if isinstance(fields["clues"], dict) and fields["clues"].get("pixels"):
            raise ConfigError(f"{where}, pixels: an example has no image. Write boxes as shares, from 0 to 1.")
        examples.append((parse_clues(fields["clues"], where), _text(fields["paragraph"], f"{where}, paragraph")))
    return examples


def _detected(given: Any, where: str, scale: tuple[float, float]) -> DetectedObject:
    fields = _object(given, where, OF_OBJECT, ("name", "box"))
    name, box = _clue(fields["name"], f"{where}, name"), _box(fields["box"], f"{where}, box", scale)
    return DetectedObject(name, box, _clues(fields, "attributes", where), _clues(fields, "captions", where))


def _box(given: Any, where: str, scale: tuple[float, float]) -> Box:
    width, height = scale
    unit = f"pixels of {width} x {height}" if math.isfinite(width) and scale != (1, 1) else "pixels"
    wanted = "shares in [0, 1]" if scale == (1, 1) else unit
    if not isinstance(given, list) or len(given) != 4 or not all(map(_is_number, given)):
        raise _wrong(where, f"left, top, right, bottom as {wanted}", given)
    left, top, right, bottom = given
    if not (0 <= left < right <= width and 0 <= top < bottom <= height):
        hint = ' Add "pixels": true if they are pixels.' if scale == (1, 1) else ""
        raise _wrong(where, f"left < right, top < bottom, as {wanted}", given, hint)
    if math.isinf(width):
        return (0.0, 0.0, 1.0, 1.0)  # only checked
    return left / width, top / height, right / width, bottom / height


def _clues(fields: Mapping[str, Any], name: str, where: str) -> tuple[Clue, ...]:
    given = _list(fields.get(name, []), f"{where}, {name}")
    return tuple(_clue(one, f"{where}, {name}[{number}]") for number, one in enumerate(given))


def _clue(given: Any, where: str) -> Clue:
    if not isinstance(given, dict):
        return Clue(_text(given, where))
    fields = _object(given, where, OF_CLUE, ("text",))
    score = fields.get("score")
    if score is not None and not _is_number(score):
        raise _wrong(f"{where}, score", "a number", score)
    return Clue(_text(fields["text"], f"{where}, text"), None if score is None else float(score))


def _clue_as_dict(clue: Clue) -> Any:
    return clue.text if clue.score is None else {"text": clue.text, "score": clue.score}


def _text(given: Any, where: str) -> str:
    if not isinstance(given, str) or not given.strip():
        raise _wrong(where, "a text that is not empty", given)
    return " ".join(given.split())


def _list(given: Any, where: str) -> list[Any]:
    if not isinstance(given, list):
        raise _wrong(where, "a list", given)
    return given


def _object(given: Any, where: str, known: tuple[str, ...] | None, needed: tuple[str, ...] = ()) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise _wrong(where, "a JSON object", given)
    strange = next((key for key in given if known is not None and key not in known), None)
    if strange is not None:
        raise ConfigError(f"{where}: expected some of {', '.join(known or ())}, got {in_one_line(strange, 80)!r}.")
    missing = next((key for key in needed if key not in given), None)
    if missing is not None:
        raise ConfigError(f"{where}: expected {missing!r}, got none. Add it.")
    return given


def _is_number(value: Any) -> bool:
    # compared, as an integer of many digits is no float
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _wrong(where: str, wanted: str, given: Any, hint: str = "") -> ConfigError:
    return ConfigError(f"{where}: expected {wanted}, got {in_one_line(repr(given), 80)}.{hint}")
