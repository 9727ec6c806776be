"""Sixteen sums with a teacher's reasons, as the tests of students share them."""

from dataclasses import replace

from fmcompress.distillation.examples import Example, write_examples
from fmcompress.distillation.methods import StudentPrompts, rows_of, weights_of
from fmcompress.training.start import new_model, new_tokenizer
from fmcompress.training.text_objective import TextObjective

SUMS = [
    Example(f"{a} + {b}", str(a + b), f"{b} after {a} is {a + b}", str(a + b), "train")
    for a in range(4)
    for b in range(4)
]
VALID = [replace(one, split="valid") for one in SUMS[:4]]
TEST = [replace(one, split="test") for one in SUMS[4:8]]
TEXTS = [f"predict: explain: So the answer is Answer: {one.input} {one.rationale}" for one in SUMS]
FAST = ("--steps", 6, "--batch-size", 4, "--width", 32, "--layers", 1, "--save-every", 2, "--device", "cpu")


def tokenizer():
    return new_tokenizer(TEXTS, 400, "words")


def student(kind="t5", seed=0):
    return new_model(kind, tokenizer(), seed=seed, width=32, heads=2, longest=64)


def objective(kind="t5", method="step-by-step", alpha=0.5, weight=None, examples=SUMS, **settings):
    rows = rows_of(examples, method, StudentPrompts(), weights=weights_of(method, alpha, weight))
    return TextObjective(student(kind), tokenizer(), rows.examples, rows.weights, **settings)


def gradients(what, step=0):
    what.model.zero_grad()
    for losses in what.losses(step):
        sum(losses.values()).backward()
    return {name: one.grad.clone() for name, one in what.model.named_parameters() if one.grad is not None}


def write_sums(folder):
    path = folder / "sums.jsonl"
    write_examples(path, [*SUMS, *VALID, *TEST])
    return path
