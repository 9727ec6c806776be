"""Model Ratatouille (Ramé et al. 2023): weights of diverse fine-tunings recycled and averaged, and diagnostics."""

import importlib
from typing import Any

# looked up on first use: all of them need torch
_LAZY = {
    "Comparison": ".diagnostics",
    "Dish": ".methods",
    "Diversity": ".diagnostics",
    "FirstOrder": ".diagnostics",
    "Job": ".job",
    "METHODS": ".methods",
    "Ratatouille": ".recipe",
    "Run": ".job",
    "average": "..merging.weights",
    "compare": ".diagnostics",
    "diversity": ".diagnostics",
    "first_order": ".diagnostics",
    "plot_barriers": ".plots",
    "plot_diversity": ".plots",
    "plot_lines": ".plots",
}
__all__ = list(_LAZY)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
