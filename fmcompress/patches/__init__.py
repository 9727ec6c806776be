"""Updateable models: what changed between two checkpoints, kept as a small checkpoint of its own."""

import importlib
from typing import Any

# looked up on first use: all of them need torch
_LAZY = {
    "ChangeFacts": ".changes",
    "Patch": ".patch",
    "PatchOptions": ".options",
    "PatchedCheckpoint": ".patched",
    "apply_patch": ".apply",
    "compare_checkpoints": ".changes",
    "is_patch": ".patch",
    "make_patch": ".make",
    "open_patched": ".patched",
    "patch_facts": ".patch",
}
__all__ = [*_LAZY]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
