"""Recovery from a pruned checkpoint to one of the same form that its dense parent has taught; may be interrupted."""

import operator
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch

from ..checkpoint.card import note_recovered
from ..checkpoint.layout import CARD
from ..devices import pick_device
from ..evaluation import mean_nats, open_streamed, perplexity
from ..runtime import load
from ..training.folder import TrainingFolder, read_log
from ..training.loop import Observer, train
from ..training.schedule import Schedule
from ..training.selecting import Selecting
from ..training.start import load_trainable, zeros_of
from ..training.trainer import Trainer
from .logit_objective import LogitObjective, Teacher, TeacherFile, TeacherModel
from .recover import choose_learning, perplexity_on
from .recover_curves import plot_recovery
from .recover_inputs import Inputs, read_inputs
from .recover_options import RecoverOptions
from .recover_plan import measure, require_room
from .recover_writing import round_to_stored_, write_recovered

Facts = dict[str, Any]
WIDTH_RATE, HIGHEST_RATE = 0.128, 1e-3  # a learning rate that falls with the width


def run_recover(
    pruned: Path, out: Path, options: RecoverOptions, observer: Observer, *, device: str = "auto",
    plot: Path | None = None, resume: bool = False, force: bool = False,
) -> Facts:  # fmt: skip
    """Let a pruned model learn its teacher's logits, and write it into OUT in the form that it had, its zeros kept.

    plot  picture of losses and perplexity, drawn anew at each checkpoint

    Returns out, steps, best_step, perplexity (before, after and dense), regained (share of what was lost; None where
    nothing was lost or no teacher is there), learning and pruned (numbers of weights), rounded_to_zero and more. The
    step of the lowest perplexity on held-out text is kept; where no step gained anything OUT is a copy of the pruned
    model, and a note says so. Raises an error before any work where something does not fit, Interrupted when the
    observer stops it.
    """
    where = pick_device(device)
    folder = TrainingFolder(out, resume=resume, force=force)
    inputs = read_inputs(pruned, options)
    fingerprint = inputs.fingerprint(options)
    if folder.finished:
        return {**folder.check_finished(fingerprint), "out": str(out), "finished_before": True}
    begun_at = time.process_time()
    with folder.open(fingerprint) as begun:
        try:
            recovery, dense = prepare(inputs, options, where)
            before = recovery.value
            if begun:
                recovery.load(*folder.load())
                observer.note(f"resuming: {recovery.step} of {recovery.steps} steps are done")
            draw = partial(plot_recovery, before=before, dense=dense)
            train(recovery, folder, observer, options.save_every, plot=plot, draw=draw)
        except BaseException:
            folder.discard_if_empty()
            raise
        facts = {"fingerprint": fingerprint, **_finish(folder, inputs, recovery, before, dense)}
        if plot:
            draw(read_log(folder.log), plot)
        note_recovered(inputs.pruned.folder / CARD, folder.model / CARD, facts)
        folder.publish(facts)
    for note in facts["notes"]:
        observer.note(note)
    return {**facts, "out": str(out), "cpu_s": time.process_time() - begun_at}


def prepare(inputs: Inputs, options: RecoverOptions, device: torch.device) -> tuple[Selecting, float | None]:
    """The training before its first step, and the perplexity of the dense model on the held-out windows if known.

    Raises ConfigError where the memory is too small, or nothing is left to learn.
    """
    online = inputs.teacher is not None and inputs.logits is None and options.teacher_weight > 0
    require_room(inputs, device, online=online)
    teacher: Teacher | None = None
    dense = None
    if online:
        assert inputs.teacher is not None
        of_teacher = load(inputs.teacher.folder, device=str(device), dtype="float32").requires_grad_(False)
        dense, teacher = perplexity_on(of_teacher, inputs.valid), TeacherModel(of_teacher)
    elif inputs.teacher is not None:  # never whole in memory
        streamed = open_streamed(inputs.teacher.folder, device, "float32")
        dense = perplexity(mean_nats(streamed, inputs.valid), inputs.teacher.folder)[0]
    temperature = options.temperature
    if inputs.logits is not None and options.teacher_weight:
        teacher, temperature = TeacherFile(inputs.logits), inputs.logits.about.temperature
    model, _ = load_trainable(inputs.pruned.folder, str(device))
    choose_learning(model, options.include, options.exclude)
    zeros = {name: zero for name, zero in zeros_of(model).items() if model.get_parameter(name).requires_grad}
    objective = LogitObjective(
        model, inputs.train, teacher, vocabulary=inputs.vocabulary, teacher_weight=options.teacher_weight,
        temperature=temperature, batch_size=options.batch_size, seed=options.seed,
    )  # fmt: skip
    width = getattr(model.config.get_text_config(), "hidden_size", None) or 1024
    rate = options.learning_rate or min(HIGHEST_RATE, WIDTH_RATE / width)
    schedule = Schedule(options.batch_size, rate, 0.0, warmup=0.05, seed=options.seed, bfloat16=device.type == "cuda")
    every = options.valid_every or max(1, options.steps // 10)
    look = partial(perplexity_on, model, inputs.valid)
    trainer = Trainer(objective, options.steps, schedule, zeros)
    return Selecting(trainer, look, every, name="perplexity", better=operator.lt, start=look()), dense


def plan_recover(
    pruned: Path, out: Path, options: RecoverOptions, *, device: str = "auto", resume: bool = False, force: bool = False
) -> Facts:
    """What run_recover would do, from two steps that are done in memory alone; nothing is written.

    Returns the perplexities before and of the dense model, and what recover_plan.measure does.
    """
    TrainingFolder(out, resume=resume, force=force)
    inputs = read_inputs(pruned, options)
    recovery, dense = prepare(inputs, options, pick_device(device))
    known = {"perplexity": {"before": recovery.value, "dense": dense}, "windows": _windows(inputs)}
    return {"out": str(out), "steps": recovery.steps, **known, **_weights(recovery), **measure(recovery)}


def _windows(inputs: Inputs) -> Facts:
    return {"train": len(inputs.train), "valid": len(inputs.valid), "length": inputs.train.shape[1]}


def _weights(recovery: Selecting) -> Facts:
    """How many learn, and how many stay 0."""
    return {
        "learning_rate": recovery.trainer.schedule.learning_rate,
        "learning": sum(one.numel() for one in recovery.trainer.model.parameters() if one.requires_grad),
        "pruned": sum(int(zero.sum()) for zero in recovery.trainer.zeros.values()),
    }


def _finish(folder: TrainingFolder, inputs: Inputs, recovery: Selecting, before: float, dense: float | None) -> Facts:
    """Write the best step, and tell of it."""
    model: Any = recovery.trainer.model
    zeros, notes = recovery.trainer.zeros, list[str]()
    after, rounded = before, 0
    if recovery.chosen:
        recovery.choose_()
        rounded = round_to_stored_(model, inputs.pruned, zeros)
        after = perplexity_on(model, inputs.valid)
    gained = after < before
    if not gained:
        after, rounded = before, 0
        notes.append("nothing was gained on the held-out text: OUT holds the pruned weights as they were")
    write_recovered(inputs.pruned, folder.model, folder.scratch, model if gained else None, zeros)
    lost = None if dense is None else before - dense
    return {
        "steps": recovery.steps,
        "best_step": recovery.chosen if gained else 0,
        "perplexity": {"before": before, "after": after, "dense": dense},
        "regained": None if lost is None or lost <= 0 else (before - after) / lost,
        **_weights(recovery),
        "rounded_to_zero": rounded,
        "tokens": recovery.steps * min(recovery.trainer.schedule.batch_size, len(inputs.train)) * inputs.train.shape[1],
        "windows": _windows(inputs),
        "notes": notes,
    }
