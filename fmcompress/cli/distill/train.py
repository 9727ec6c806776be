"""fmcompress distill train."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .. import arguments as shared
from . import distill_app


@distill_app.command()
def train(
    data: Annotated[
        Path,
        typer.Argument(
            help='Examples, .jsonl: {"input", "label", "rationale", "teacher_label", "split"}; input alone is needed.'
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the student to write; appears when all is done.")],
    method: Annotated[
        Literal["fine-tuning", "distillation", "step-by-step", "rationale-then-label", "logits"] | None,
        typer.Option(
            help="step-by-step (default): labels and rationales as two tasks; fine-tuning: gold labels; distillation: "
            "the teacher's; rationale-then-label: both in one text; logits: labels and what --logits-teacher says of "
            "them."
        ),
    ] = None,
    student: Annotated[
        Path | None, typer.Option(help="Folder to begin with, dense or packed; zeros of a pruned one stay.")
    ] = None,
    new: Annotated[Literal["t5", "llama"] | None, typer.Option(help="Begin with a new student instead.")] = None,
    size: Annotated[Literal["tiny", "small"] | None, typer.Option(help="Of a new one; default tiny.")] = None,
    width: Annotated[int | None, typer.Option(help="Of a new one; 64 or 256 by its size.")] = None,
    layers: Annotated[int | None, typer.Option(help="Of a new one; 2 or 4 by its size.")] = None,
    vocabulary: Annotated[int | None, typer.Option(help="Tokens of a new one; 1000 or 4000 by its size.")] = None,
    labels: Annotated[
        Literal["gold", "teacher"] | None, typer.Option(help="Whose labels; the teacher's in distillation, else gold.")
    ] = None,
    alpha: Annotated[
        float | None, typer.Option(help="alpha * label + (1 - alpha) * rationale, step by step; default 0.5.")
    ] = None,
    rationale_weight: Annotated[
        float | None, typer.Option(help="label + weight * rationale in its place; the paper has 1.")
    ] = None,
    label_prefix: Annotated[str | None, typer.Option(help='Asks for a label; default "predict: ".')] = None,
    rationale_prefix: Annotated[str | None, typer.Option(help='Asks for a rationale; default "explain: ".')] = None,
    separator: Annotated[
        str | None, typer.Option(help='After the input; default "\\nAnswer:" for a student without an encoder.')
    ] = None,
    logits_teacher: Annotated[
        Path | None, typer.Option(help="Folder of a model of the student's kind and tokens, for --method logits.")
    ] = None,
    teacher_weight: Annotated[
        float | None, typer.Option(help="Of its logits in the loss, the rest is the label's; default 0.5.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Of both models' logits; default 1.")] = None,
    fraction: Annotated[float | None, typer.Option(help="Of the training examples, drawn by the seed.")] = None,
    steps: Annotated[int | None, typer.Option(help="Default 1000.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Examples in a step; default 64.")] = None,
    micro_batch: Annotated[int | None, typer.Option(help="Rows that run at once, to save memory.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest; 5e-5 for --student, 3e-3 for tiny, 1e-3 for small.")
    ] = None,
    warmup: Annotated[float | None, typer.Option(help="Share of the steps; default 0.1.")] = None,
    select: Annotated[
        str | None, typer.Option(help="valid: keep the checkpoint that is right most often there; or last.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(help="By whose measure an answer is right: cqa, svamp, esnli, gsm8k, number, text.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of a new student, the order and the fraction; default 0.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints; default 200.")] = None,
    plot: Annotated[
        Path | None, typer.Option(help="Losses as a picture, drawn anew at each checkpoint: .png, .svg, .pdf.")
    ] = None,
    config: shared.ConfigFile = None,
    device: shared.Device = "auto",
    resume: shared.Resume = False,
    force: shared.Force = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Train a student on labels and rationales, or by one of the methods that it is compared to."""
    from ...distillation.options import TrainOptions
    from ...distillation.run import train_student
    from ...drawing import require_picture
    from ...options import resolve
    from ...report import out as console
    from ...report import print_json
    from ..watch import TrainingProgress, quiet_transformers
    from .summary import trained

    if plot:
        require_picture(plot)  # before hours of work
    options = resolve(
        TrainOptions, config, method=method, student=None if student is None else str(student), new=new, size=size,
        width=width, layers=layers, vocabulary=vocabulary, labels=labels, alpha=alpha,
        rationale_weight=rationale_weight, label_prefix=label_prefix, rationale_prefix=rationale_prefix,
        logits_teacher=None if logits_teacher is None else str(logits_teacher), teacher_weight=teacher_weight,
        temperature=temperature, separator=separator, fraction=fraction, steps=steps, batch_size=batch_size,
        micro_batch=micro_batch,
        learning_rate=learning_rate, warmup=warmup, select=select, task=task, seed=seed, save_every=save_every,
    )  # fmt: skip
    quiet_transformers()
    with TrainingProgress(quiet) as progress:
        facts = train_student(data, out, options, progress, device=device, plot=plot, resume=resume, force=force)
    print_json(facts) if json else console.print(trained(facts), soft_wrap=True, markup=False)
