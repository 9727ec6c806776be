"""What tests of reasoning share: a problem of two steps, and models that solve it by rule or by chance."""

import random

from fmcompress.language_model import ScriptedLanguageModel
from fmcompress.reasoning import Trace, TraceStep

CONTEXT = ("Milo is a lynx.", "Tara is a gull.", "Every lynx is quiet.", "Quiet animals hunt.")
QUESTION = "Does Milo hunt?"
QUIET, HUNTS = "Milo is quiet.", "Milo hunts."
FOLLOWS = {
    "Milo is a lynx and Every lynx is quiet": QUIET,
    "Milo is quiet and Quiet animals hunt": HUNTS,
}


def trace(**changed):
    """A valid trace of both steps."""
    fields = {
        "context": CONTEXT,
        "question": QUESTION,
        "steps": (TraceStep((0, 2), QUIET, -1.5), TraceStep((4, 3), HUNTS, -0.25, 2.0)),
        "answer": "yes",
        "state": "answered",
        "reason": "the halter answered after step 2",
        "choices": ("yes", "no"),
        "scores": (("yes", -0.1), ("no", -3.0)),
    }
    return Trace(**{**fields, **changed})


def solver():
    """A model that selects, infers and halts rightly on CONTEXT with TrainedPrompts."""

    def infer(prompt):
        selected = prompt.removeprefix("infer: ").removesuffix(". Therefore")
        return f" {FOLLOWS.get(selected, 'Nothing follows.')}"

    return ScriptedLanguageModel(infer, score)


def score(prefix, text):
    if prefix.startswith("halt:"):
        wanted = " yes" if HUNTS in prefix else " not yet"
    else:
        second = prefix.endswith(" and")
        wanted = (" Quiet animals hunt" if second else " Milo is quiet") if QUIET in prefix else ""
        wanted = wanted or (" Every lynx is quiet" if second else " Milo is a lynx")
    return -0.5 if text == wanted else -4.0


def chance(seed=0):
    """A model whose scores are random numbers, the same for the same text."""
    return ScriptedLanguageModel(
        lambda prompt: f" {random.Random(f'{seed}{prompt}').choice(['Up', 'Down'])} is up.",
        lambda prefix, text: -10 * random.Random(f"{seed}{prefix}|{text}").random(),
    )
