"""Categories in JSON and YAML files, read strictly: nothing executed, nothing twice, nothing unknown."""

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from ..errors import ConfigError, TheoryError, in_one_line
from .category import FiniteCategory, shown

KEYS = ("objects", "morphisms", "identities", "compose")


def load_category(path: str | Path) -> FiniteCategory:
    """The category in a .json or .yaml file.

    objects     a list of names; all names are strings
    morphisms   name -> [domain, codomain], identities among them
    identities  object -> name of its identity
    compose     a list of [g, f, composite of g after f]; composites with identities may be left out

    Raises ConfigError for a file that does not say that, TheoryError for a law that does not hold; both in one line
    that names the file.
    """
    path = Path(path)
    facts = _read(path)
    try:
        return _category(facts)
    except TheoryError as error:
        raise TheoryError(f"{path}: {error}", *error.where) from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _category(facts: Any) -> FiniteCategory:
    if not isinstance(facts, dict) or set(facts) != set(KEYS):
        got = in_one_line(", ".join(map(str, facts)), 80) or "nothing" if isinstance(facts, dict) else _kind(facts)
        raise ConfigError(f"expected the keys {', '.join(KEYS)}, got {got}.")
    objects = _strings("objects", facts["objects"])
    morphisms = {
        name: tuple(_strings(f"morphisms: {shown(name)}", ends, 2))
        for name, ends in _mapping("morphisms", facts["morphisms"]).items()
    }
    identities = _mapping("identities", facts["identities"])
    _strings("identities", list(identities.values()))
    compose: dict[tuple[str, str], str] = {}
    if not isinstance(facts["compose"], list):
        raise ConfigError(f"compose: expected a list of [g, f, composite], got {_kind(facts['compose'])}.")
    for place, triple in enumerate(facts["compose"], 1):
        g, f, composite = _strings(f"compose: entry {place}", triple, 3)
        if compose.setdefault((g, f), composite) != composite:
            raise ConfigError(f"compose: entry {place} gives {shown(g)} after {shown(f)} a second composite.")
    return FiniteCategory(objects, morphisms, identities, compose)  # type: ignore[arg-type]


def _strings(where: str, value: Any, count: int | None = None) -> list[str]:
    wanted = "names" if count is None else f"{count} names"
    if not isinstance(value, list) or (count is not None and len(value) != count):
        got = f"{len(value)} entries" if isinstance(value, list) else _kind(value)
        raise ConfigError(f"{where}: expected a list of {wanted}, got {got}.")
    wrong = next((one for one in value if not isinstance(one, str)), "")
    if not isinstance(wrong, str):
        raise ConfigError(f"{where}: expected names, got {_kind(wrong)}. Put names that look like numbers in quotes.")
    return value


def _mapping(where: str, value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{where}: expected names and their values, got {_kind(value)}.")
    _strings(where, list(value))
    return value


def _kind(value: Any) -> str:
    """What a value is, without its contents, which may be endless."""
    return shown(value) if isinstance(value, str | int | float | None) else f"a {type(value).__name__}"


def _read(path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8-sig")
        if path.suffix == ".json":
            return json.loads(text, object_pairs_hook=_without_twins)
        if path.suffix in (".yaml", ".yml"):
            return yaml.load(text, _Strict)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except (ValueError, RecursionError, yaml.YAMLError) as error:
        raise ConfigError(f"{path}: cannot be read ({in_one_line(error)}).") from None
    raise ConfigError(f"{path}: expected a category as .json or .yaml.")


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands there twice")
    return found


class _Strict(yaml.SafeLoader):  # type: ignore[misc]
    """Refuses keys that stand there twice, of which the last would win, and aliases, which can be endless."""

    def compose_node(self, parent: Any, index: Any) -> Any:
        if self.check_event(yaml.AliasEvent):
            raise yaml.YAMLError(f"the alias *{self.peek_event().anchor} is not allowed; write it out")
        return super().compose_node(parent, index)

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Hashable, Any]:
        found = super().construct_mapping(node, deep)
        if len(found) < len(node.value):
            raise yaml.YAMLError("a key stands there twice")
        return found
