"""fmcompress merge."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import app
from . import arguments as opt


@app.command()
def merge(
    config: Annotated[Path, typer.Argument(help="Recipe in mergekit's YAML: models, merge_method, parameters.")],
    out: opt.Out,
    any_vocabulary: Annotated[
        bool, typer.Option("--any-vocabulary", help="Merge embeddings of models whose tokens differ.")
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT, forget an interrupted merge.")] = False,
    dry_run: opt.DryRun = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Merge checkpoints of one architecture, streamed: averages, task arithmetic, TIES, SLERP, DARE."""
    from ..memory import peak_memory_bytes, return_freed_memory
    from ..merging.plan import plan_merge
    from ..merging.recipe import read_recipe
    from ..merging.run import check_out, merge_checkpoints
    from ..report import Steps, err, print_json
    from ..report import out as console

    return_freed_memory()  # a packed tensor is decoded whole, and let go
    plan = plan_merge(read_recipe(config), any_vocabulary=any_vocabulary)
    if dry_run:
        check_out(plan, out, force=force)
        facts = {"out": str(out), **plan.facts()}
        print_json(facts) if json else console.print(_plan(facts), soft_wrap=True, markup=False)
        return
    with Steps("merging", quiet) as steps:
        facts = merge_checkpoints(plan, out, force=force, progress=steps.at)
    facts = {"out": str(out), **facts, "peak_memory_bytes": peak_memory_bytes()}
    for note in () if quiet else plan.notes:
        err.print(note, soft_wrap=True, markup=False)
    print_json(facts) if json else console.print(_summary(facts), soft_wrap=True, markup=False)


def _plan(facts: dict[str, Any]) -> str:
    """Lines on what would be done."""
    from ..report import human_bytes, printable

    dtypes = ", ".join(f"{count} {name}" for name, count in facts["dtypes"].items())
    copied = f", {facts['copied']} of them copied" if facts["copied"] else ""
    return "\n".join([
        printable(f"{facts['out']}: {facts['merge_method']} of {', '.join(facts['models'])}"),
        f"tensors: {facts['tensors']} ({dtypes}){copied}, summed in {facts['sum_dtype']}",
        printable(f"layout, config and tokenizer: {facts['template']}, {len(facts['shards'])} file(s) of tensors"),
        f"read: {human_bytes(facts['read_bytes'])}, written: {human_bytes(facts['written_bytes'])}",
        f"memory: about {human_bytes(facts['peak_bytes'])} at most",
        *(printable(f"note: {note}") for note in facts["notes"]),
    ])  # fmt: skip


def _summary(facts: dict[str, Any]) -> str:
    """A line on a finished merge."""
    from ..report import human_bytes, printable

    names = ", ".join(one["model"] for one in facts["sources"])
    return printable(
        f"{facts['out']}: {facts['merge']['merge_method']} of {names} · {facts['tensors']} tensors, "
        f"{human_bytes(facts['bytes'])} · peak memory {human_bytes(facts['peak_memory_bytes'])}"
    )
