"""fmcompress lm-eval."""

from pathlib import Path
from typing import Annotated

import typer

from . import app
from . import arguments as opt


@app.command("lm-eval")
def lm_eval(
    model: opt.Model,
    tasks: Annotated[str, typer.Option(help="Names that lm-eval knows, separated by commas.")],
    num_fewshot: Annotated[int | None, typer.Option(min=0, help="Examples in the prompt; default: the task's.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many documents of a task.")] = None,
    include_path: Annotated[Path | None, typer.Option(help="Folder with YAML files of more tasks.")] = None,
    batch_size: Annotated[int, typer.Option(min=1, help="Sequences run together.")] = 8,
    max_length: Annotated[int | None, typer.Option(min=2, help="Tokens of a sequence; default: the most.")] = None,
    device: opt.Device = "auto",
    dtype: opt.RunDtype = "auto",
    json: opt.Json = False,
) -> None:
    """Run tasks of EleutherAI's lm-evaluation-harness on a checkpoint of any format, packed ones included.

    Needs the extra lm-eval. It fetches the data of its tasks itself.
    """
    from ..harness import run_tasks
    from ..report import finite, out, print_json
    from ..tables import task_table

    found = run_tasks(
        model, [task for task in tasks.split(",") if task], num_fewshot=num_fewshot, limit=limit,
        include_path=include_path, device=device, dtype=dtype, batch_size=batch_size, max_length=max_length,
    )  # fmt: skip
    print_json(finite({"model": str(model), "tasks": found})) if json else out.print(task_table(found))
