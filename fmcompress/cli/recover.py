"""fmcompress recover."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import app
from . import arguments as shared


@app.command()
def recover(
    pruned: Annotated[Path, typer.Argument(help="Folder of a pruned causal language model, dense or packed.")],
    out: Annotated[Path, typer.Argument(help="Folder to write, in the form of PRUNED; appears when all is done.")],
    teacher: Annotated[Path | None, typer.Option(help="Folder of the dense parent.")] = None,
    text: Annotated[Path | None, typer.Option(help="Text to learn on: .txt or .jsonl, also .gz or .xz.")] = None,
    logits: Annotated[Path | None, typer.Option(help="What distill logits wrote, in the place of --text.")] = None,
    valid: Annotated[
        Path | None, typer.Option(help="Held-out text; by default the last tenth of what is learned.")
    ] = None,
    steps: Annotated[int | None, typer.Option(help="Default 500.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Windows in a step; default 8.")] = None,
    sequence_length: Annotated[int | None, typer.Option(help="Tokens in a window; default 512.")] = None,
    max_windows: Annotated[int | None, typer.Option(help="Use only the first so many windows of the text.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest; default 0.128 / width, 1e-3 at most.")
    ] = None,
    temperature: Annotated[float | None, typer.Option(help="Of both models' logits; default 1.")] = None,
    teacher_weight: Annotated[
        float | None, typer.Option(help="Of the teacher's logits in the loss, the rest is the text's; default 1.")
    ] = None,
    valid_windows: Annotated[int | None, typer.Option(help="Held-out windows at most; default 64.")] = None,
    valid_every: Annotated[int | None, typer.Option(help="Steps between two looks at them; a tenth of all.")] = None,
    include: Annotated[str | None, typer.Option(help="Only parameters whose name matches this regex learn.")] = None,
    exclude: Annotated[str | None, typer.Option(help="No parameters whose name matches this regex learn.")] = None,
    seed: Annotated[int | None, typer.Option(help="Of the order of the windows; default 0.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints; default 100.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Losses and perplexity as a picture: .png, .svg or .pdf.")] = None,
    config: shared.ConfigFile = None,
    device: shared.Device = "auto",
    resume: shared.Resume = False,
    force: shared.Force = False,
    dry_run: shared.DryRun = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Let a pruned model learn what its dense parent says of a text. Zeros stay zeros, the format stays."""
    from ..distillation.recover_options import RecoverOptions
    from ..distillation.recover_run import plan_recover, run_recover
    from ..drawing import require_picture
    from ..options import resolve
    from ..report import finite, print_json
    from ..report import out as console
    from .watch import TrainingProgress, quiet_transformers

    if plot:
        require_picture(plot)  # before hours of work
    paths = {"teacher": teacher, "text": text, "logits": logits, "valid": valid}
    options = resolve(
        RecoverOptions, config, steps=steps, batch_size=batch_size, sequence_length=sequence_length,
        max_windows=max_windows, learning_rate=learning_rate, temperature=temperature, teacher_weight=teacher_weight,
        valid_windows=valid_windows, valid_every=valid_every, include=include, exclude=exclude, seed=seed,
        save_every=save_every, **{name: None if path is None else str(path) for name, path in paths.items()},
    )  # fmt: skip
    quiet_transformers()
    if dry_run:
        plan = plan_recover(pruned, out, options, device=device, resume=resume, force=force)
        print_json(finite(plan)) if json else console.print(_plan(plan), soft_wrap=True, markup=False)
        return
    with TrainingProgress(quiet, _told) as progress:
        facts = run_recover(pruned, out, options, progress, device=device, plot=plot, resume=resume, force=force)
    print_json(finite(facts)) if json else console.print(_summary(facts), soft_wrap=True, markup=False)


def _plan(plan: dict[str, Any]) -> str:
    """Lines on what would be done."""
    from ..report import human_bytes, printable

    perplexity, windows = plan["perplexity"], plan["windows"]
    dense = "" if perplexity["dense"] is None else f", {perplexity['dense']:.4f} dense"
    left = "" if plan["left_bytes"] is None else f", {human_bytes(plan['left_bytes'])} are left"
    return "\n".join([
        printable(f"{plan['out']}: {plan['steps']} steps on {windows['train']} windows of {windows['length']} tokens"),
        f"{plan['learning']:,} weights learn, of which {plan['pruned']:,} stay 0",
        f"perplexity on {windows['valid']} held-out windows: {perplexity['before']:.4f} now{dense}",
        f"about {plan['seconds']:.0f} s: {plan['step_s']:.2f} s a step, {plan['look_s']:.2f} s a look at held-out text",
        f"memory: about {human_bytes(plan['peak_bytes'])} at most{left}",
    ])  # fmt: skip


def _told(record: dict[str, Any], steps: int) -> str:
    seen = f" · perplexity {record['perplexity']:.4f}" if "perplexity" in record else ""
    return f"step {record['step']} of {steps} · loss {record['loss']:.4f}{seen}"


def _summary(facts: dict[str, Any]) -> str:
    """A line on a finished recovery."""
    from ..report import printable

    if facts.get("finished_before"):
        return printable(f"{facts['out']}: nothing left to do.")
    perplexity = facts["perplexity"]
    told = [f"perplexity {perplexity['before']:.4f} before, {perplexity['after']:.4f} after"]
    if perplexity["dense"] is not None:
        told[0] += f", {perplexity['dense']:.4f} dense"
    if facts["regained"] is not None:
        told.append(f"{100 * facts['regained']:.1f} % of what was lost is regained")
    told.append(f"step {facts['best_step']} of {facts['steps']} kept")
    told.append(f"{facts['pruned']:,} zeros kept")
    return printable(f"{facts['out']}: {' · '.join(told)}")
