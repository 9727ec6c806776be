"""The methods of merging by name: where they are, what they take, and what holds where a recipe is silent."""

import importlib
from dataclasses import dataclass
from typing import Any

from .method import Method


@dataclass(frozen=True)
class MethodEntry:
    """What a recipe must know of a method. Defaults are mergekit's (0.1.5), read from its code.

    place       module and function
    based       whether it merges changes to a base model
    parameters  that it takes
    normalize   where the recipe does not say
    divides     whether normalize divides by the sum of all weights, which must not be 0 then
    models      how many it takes, the base among them, or None for any number
    sees_all    whether inf or NaN in any model always show in what it gives, or in the count that it returns
    """

    place: tuple[str, str]
    based: bool
    parameters: tuple[str, ...]
    normalize: bool = False
    divides: bool = False
    models: int | None = None
    sees_all: bool = True

    def load(self) -> Method:
        """The method itself."""
        module, function = self.place
        found: Any = getattr(importlib.import_module(f".{module}", __package__), function)
        return found


_CHANGES = ("weight", "normalize", "lambda", "int8_mask")
METHODS: dict[str, MethodEntry] = {
    "linear": MethodEntry(("linear", "linear"), False, ("weight", "normalize"), normalize=True, divides=True),
    "uniform": MethodEntry(("linear", "linear"), False, (), normalize=True),
    "task_arithmetic": MethodEntry(("linear", "task_arithmetic"), True, _CHANGES, divides=True),
    "slerp": MethodEntry(("slerp", "slerp"), False, ("t",), models=2),
    "ties": MethodEntry(("ties", "ties"), True, ("density", *_CHANGES), normalize=True, sees_all=False),
    "dare_linear": MethodEntry(
        ("dare", "dare_linear"), True, ("density", "rescale", *_CHANGES), divides=True, sees_all=False
    ),
    "dare_ties": MethodEntry(("dare", "dare_ties"), True, ("density", "rescale", *_CHANGES), sees_all=False),
}
