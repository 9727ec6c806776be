"""A student from a file of examples to a finished folder; the training may be interrupted and goes on."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from ..devices import pick_device
from ..errors import CalibrationError
from ..files import sha256_of
from ..language_model import TransformersLanguageModel
from ..training.curves import plot_losses
from ..training.folder import Record as Facts
from ..training.folder import TrainingFolder, read_log
from ..training.loop import Observer, Unwatched, train
from ..training.schedule import Schedule
from ..training.selecting import Selecting
from ..training.text_objective import TextObjective
from ..training.trainer import Trainer
from .evaluation import share_of_right
from .examples import Example, read_examples
from .methods import SEPARATOR, Rows, StudentPrompts, label_source, rows_of, weights_of
from .options import TrainOptions
from .splits import training_examples, validation_examples
from .student import Student, again, begin
from .tasks import task
from .text_logits import TextLogitObjective, load_teacher

LAST = 50  # steps whose mean losses are told


def train_student(
    data: Path, out: Path, options: TrainOptions, observer: Observer | None = None, *, device: str = "auto",
    plot: Path | None = None, resume: bool = False, force: bool = False,
) -> Facts:  # fmt: skip
    """Train a student on the examples of a file, of its split "train" where it has splits, and write it into OUT.

    plot  picture of the losses, drawn anew at each checkpoint

    OUT is a dense checkpoint with its tokenizer, a log, and fmcompress-training.json: how the student is to be asked,
    what it learned from and what was left out, and the step that was chosen. Returns that with "out". Examples of the
    split "test" are never looked at. Raises an error before any work where something is missing, Interrupted when the
    observer stops it.
    """
    observer = observer or Unwatched()
    where = pick_device(device)
    folder = TrainingFolder(out, resume=resume, force=force)
    task(options.task)
    examples = read_examples(data)
    some = training_examples(examples, options.fraction, options.seed)
    valid = _validation(examples, options)
    fingerprint = {"data": sha256_of(data).hex(), **options.model_dump(mode="json")}
    if folder.finished:
        return {**folder.check_finished(fingerprint), "out": str(out), "finished_before": True}
    with folder.open(fingerprint) as begun:
        try:
            training = _prepare(some, valid, options, folder.model, where, begun)
            trained = training.trained
            if begun:
                trained.load(*folder.load())
                observer.note(f"resuming: {trained.step} of {trained.steps} steps are done")
            train(trained, folder, observer, options.save_every, plot=plot, draw=plot_losses)
        except BaseException:
            folder.discard_if_empty()
            raise
        folder.finish_model(training.finish().save_pretrained)
        records = read_log(folder.log)
        facts = {"fingerprint": fingerprint, **training.facts(), "losses": last_losses(records)}
        if plot:
            plot_losses(records, plot)
        folder.publish(facts)
    for note in notes_on(facts):
        observer.note(note)
    return {**facts, "out": str(out)}


@dataclass
class _Training:
    """What is trained, of what.

    trained  the trainer, or what chooses among its checkpoints
    """

    options: TrainOptions
    student: Student
    prompts: StudentPrompts
    rows: Rows
    objective: TextObjective
    trained: Trainer | Selecting

    def finish(self) -> Any:
        """The model with the weights that were chosen, as it is to be written."""
        if isinstance(self.trained, Selecting):
            self.trained.choose_()
        self.student.require_zeros()
        return self.student.model.eval().to("cpu")

    def facts(self) -> Facts:
        """What was learned, by whom and how, and how the student is to be asked."""
        options, trained = self.options, self.trained
        chosen: Facts = {"by": "last", "step": trained.steps}
        if isinstance(trained, Selecting):
            chosen = {"by": "valid", "step": trained.chosen, "accuracy": trained.value}
        return {
            "method": options.method, "labels": label_source(options.method, options.labels), "task": options.task,
            "prompts": self.prompts.as_dict(), "weights": self.rows.weights, "counts": self.rows.counts,
            "cut": self.objective.cut, "student": self.student.facts(), "steps": trained.steps,
            "learning_rate": options.rate, "chosen": chosen,
        }  # fmt: skip


def _prepare(
    examples: Sequence[Example], valid: Sequence[Example], options: TrainOptions, folder: Path, device: torch.device,
    begun: bool,
) -> _Training:  # fmt: skip
    if begun:
        student = again(options, folder, device)
    else:
        student = begin(options, _texts(examples, options), folder, device)
    prompts = prompts_of(options, student)
    rows = _rows(examples, options, prompts)
    objective = _objective(options, student, rows, device)
    schedule = Schedule(
        options.batch_size, options.rate, options.weight_decay, options.warmup, seed=options.seed,
        bfloat16=device.type == "cuda",
    )  # fmt: skip
    trainer = Trainer(objective, options.steps, schedule, student.zeros)
    trained = _selecting(trainer, student, prompts, valid, options) if valid else trainer
    return _Training(options, student, prompts, rows, objective, trained)


def _objective(options: TrainOptions, student: Student, rows: Rows, device: torch.device) -> TextObjective:
    given: dict[str, Any] = {
        "batch_size": options.batch_size, "micro_batch": options.micro_batch, "seed": options.seed,
        "longest_prompt": options.longest_input, "longest_completion": options.longest_output,
    }  # fmt: skip
    learned = student.model, student.tokenizer, rows.examples, rows.weights
    if options.logits_teacher is None:
        return TextObjective(*learned, **given)
    teacher = load_teacher(Path(options.logits_teacher), student.model, student.tokenizer, device)
    return TextLogitObjective(
        *learned, teacher=teacher, teacher_weight=options.teacher_weight, temperature=options.temperature, **given
    )


def prompts_of(options: TrainOptions, student: Student) -> StudentPrompts:
    """How a student will be asked."""
    separator = options.separator if options.separator is not None else "" if student.has_encoder else SEPARATOR
    single = options.method == "rationale-then-label"
    return StudentPrompts(options.label_prefix, options.rationale_prefix, separator, single)


def last_losses(records: Sequence[dict[str, Any]]) -> dict[str, float]:
    """Means of each loss over the last 50 steps."""
    last = records[-LAST:]
    names = [name for name in last[-1] if name not in ("step", "learning_rate", "valid")] if last else []
    return {name: sum(record[name] for record in last) / len(last) for name in names}


def notes_on(facts: Facts) -> list[str]:
    """What a user should know of a training."""
    counts = facts["counts"]
    what = {"without_label": "label", "without_rationale": "rationale"}
    notes = [f"{counts[key]} of {counts['examples']} examples have no {name} and gave no row for it."
             for key, name in what.items() if counts.get(key)]  # fmt: skip
    if facts["cut"]:
        notes.append(
            f"{facts['cut']} rows were longer than longest-input, longest-output or the model takes and were cut."
        )
    return notes


def _validation(examples: Sequence[Example], options: TrainOptions) -> list[Example]:
    valid = validation_examples(examples)
    if options.select == "valid" and not valid:
        raise CalibrationError('select: no example of split "valid" has a label. Mark some, or --select last.')
    return [] if options.select == "last" else valid[: options.valid_examples]


def _rows(examples: Sequence[Example], options: TrainOptions, prompts: StudentPrompts) -> Rows:
    weights = weights_of(options.method, options.alpha, options.rationale_weight)
    rows = rows_of(examples, options.method, prompts, labels=options.labels, weights=weights)
    if not rows.examples:
        raise CalibrationError(
            f"{options.method}: none of {rows.counts['examples']} examples has what it needs: "
            f"{rows.counts['without_label']} are without a {label_source(options.method, options.labels)} label, "
            f"{rows.counts.get('without_rationale', 0)} without a rationale."
        )
    return rows


def _selecting(
    trainer: Trainer, student: Student, prompts: StudentPrompts, valid: Sequence[Example], options: TrainOptions
) -> Selecting:
    asked = TransformersLanguageModel.of(student.model, student.tokenizer, name="student", batch=64)
    longest = max(len(asked.encode(prompts.label_prompt(one.input))) for one in valid)
    if asked.longest is not None and longest >= asked.longest:
        raise CalibrationError(
            f"valid: an example has {longest} tokens, and the student takes {asked.longest}, its answer included. "
            "Leave it out, or --select last."
        )

    def measure() -> float:
        student.model.eval()
        try:
            return share_of_right(asked, valid, task(options.task), prompts)
        finally:
            student.model.train()

    return Selecting(trainer, measure, options.save_every)


def _texts(examples: Sequence[Example], options: TrainOptions) -> list[str]:
    """What a new tokenizer is made for: all that may be written or read, whatever the method learns of it."""
    found = [options.label_prefix, options.rationale_prefix]
    for one in examples:
        found += [text for text in (one.input, one.label, one.teacher_label, one.rationale) if text]
    return found
