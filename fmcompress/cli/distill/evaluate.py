"""fmcompress distill evaluate."""

from pathlib import Path
from typing import Annotated

import typer

from .. import arguments as shared
from . import distill_app


@distill_app.command()
def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a student that distill train wrote, dense or packed.")],
    data: Annotated[Path, typer.Argument(help="Examples with labels, .jsonl.")],
    task: Annotated[
        str | None, typer.Option(help="By whose measure an answer is right; default that of the training.")
    ] = None,
    split: Annotated[str | None, typer.Option(help="Of train, valid and test; all by default.")] = None,
    asked_like: Annotated[
        Path | None, typer.Option(help="Folder of the training, for a student packed or pruned since then.")
    ] = None,
    rationale: Annotated[bool, typer.Option("--rationale", help="Write rationales into --out, too.")] = False,
    max_tokens: Annotated[
        int | None, typer.Option(min=1, help="Of a label; default 64, 256 behind a rationale.")
    ] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Prompts that run at once.")] = 64,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Answers to write, JSON lines.")] = None,
    device: shared.Device = "auto",
    dtype: shared.RunDtype = "auto",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """How often a student is right, by split, and how often it says nothing that could be."""
    import json as _json

    from ...distillation.evaluation import answers_of, prompts_in, report_of
    from ...distillation.examples import SPLITS, read_examples
    from ...distillation.tasks import task as task_of
    from ...errors import ConfigError
    from ...files import refuse_existing, write_text
    from ...language_model import TransformersLanguageModel
    from ...report import Steps, print_json
    from ...report import out as console
    from ..watch import quiet_transformers
    from .summary import evaluated

    if rationale and not out:
        raise ConfigError("--rationale: rationales are written into --out. Give it.")
    if split not in (None, *SPLITS):
        raise ConfigError(f"--split: expected one of {', '.join(SPLITS)}, got {split!r}.")
    refuse_existing(force, out, None)
    prompts, trained_task = prompts_in(asked_like or model)
    measure = task_of(task or trained_task)
    examples = [one for one in read_examples(data) if split in (None, one.split)]
    if not examples:
        raise ConfigError(f"{data}: no example is of the split {split}.")
    quiet_transformers()
    asked = TransformersLanguageModel(model, device, dtype, batch=batch_size)
    with Steps("asking", quiet or json) as steps:
        answers = list(
            answers_of(
                asked, examples, measure, prompts, rationales=rationale, max_tokens=max_tokens,
                progress=lambda done, total: steps.at(done, total, f"{done} of {total}"),
            )
        )  # fmt: skip
    if out:
        write_text(out, "".join(_json.dumps(one.as_dict(), ensure_ascii=False) + "\n" for one in answers))
    report = {"model": str(model), "task": measure.name, "prompts": prompts.as_dict(), **report_of(answers)}
    if json:
        print_json(report)
        return
    for line in evaluated(str(model), report):
        console.print(line, soft_wrap=True, markup=False)
