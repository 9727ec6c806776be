"""fmcompress patch: make, apply and show."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import app
from . import arguments as opt

patch_app = typer.Typer(help="What turns one checkpoint into another, in few bytes.", no_args_is_help=True)
app.add_typer(patch_app, name="patch")

Base = Annotated[Path, typer.Argument(help="Folder of the checkpoint that the patch is over.")]
PatchFolder = Annotated[Path, typer.Argument(metavar="PATCH", help="Folder of a patch.")]


@patch_app.command()
def make(
    base: Base,
    tuned: Annotated[Path, typer.Argument(help="Folder of what became of it, such as a fine-tuned copy.")],
    patch: Annotated[Path, typer.Argument(help="Folder to write; appears when every tensor was tried.")],
    bits: Annotated[int | None, typer.Option(help="Round changes to so many bits: 8, 4, 3 or 2. Loses some.")] = None,
    group_size: Annotated[str | None, typer.Option(help="Neighbours that share a scale: 128, or row.")] = None,
    density: Annotated[float | None, typer.Option(help="Keep only this share of the entries' changes.")] = None,
    rank: Annotated[int | None, typer.Option(help="Keep only a change of this rank of every matrix.")] = None,
    factors: Annotated[str | None, typer.Option(help="Its factors' dtype: BF16 (default), F16, F32.")] = None,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Write what turns BASE into TUNED: lossless unless told otherwise, the smallest of several forms per tensor."""
    from ..memory import return_freed_memory
    from ..options import resolve
    from ..patches import PatchOptions, make_patch
    from ..report import Steps, err, finite, print_json, printable
    from ..report import out as console

    return_freed_memory()
    size = _group_size(group_size)
    options = resolve(PatchOptions, None, bits=bits, density=density, rank=rank, factors=factors, **size)
    with Steps("comparing", quiet) as steps:
        facts = make_patch(base, tuned, patch, options, steps.at)
    if facts["left_out"]:
        names = ", ".join(facts["left_out"])
        err.print(printable(f"left out, as no part of a checkpoint: {names}"), soft_wrap=True, markup=False)
    if json:
        print_json(finite(facts))
        return
    console.print(_summary(facts), soft_wrap=True, markup=False)


@patch_app.command()
def apply(base: Base, patch: PatchFolder, out: opt.Out, json: opt.Json = False, quiet: opt.Quiet = False) -> None:
    """Write the tuned checkpoint again, file for file; every tensor is held against its hash."""
    from ..memory import return_freed_memory
    from ..patches import apply_patch
    from ..report import Steps, human_bytes, print_json, printable
    from ..report import out as console

    return_freed_memory()
    with Steps("patching", quiet) as steps:
        facts = apply_patch(base, patch, out, steps.at)
    if json:
        print_json(facts)
        return
    told = f"{out}: {facts['tensors']} tensors, {human_bytes(facts['bytes'])}, every hash as the patch tells"
    console.print(printable(told), soft_wrap=True, markup=False)


@patch_app.command()
def show(patch: PatchFolder, json: opt.Json = False) -> None:
    """Per tensor: its form, bytes, and what was lost. Neither base nor parts are read."""
    from rich.table import Column, Table
    from rich.text import Text

    from ..patches import Patch, patch_facts
    from ..report import human_bytes, print_json, printable
    from ..report import out as console

    read = Patch(patch)
    tensors = read.list_tensors()
    if json:
        print_json({**patch_facts(read), "each": tensors})
        return
    table = Table(Column("tensor", no_wrap=True), "shape", "dtype", "kind", "bytes", "of dense", "lost of the change")
    for each in tensors:
        share = each["stored_bytes"] / max(1, each["dense_bytes"])
        table.add_row(
            Text(printable(each["name"])),
            " × ".join(map(str, each["shape"])) or "scalar",
            each["dtype"],
            each["kind"],
            human_bytes(each["stored_bytes"]),
            f"{100 * share:.1f} %",
            "" if each["loss"] is None else f"{100 * each['loss']['change']:.2f} %",
        )
    console.print(table)
    console.print(_summary(patch_facts(read)), soft_wrap=True, markup=False)


def _group_size(text: str | None) -> dict[str, int | str]:
    from ..errors import ConfigError

    if text is None:
        return {}
    if text != "row" and not text.isdecimal():
        raise ConfigError(f"group-size: expected a number of neighbours or row, got {text!r}.")
    return {"group_size": text if text == "row" else int(text)}


def _summary(facts: dict[str, Any]) -> str:
    """A line on a patch."""
    from ..report import human_bytes, printable

    kinds = ", ".join(f"{kind['tensors']} {name}" for name, kind in facts["kinds"].items())
    size = f"{human_bytes(facts['patch_bytes'])} of {human_bytes(facts['dense_bytes'])} ({100 * facts['share']:.1f} %)"
    loss = facts["loss"]
    told = "lossless"
    if loss is not None:
        told = f"{100 * loss['change']:.2f} % of the change is lost, {100 * loss['weights']:.3f} % of the weights"
    return printable(f"{facts['patch']}: {kinds} · {size} · {told}")
