"""Language models behind one small protocol: transformers, an OpenAI-compatible endpoint, a file, a script."""

import importlib
from typing import Any

from .protocol import LanguageModel, Score

# looked up on first use, so that a file or an endpoint needs neither torch nor transformers
_LAZY = {
    "EndpointLanguageModel": ".endpoint",
    "FileLanguageModel": ".file",
    "Recorded": ".file",
    "ScriptedLanguageModel": ".scripted",
    "Settings": ".settings",
    "TransformersLanguageModel": ".transformers_model",
    "language_model": ".choose",
}
__all__ = ["LanguageModel", "Score", *_LAZY]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
