"""Parameters of a merge as mergekit's YAML has them: a number, a gradient over the layers, or rules by tensor name."""

import math
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError

NUMBERS = ("weight", "density", "lambda", "t")
SWITCHES = ("normalize", "rescale", "int8_mask")
OF_MODEL = ("weight", "density")  # may stand beside a model; the others hold for all


@dataclass(frozen=True)
class Rule:
    """A value for tensors.

    filter  part of their names; None for all of them
    values  one, or several numbers that are interpolated from the first layer to the last
    """

    filter: str | None
    values: tuple[float | bool, ...]


Setting = tuple[Rule, ...]  # the first that fits counts


def parse_parameters(where: str, given: Any, known: Iterable[str]) -> dict[str, Setting]:
    """The parameters of a recipe or of a model. Raises ConfigError if one is unknown or no value."""
    if given is None:
        return {}
    if not isinstance(given, dict) or not all(isinstance(name, str) for name in given):
        raise ConfigError(f"{where}: expected names and values such as 'weight: 0.5', got {given!r}.")
    for name in given:
        if name not in known:
            raise ConfigError(f"{where}: {name} is no parameter here. Known: {', '.join(known)}.")
    return {name: _setting(f"{where}.{name}", name, value) for name, value in given.items()}


def _setting(where: str, name: str, given: Any) -> Setting:
    if isinstance(given, dict):
        given = [given]
    if isinstance(given, list) and given and all(isinstance(one, dict) for one in given):
        return tuple(_rule(where, name, one) for one in given)
    return (Rule(None, _values(where, name, given)),)


def _rule(where: str, name: str, given: dict[Any, Any]) -> Rule:
    if "value" not in given or given.keys() - {"filter", "value"}:
        raise ConfigError(f"{where}: expected a rule of filter and value, got {given!r}.")
    wanted = given.get("filter")
    if wanted is not None and not isinstance(wanted, str):
        raise ConfigError(f"{where}: expected a part of a tensor's name as filter, got {wanted!r}.")
    return Rule(None if wanted == "*" else wanted, _values(where, name, given["value"]))


def _values(where: str, name: str, given: Any) -> tuple[float | bool, ...]:
    if name in SWITCHES:
        if not isinstance(given, bool):
            raise ConfigError(f"{where}: expected true or false, got {given!r}.")
        return (given,)
    values = given if isinstance(given, list) else [given]
    if not values:
        raise ConfigError(f"{where}: expected a number or a list of them, got an empty list.")
    return tuple(_number(where, name, value) for value in values)


def _number(where: str, name: str, given: Any) -> float:
    try:
        if isinstance(given, bool) or not isinstance(given, int | float | str):
            raise ValueError
        number = float(given)  # a text: YAML takes 1e-3 for one
    except (ValueError, OverflowError):
        raise ConfigError(f"{where}: expected a number, got {given!r}.") from None
    if not math.isfinite(number):
        raise ConfigError(f"{where}: expected a finite number, got {number}.")
    if name == "density" and not 0 < number <= 1:
        raise ConfigError(f"{where}: expected a share above 0 and at most 1, got {number:g}.")
    return number


def value_at(settings: Iterable[Setting | None], tensor: str, place: float) -> float | bool | None:
    """The value of the first setting that has one for a tensor at a place in [0, 1]; None if none has."""
    for setting in settings:
        for rule in setting or ():
            if rule.filter is None or rule.filter in tensor:
                return _interpolated(rule.values, place)
    return None


def _interpolated(values: tuple[float | bool, ...], place: float) -> float | bool:
    scaled = place * (len(values) - 1)
    before = min(int(scaled), len(values) - 1)
    share = scaled - before
    if not share:
        return values[before]
    return (1 - share) * values[before] + share * values[before + 1]


def places(names: Iterable[str]) -> dict[str, float]:
    """Where tensors stand between the first layer, 0, and the last, 1, by the first number in their names.

    Layers are counted among those with the same words before the number. Without a number a tensor stands at the first
    layer, as mergekit has it; the only layer of a model stands at the last.
    """
    layers = {name: _layer(name) for name in names}
    last: dict[str, int] = defaultdict(int)
    for stack, number in filter(None, layers.values()):
        last[stack] = max(last[stack], number)
    return {name: 0.0 if at is None else at[1] / last[at[0]] if last[at[0]] else 1.0 for name, at in layers.items()}


def _layer(name: str) -> tuple[str, int] | None:
    found = re.match(r"(.*?)(?:^|\.)(\d{1,6})(?:\.|$)", name, re.ASCII)
    return None if found is None else (found[1], int(found[2]))
