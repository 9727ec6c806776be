"""Selection-Inference (Creswell et al. 2022): answers by steps that each show what they were drawn from."""

import importlib
from typing import Any

# looked up on first use: none of them needs torch, but a command's help needs none of them
_LAZY = {
    "UNKNOWN": ".problem",
    "Problem": ".problem",
    "Step": ".problem",
    "Prompts": ".prompts",
    "TrainedPrompts": ".prompts",
    "Answer": ".parts",
    "Selected": ".parts",
    "Trace": ".trace",
    "TraceStep": ".trace",
    "read_trace": ".trace_json",
    "ScoringSelector": ".selection",
    "LabelSelector": ".selection",
    "LanguageModelInferrer": ".inference",
    "FixedSteps": ".halting",
    "LanguageModelHalter": ".halting",
    "LanguageModelValue": ".value",
    "SelectionInference": ".loop",
    "FewShotPrompts": ".few_shot",
    "read_prompts": ".few_shot",
    "ChainOfThought": ".baselines",
    "DirectAnswering": ".baselines",
    "Reply": ".baselines",
    "self_consistency": ".baselines",
    "read_statements": ".statements",
    "statements_of": ".statements",
}
__all__ = list(_LAZY)


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
