"""fmcompress distill rationales."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import arguments as shared
from . import distill_app


@distill_app.command()
def rationales(
    data: Annotated[Path, typer.Argument(help="Raw data of the task, a file or a folder; or Examples (.jsonl).")],
    out: Annotated[Path, typer.Argument(help="Examples to write (.jsonl).")],
    task: Annotated[str, typer.Option(help="cqa, svamp, esnli, gsm8k, text, or number.")],
    language_model: Annotated[
        str | None, typer.Option(help="The teacher: FOLDER, http(s)://HOST/v1#MODEL, ANSWERS.jsonl.")
    ] = None,
    completions: Annotated[
        list[str] | None,
        typer.Option(
            help="What a teacher has said, in the order of the rows: a JSON list, a folder, or a quoted pattern."
        ),
    ] = None,
    prompt: Annotated[
        Path | None, typer.Option(help="Text file with {input} in it; the task's own by default.")
    ] = None,
    split: Annotated[list[str] | None, typer.Option(help="train, valid or test: ask for these rows alone.")] = None,
    limit: Annotated[int, typer.Option(help="Ask for so many rows of a split at most; 0 is all.")] = 0,
    max_tokens: Annotated[int, typer.Option(help="Of a completion.")] = 256,
    temperature: Annotated[float, typer.Option(help="Above 0: draw tokens instead of taking the likeliest.")] = 0.0,
    samples: Annotated[int, typer.Option(help="Completions of an input; the most frequent label is taken.")] = 1,
    keep_right: Annotated[
        bool, typer.Option("--keep-right", help="Keep a rationale only where the teacher's label is right.")
    ] = False,
    valid_share: Annotated[float, typer.Option(help="Of train that becomes valid, where the data has none.")] = 0.1,
    seed: Annotated[int, typer.Option(help="Of the rows that become valid, and of what is drawn.")] = 0,
    device: shared.Device = "auto",
    dtype: shared.RunDtype = "auto",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Take reasons and labels from a teacher, say how often it is right, and write what a student learns from.

    What a model answers is kept beside OUT, in NAME.answers.jsonl: a run that was stopped goes on with it. Without a
    teacher the reasons are those that the data has of people.
    """
    from ...distillation.completions import with_teacher
    from ...distillation.examples import write_examples
    from ...distillation.rationales import Asking, summary
    from ...distillation.rationales import keep_right as kept_right
    from ...distillation.raw_data import completion_files, read_data
    from ...distillation.tasks import task as task_of
    from ...distillation.teacher_report import report_lines, reports_by_split
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...report import out as console
    from ...report import print_json, printable
    from ..clip.arguments import say

    refuse_existing(force, out, None)
    if out.suffix != ".jsonl":
        raise ConfigError(f"{out}: expected a name that ends in .jsonl to write examples to.")
    if language_model and completions:
        raise ConfigError("--language-model, --completions: expected one of them. Leave the other out.")
    if not language_model and (prompt or split or limit or samples != 1 or temperature):
        raise ConfigError(
            "--prompt, --split, --limit, --samples, --temperature: go with --language-model. Leave them out."
        )
    known = task_of(task)
    asking = Asking(tuple(split or ()), limit, max_tokens, temperature, samples, seed)
    found = read_data(known, data, valid_share=valid_share, seed=seed, completions=completion_files(completions or ()))
    examples = found.examples
    if language_model:
        examples = _asked(examples, known, language_model, asking, prompt, out, device, dtype, quiet or json)
    elif any(one.completion is not None for one in examples):
        examples = [with_teacher(one, known) for one in examples]
    elif keep_right:
        raise ConfigError("--keep-right: there is no teacher whose labels could be right. Give one.")
    reports = reports_by_split(examples, known)
    examples, dropped = kept_right(examples, known) if keep_right else (examples, 0)
    write_examples(out, examples)
    counts = summary(examples)
    notes = [f"{count} rows of {data} are left out: {why}" for why, count in found.left_out.items()]
    say(notes, quiet)
    if json:
        told: dict[str, Any] = {name: one.as_dict() for name, one in reports.items()}
        print_json({
            "out": str(out), "task": task, "teacher": language_model, "completions": completions, **counts,
            "dropped_as_wrong": dropped, "left_out": found.left_out, "teacher_report": told,
        })  # fmt: skip
        return
    lines = report_lines(reports) if reports else []
    last = f"{out}: {counts['rows']} examples, {counts['with_rationale']} with a rationale"
    last += f", {counts['unparsed']} whose completion is of no use" if reports else ""
    last += f", {dropped} rationales dropped as their label is wrong" if keep_right else ""
    for line in [*lines, last]:
        console.print(printable(line), soft_wrap=True, markup=False, highlight=False)


def _asked(
    examples: Any,
    task: Any,
    spec: str,
    asking: Any,
    prompt: Path | None,
    out: Path,
    device: str,
    dtype: str,
    quiet: bool,
) -> Any:
    """The examples as the language model has answered them; what it said stays when it is stopped."""
    from ...distillation.prompts import read_template
    from ...distillation.rationales import ask_teacher
    from ...errors import Interrupted
    from ...language_model import language_model
    from ...report import Steps

    template = read_template(prompt) if prompt else None
    record = out.with_name(f"{out.stem}.answers.jsonl")
    asking.chosen(examples)
    model = language_model(spec, device=device, dtype=dtype)
    try:
        with Steps("asking", quiet) as steps:
            return ask_teacher(
                examples, task, model, asking, template=template, record=record,
                progress=lambda done, total: steps.at(done, total, f"{done} of {total}"),
            )  # fmt: skip
    except KeyboardInterrupt:
        raise Interrupted(f"interrupted. Answers are kept in {record}: the same command goes on with them.") from None
