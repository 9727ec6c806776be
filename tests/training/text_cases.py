"""Tiny models and rows that the tests of training share."""

from fmcompress.training.schedule import Schedule
from fmcompress.training.start import new_model, new_tokenizer
from fmcompress.training.text_objective import TextObjective
from fmcompress.training.text_rows import Row
from fmcompress.training.trainer import Trainer

SUMS = [(a, b) for a in range(4) for b in range(4)]
EXAMPLES = [
    (Row(f"predict: {a} + {b}", f" {a + b}", "label"), Row(f"explain: {a} + {b}", f" {b} after {a} is {a + b}", "why"))
    for a, b in SUMS
]
TEXTS = [text for rows in EXAMPLES for row in rows for text in (row.prompt, row.completion)]


def tokenizer(kind="words"):
    return new_tokenizer(TEXTS, 400, kind)


def objective(kind="t5", weights=None, words=None, seed=0, **settings):
    words = words or tokenizer()
    model = new_model(kind, words, seed=seed, width=32, heads=2, longest=64)
    return TextObjective(model, words, EXAMPLES, weights or {"label": 0.5, "why": 0.5}, **settings)


def trainer(kind="t5", steps=6, learning_rate=3e-3, zeros=None, **settings):
    return Trainer(objective(kind, **settings), steps, Schedule(learning_rate=learning_rate), zeros)
