"""Averages and task vectors of checkpoints, streamed: any architecture, by tensor name, in little memory."""

import importlib
from typing import Any

# looked up on first use, so that whoever needs only a part loads no more
_LAZY = {
    "METHODS": ".registry",
    "MergePlan": ".plan",
    "MergeRecipe": ".recipe",
    "TensorSettings": ".method",
    "merge_checkpoints": ".run",
    "plan_merge": ".plan",
    "read_recipe": ".recipe",
    "recipe_of": ".recipe",
}
__all__ = list(_LAZY)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
