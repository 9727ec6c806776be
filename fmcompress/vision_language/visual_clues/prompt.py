"""Clues as the text that a language model is asked with, and that text read back."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ...errors import ConfigError, in_one_line
from .clues import Clue, VisualClues
from .position import POSITIONS, SIZES, position_of, size_of

INSTRUCTION = "Describe this image in detail in one paragraph, from the clues alone, without naming the clues."
HEAD, ASKED, TELL = "Clues of an image", "Task: ", "Description:"
STOP = ("\n\n", f"\n{HEAD}")  # where a description ends: a model that goes on would make up the next image
STYLES = ("best", "story")
STORY = "In the picture,"  # how a description of style story begins
Example = tuple[VisualClues, str]  # clues, and the paragraph that somebody wrote about them

_WORDS = r'(?:"(?:[^"\\]|\\.)*"|[^",;:()\\]+)'  # a text: quoted as JSON where it could be taken for something else
_PLAIN = re.compile(r'[^",;:()\\]+')
_LIST = re.compile(_WORDS)
_PLACE = f"(?:, (?P<size>{'|'.join(SIZES)}), (?P<position>{'|'.join(POSITIONS)}))?"
_OBJECT = re.compile(
    rf"- (?P<name>{_WORDS})(?: \((?P<attributes>{_WORDS}(?:, {_WORDS})*)\))?{_PLACE}"
    rf"(?:: (?P<captions>{_WORDS}(?:; {_WORDS})*))?"
)


@dataclass(frozen=True)
class ToldObject:
    """What a prompt says of an object; size and position are None where it is not located."""

    name: str
    attributes: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    size: str | None = None
    position: str | None = None


@dataclass(frozen=True)
class Told:
    """What a prompt says of an image, without scores and boxes."""

    tags: tuple[str, ...] = ()
    captions: tuple[str, ...] = ()
    objects: tuple[ToldObject, ...] = ()


def told(clues: VisualClues, locate: bool = True) -> Told:
    """What a prompt of clues says. locate  sizes and positions, too"""
    objects = tuple(
        ToldObject(
            one.name.text,
            _texts(one.attributes),
            _texts(one.captions),
            *((size_of(one.box), position_of(one.box)) if locate else ()),
        )
        for one in clues.objects
    )
    return Told(_texts(clues.tags), _texts(clues.captions), objects)


def to_prompt(
    clues: VisualClues,
    style: str = "best",
    locate: bool = True,
    *,
    examples: Sequence[Example] = (),
    instruction: str = INSTRUCTION,
) -> str:
    """The text that a language model is to continue with a description; the same for equal clues.

    style        best: a structured list, which read_prompt reads; story: sentences, for small models that know nothing
                 but prose. The words of both are ours: the paper's prompt is not published as code
    locate       say sizes and positions of objects
    examples     clues and paragraphs that stand before, for models that were not taught to follow instructions
    instruction  what is asked for, in style best

    Raises ConfigError for another style, and for clues that hold nothing.
    """
    if style not in STYLES:
        raise ConfigError(f"style: expected one of {', '.join(STYLES)}, got {style!r}.")
    asked = [told(one, locate) for one in (*(known for known, _ in examples), clues)]
    if Told() in asked:
        where = "clues" if asked[-1] == Told() else "examples"
        raise ConfigError(f"{where}: expected tags, captions or objects, got none. Give some, or what extracts them.")
    paragraphs = [" " + _line(text) for _, text in examples] + [""]
    if style == "story":
        return "\n\n".join(_story(one) + text for one, text in zip(asked, paragraphs, strict=True))
    task = f"{ASKED}{_line(instruction)}\n{TELL}"
    return "\n\n".join(f"{_listed(one)}\n{task}{text}" for one, text in zip(asked, paragraphs, strict=True))


def read_prompt(prompt: str) -> Told:
    """What a prompt of style best says of its last image. Raises ConfigError for any other text."""
    lines = prompt.split("\n")
    begin = max((at for at, line in enumerate(lines) if line == HEAD), default=None)
    if begin is None:
        raise ConfigError(
            f"prompt: expected a line {HEAD!r}, as style best writes it, got {in_one_line(prompt, 80)!r}."
        )
    tags: tuple[str, ...] = ()
    captions: list[str] = []
    objects: list[ToldObject] = []
    section = ""
    for line in lines[begin + 1 :]:
        if line.startswith(ASKED):
            return Told(tags, tuple(captions), tuple(objects))
        if line in ("Captions:", "Objects:"):
            section = line
        elif line.startswith("Tags: "):
            tags = _read_list(line.removeprefix("Tags: "))
        elif section == "Captions:" and line.startswith("- "):
            captions.append(_read(line[2:]))
        elif section == "Objects:" and (found := _OBJECT.fullmatch(line)):
            objects.append(_read_object(found))
        else:
            raise ConfigError(f"prompt: expected a clue, got {in_one_line(line, 80)!r}. Write it with to_prompt.")
    raise ConfigError(f"prompt: expected a line that begins with {ASKED!r} after the clues. Write it with to_prompt.")


def _listed(one: Told) -> str:
    lines = [HEAD]
    if one.tags:
        lines.append(f"Tags: {', '.join(map(_quoted, one.tags))}")
    if one.captions:
        lines += ["Captions:", *(f"- {_quoted_line(text)}" for text in one.captions)]
    if one.objects:
        lines += ["Objects:", *map(_object_line, one.objects)]
    return "\n".join(lines)


def _object_line(one: ToldObject) -> str:
    attributes = f" ({', '.join(map(_quoted, one.attributes))})" if one.attributes else ""
    place = f", {one.size}, {one.position}" if one.position else ""
    captions = f": {'; '.join(map(_quoted, one.captions))}" if one.captions else ""
    return f"- {_quoted(one.name)}{attributes}{place}{captions}"


def _story(one: Told) -> str:
    """Sentences that a description goes on from."""
    seen = [" ".join(filter(None, (o.size, *map(_line, o.attributes), _line(o.name)))) for o in one.objects]
    places = [f" in the {o.position}" if o.position else "" for o in one.objects]
    parts = [f"There is a picture with {', '.join(map(_line, one.tags))}."] if one.tags else ["There is a picture."]
    parts += [f"In it is a {what}{where}." for what, where in zip(seen, places, strict=True)]
    captions = [*one.captions, *(text for o in one.objects for text in o.captions)]
    parts += [_line(text).rstrip(".") + "." for text in captions]
    return " ".join([*parts, STORY])


def _quoted(text: str) -> str:
    plain = _PLAIN.fullmatch(text) and text.isprintable() and text == text.strip()
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())


def _quoted_line(text: str) -> str:
    """A text that has a line of its own: commas and colons need no quotes there."""
    plain = text and text.isprintable() and text == text.strip() and not text.startswith('"')
    return text if plain else json.dumps(text, ensure_ascii=not text.isprintable())


def _read(words: str) -> str:
    if not words.startswith('"'):
        return words
    try:
        return str(json.loads(words))
    except ValueError:
        raise ConfigError(f"prompt: expected a quoted text, got {in_one_line(words, 80)!r}.") from None


def _read_list(words: str) -> tuple[str, ...]:
    return tuple(_read(word.strip()) for word in _LIST.findall(words) if word.strip())


def _read_object(found: re.Match[str]) -> ToldObject:
    attributes, captions = (_read_list(found[part] or "") for part in ("attributes", "captions"))
    return ToldObject(_read(found["name"]), attributes, captions, found["size"], found["position"])


def _line(text: str) -> str:
    """A text in one line, of letters that are seen."""
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _texts(clues: Sequence[Clue]) -> tuple[str, ...]:
    return tuple(clue.text for clue in clues)
