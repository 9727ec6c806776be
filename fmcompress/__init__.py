"""fmcompress: prune and compress foundation models with native kernels."""

import importlib
from typing import Any

__version__ = "0.1.0"

# looked up on first use, so that importing the package starts nothing
_LAZY = {
    "available": "._backends",
    "explain": "._backends",
    "use": "._backends",
    "sparsegpt": ".pruning",
    "magnitude": ".pruning",
    "wanda": ".pruning",
    "admm": ".pruning",
    "refit": ".pruning",
    "swap": ".pruning",
    "Unstructured": ".pruning",
    "NM": ".pruning",
    "LayerResult": ".pruning",
    "Grid": ".quantization",
    "gptq": ".quantization",
    "round_to_nearest": ".quantization",
}
__all__ = [*_LAZY]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
