"""Distilling step-by-step (Hsieh et al. 2023): a small student learns a teacher's answers and its reasons."""

import importlib
from typing import Any

# looked up on first use, so that the package itself needs neither torch nor transformers
_LAZY = {
    "Asking": ".rationales",
    "Example": ".examples",
    "Task": ".tasks",
    "TeacherReport": ".teacher_report",
    "Template": ".prompts",
    "ask_teacher": ".rationales",
    "keep_right": ".rationales",
    "read_data": ".raw_data",
    "read_examples": ".examples",
    "read_template": ".prompts",
    "reports_by_split": ".teacher_report",
    "task": ".tasks",
    "with_teacher": ".completions",
    "write_examples": ".examples",
}
__all__ = [*_LAZY]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
