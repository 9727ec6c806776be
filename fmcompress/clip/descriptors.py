"""What classes look like, in words: descriptors from a file, matched by name, and the sentence that each becomes."""

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..errors import ConfigError

Descriptors = Mapping[str, Sequence[str]]  # class -> its descriptors
GRAMMARS = ("fixed", "released")
EMPTY = ("error", "name")
TEMPLATE = "{cls}, {clause}"
# first words of a descriptor, and the pronoun that makes a clause of it; "which has" before every other one
PRONOUNS = {
    **dict.fromkeys(("a", "an", "used", "attached", "available", "alternating"), "which is"),
    **dict.fromkeys(("has", "often", "typically", "may", "can", "attaches"), "which"),
}
# the released code asks what a descriptor begins with, so that "alloy" counts as "a" and "mayonnaise" as "may"
BEGINNINGS = {"a": "which is", "has": "which", "often": "which", "typically": "which", "may": "which", "can": "which"}
BEGINNINGS |= {"used": "which is"}


def spoken(name: str) -> str:
    """The name of a class as a text has it: corn_field is a corn field."""
    return name.replace("_", " ")


def clause(descriptor: str, grammar: str = "fixed") -> str:
    """A descriptor as a clause: "which has red comb", "which is a bird", "which often perches".

    grammar  "fixed" looks at the first word; "released" at the first letters, as the code of the paper does, so that
             its texts are reproduced ("which is avocado", "which mayonnaise")
    """
    if grammar == "released":
        starts = (pronoun for beginning, pronoun in BEGINNINGS.items() if descriptor.startswith(beginning))
        return f"{next(starts, 'which has')} {descriptor}"
    if grammar != "fixed":
        raise ConfigError(f"grammar: expected one of {', '.join(GRAMMARS)}, got {grammar!r}.")
    text = descriptor.strip()
    first = re.match(r"\w*", text)
    return f"{PRONOUNS.get(first[0].lower() if first else '', 'which has')} {text}"


def describe(name: str, descriptor: str | None, template: str = TEMPLATE, grammar: str = "fixed") -> str:
    """The text of a class with one of its descriptors, or None for its name alone.

    template  with one {cls} for the name and one {clause} for the descriptor
    """
    if template.count("{cls}") != 1 or template.count("{clause}") != 1:
        raise ConfigError(f"template {template!r}: expected one {{cls}} and one {{clause}}, as in {TEMPLATE!r}.")
    if descriptor is None:
        return spoken(name)
    before, after = template.split("{cls}")  # a name may hold what looks like a place
    place, said = "{clause}", clause(descriptor, grammar)
    return f"{before.replace(place, said)}{spoken(name)}{after.replace(place, said)}"


def read_descriptors(path: str | Path) -> dict[str, list[str]]:
    """A JSON file {class: [descriptors]}, in its order. Lists may be empty: what that means is decided later.

    Raises ConfigError for anything else, also for a class that stands there twice.
    """
    try:
        found = json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_without_doubles)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}). Give a JSON file of descriptors.") from None
    except (ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: expected a JSON object of descriptors ({error}).") from None
    if not isinstance(found, dict) or not found:
        raise ConfigError(f'{path}: expected a JSON object {{"class": ["descriptor", …]}} with at least one class.')
    for name, some in found.items():
        if not isinstance(some, list) or not all(isinstance(one, str) for one in some):
            raise ConfigError(f"{path}: class {name!r}: expected a list of texts. Give [] where there are none.")
    return found


def _without_doubles(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f"{next(name for name in names if names.count(name) > 1)!r} stands there twice")
    return found


def match_classes(descriptors: Descriptors, classes: Sequence[str]) -> dict[str, list[str]]:
    """The descriptors of the classes, in the classes' order: matched by name, never by place.

    A name is taken to the letter, else without regard to case and to "_" for a space, where only one fits.

    Raises ConfigError that names the classes without any, and what comes near them.
    """
    loose: dict[str, list[str]] = {}
    for name in descriptors:
        loose.setdefault(spoken(name).casefold(), []).append(name)

    def found(name: str) -> str | None:
        candidates = [name] if name in descriptors else loose.get(spoken(name).casefold(), [])
        return candidates[0] if len(candidates) == 1 else None

    keys = {name: found(name) for name in classes}
    missing = [name for name, key in keys.items() if key is None]
    if missing:
        raise ConfigError(
            f"descriptors: {len(missing)} of {len(keys)} classes are not among them: {_listed(missing, descriptors)}. "
            "Add them, or rename the classes."
        )
    return {name: list(descriptors[key]) for name, key in keys.items() if key is not None}


def _listed(missing: list[str], known: Descriptors, at_most: int = 5) -> str:
    told = []
    for name in missing[:at_most]:
        near = difflib.get_close_matches(name, known, 2, 0.6)
        told.append(repr(name) + (f" (near: {', '.join(map(repr, near))})" if near else ""))
    more = f" and {len(missing) - at_most} more" if len(missing) > at_most else ""
    return ", ".join(told) + more


def texts_of(
    descriptors: Descriptors, template: str = TEMPLATE, grammar: str = "fixed", empty: str = "error"
) -> dict[str, list[tuple[str | None, str]]]:
    """Of each class its descriptors, each with the text that stands for it; at least one.

    With grammar "fixed" blank descriptors count as none; "released" makes a clause of them, as of a class without any.

    empty  what becomes of a class without descriptors: "error", or "name" for its name alone

    Raises ConfigError that names all classes without descriptors, if empty is "error".
    """
    if empty not in EMPTY:
        raise ConfigError(f"empty: expected one of {', '.join(EMPTY)}, got {empty!r}.")
    kept: dict[str, list[str | None]] = {
        name: [one for one in some if one.strip() or grammar == "released"] for name, some in descriptors.items()
    }
    bare = [name for name, some in kept.items() if not some]
    if bare and empty == "error":
        raise ConfigError(
            f"descriptors: {len(bare)} of {len(kept)} classes have none: {', '.join(bare)}. Add some, or let the name "
            "stand for them (empty='name', --empty name)."
        )
    alone: list[str | None] = [""] if grammar == "released" else [None]
    return {
        name: [(one, describe(name, one, template, grammar)) for one in some or alone] for name, some in kept.items()
    }
