"""fmcompress allocate."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import app
from . import arguments as opt

HEEDED = {  # by one method only
    "owl": ("spread",),
    "search": ("levels", "level_method", "step", "reach", "generations", "offspring"),
}


@app.command()
def allocate(
    context: typer.Context,
    model: opt.Model,
    allocation: Annotated[Path, typer.Argument(help="JSON file to write, for prune --allocation.")],
    sparsity: Annotated[float, typer.Option(help="Share of zeros over all layers, e.g. 0.7.")],
    calibration: opt.Calibration = None,
    images: opt.Images = None,
    method: Annotated[
        Literal["owl", "search"],
        typer.Option(help="owl: by outliers, in one pass (default). search: by trial, slower."),
    ] = "owl",
    spread: Annotated[float, typer.Option(min=0, max=0.5, help="owl: half of the most that blocks differ by.")] = 0.08,
    levels: Annotated[
        list[Path] | None,
        typer.Option(help="search: MODEL pruned to a sparsity in equal steps; repeat it. Else made beside ALLOCATION."),
    ] = None,
    level_method: Annotated[
        Literal["sparsegpt", "admm", "wanda"],
        typer.Option(help="search: what prunes levels that are made; the method of prune later on."),
    ] = "sparsegpt",
    step: Annotated[float, typer.Option(min=0.001, max=0.5, help="search: between levels that are made.")] = 0.05,
    reach: Annotated[int, typer.Option(min=1, max=20, help="search: steps up and down that are made.")] = 3,
    generations: Annotated[int, typer.Option(min=1, help="search: how many.")] = 50,
    offspring: Annotated[int, typer.Option(min=1, help="search: candidates a generation.")] = 8,
    samples: opt.Samples = None,
    sequence_length: opt.SequenceLength = None,
    seed: opt.Seed = None,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    force: Annotated[bool, typer.Option("--force", help="Replace ALLOCATION.")] = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Find how much to prune of each layer, so that all together lose a given share; nothing of MODEL changes."""
    from functools import partial

    from ..allocation.run import Search, find_allocation, refuse_early
    from ..config import PruneConfig
    from ..devices import pick_device
    from ..memory import return_freed_memory
    from ..options import resolve
    from ..pipeline import prepare
    from ..report import err, out, print_json, printable
    from ..shares import write_allocation

    return_freed_memory()
    _refuse_unheeded(context, method, bool(levels))
    refuse_early(allocation, force=force)
    config = resolve(
        PruneConfig, None, sparsity=sparsity, samples=samples, sequence_length=sequence_length, seed=seed,
        include=include, exclude=exclude, dtype=dtype,
    )  # fmt: skip
    search = Search(levels or [], level_method, step, reach, generations, offspring) if method == "search" else None
    ready = partial(prepare, model, calibration=calibration, device=pick_device(device), images=images)
    found, notes = find_allocation(ready, config, allocation, spread, search, quiet)
    write_allocation(allocation, found)
    for note in () if quiet else notes:
        err.print(printable(note), soft_wrap=True, markup=False)
    if json:
        print_json({"allocation": str(allocation), **found.as_dict(), "notes": notes})
    else:
        out.print(f"{allocation} ({method}): {found}", soft_wrap=True, markup=False)


def _refuse_unheeded(context: typer.Context, method: str, levels: bool) -> None:
    """Raise ConfigError for an option that was given and would change nothing."""
    from ..errors import ConfigError

    unheeded = {name: f"--method {other}" for other, names in HEEDED.items() for name in names if other != method}
    if levels and method == "search":
        unheeded |= dict.fromkeys(("level_method", "step", "reach"), "levels that are made")
    for name, by in unheeded.items():
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"--{name.replace('_', '-')}: only heeded by {by}. Leave it out.")
