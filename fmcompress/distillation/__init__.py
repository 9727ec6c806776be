"""Distilling step-by-step (Hsieh et al. 2023): a small student learns a teacher's answers and its reasons."""

import importlib
from typing import Any

# looked up on first use, so that the package itself needs neither torch nor transformers
_LAZY = {
    "Asking": ".rationales",
    "Example": ".examples",
    "LogitsFile": ".top_k_logits",
    "RecoverOptions": ".recover_options",
    "RowCollator": ".transformers_trainer",
    "StepByStepTrainer": ".transformers_trainer",
    "StudentPrompts": ".methods",
    "Task": ".tasks",
    "TeacherReport": ".teacher_report",
    "Template": ".prompts",
    "TrainOptions": ".options",
    "answers_of": ".evaluation",
    "ask_teacher": ".rationales",
    "keep_right": ".rationales",
    "prompts_in": ".evaluation",
    "read_data": ".raw_data",
    "read_examples": ".examples",
    "read_template": ".prompts",
    "report_of": ".evaluation",
    "reports_by_split": ".teacher_report",
    "rows_of": ".methods",
    "run_recover": ".recover_run",
    "task": ".tasks",
    "train_student": ".run",
    "weights_of": ".methods",
    "with_teacher": ".completions",
    "write_examples": ".examples",
    "write_teacher_logits": ".teacher_logits",
}
__all__ = [*_LAZY]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
