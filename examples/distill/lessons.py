"""What step_by_step.py teaches: generated word problems with a simulated teacher, and e-SNLI with a trained one."""

import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from word_problems import SLIP, problems

from fmcompress.distillation.evaluation import answers_of, prompts_in
from fmcompress.distillation.examples import Example, write_examples
from fmcompress.distillation.options import TrainOptions
from fmcompress.distillation.raw_data import read_data
from fmcompress.distillation.run import train_student
from fmcompress.distillation.tasks import task
from fmcompress.language_model import TransformersLanguageModel

TESTED = 600  # pairs of e-SNLI that students are asked; their teacher learns from others


@dataclass(frozen=True)
class Lesson:
    """A task for all arms.

    settings  of TrainOptions
    room      tokens of an answer
    examples  of the data's folder and the steps of a teacher's training (None: as many as it needs): the examples, and
              what is known of the teacher
    """

    name: str
    settings: dict[str, Any]
    room: int
    examples: Callable[[Path, int | None], tuple[list[Example], dict[str, Any]]]


def word_problems(_: Path, __: int | None) -> tuple[list[Example], dict[str, Any]]:
    """Of one seed for all arms: what differs between them is the student, and which share of these it sees."""
    examples = [*problems(1000, 0, "train"), *problems(200, 0, "valid"), *problems(300, 0, "test")]
    return examples, {"kind": f"simulated, one slip in {SLIP:.0%} of the problems", **_quality(examples, "svamp")}


def esnli(given: Path, steps: int | None) -> tuple[list[Example], dict[str, Any]]:
    """Development pairs to learn from, with human rationales; labels of a teacher that learned from test pairs alone.

    The teacher is a student by fine-tuning, with twice the steps, on test pairs that no arm is asked. Premises of pairs
    that arms are asked are not among its own.
    """
    examples = read_data(task("esnli"), given / "esnli").examples
    test = [one for one in examples if one.split == "test"]
    asked, premises = test[:TESTED], {_premise(one) for one in test[:TESTED]}
    others = [replace(one, split="train") for one in test[TESTED:] if _premise(one) not in premises]
    own = [one for one in examples if one.split != "test"]
    options = TrainOptions(
        **{**ESNLI, "steps": steps or 2 * ESNLI["steps"]}, method="fine-tuning", select="last", new="t5", seed=100
    )
    with tempfile.TemporaryDirectory() as folder:
        data, out = Path(folder) / "teacher.jsonl", Path(folder) / "teacher"
        write_examples(data, others)
        train_student(data, out, options, device="cpu")
        teacher, (prompts, _) = TransformersLanguageModel(out, device="cpu", batch=100), prompts_in(out)
        said = list(answers_of(teacher, own, task("esnli"), prompts, max_tokens=8))
    labelled = [replace(one.example, teacher_label=None if one.unparsed else one.label) for one in said]
    return [*labelled, *asked], {
        "kind": "trained in the run",
        "learned_from": len(others),
        **_quality(labelled, "esnli"),
    }


def _quality(examples: list[Example], name: str) -> dict[str, Any]:
    """Of training examples: how often the teacher is right, and how often it says nothing."""
    some = [one for one in examples if one.split == "train"]
    right = sum(bool(one.teacher_label and task(name).right(one.teacher_label, one.label or "")) for one in some)
    return {"examples": len(some), "right": right / len(some), "silent": sum(one.teacher_label is None for one in some)}


def _premise(example: Example) -> str:
    return example.input.partition("\n")[0]


WORDS = {"task": "svamp", "width": 64, "batch_size": 16, "steps": 400, "learning_rate": 3e-3}
ESNLI = {
    "task": "esnli", "width": 32, "layers": 1, "heads": 2, "vocabulary": 3000, "batch_size": 32, "steps": 400,
    "learning_rate": 5e-3,
}  # fmt: skip
LESSONS = {
    one.name: one
    for one in (
        Lesson("word problems", WORDS, 120, word_problems),
        Lesson("e-SNLI", ESNLI, 80, esnli),
    )
}
