"""fmcompress barrier."""

from pathlib import Path
from typing import Annotated

import typer

from . import app
from . import arguments as opt


@app.command()
def barrier(
    a: Annotated[Path, typer.Argument(help="Folder of a language model.")],
    b: Annotated[Path, typer.Argument(help="Folder of another of the same architecture.")],
    text: Annotated[Path, typer.Option(help="Text: .txt or .jsonl, also .gz or .xz.")],
    points: Annotated[int, typer.Option(min=3, help="Models on the line, A and B among them.")] = 11,
    sequence_length: Annotated[int, typer.Option(min=2, help="Tokens in a window.")] = 2048,
    max_windows: Annotated[int | None, typer.Option(min=1, help="Only the first so many windows.")] = None,
    device: opt.Device = "auto",
    dtype: opt.RunDtype = "auto",
    any_vocabulary: Annotated[bool, typer.Option("--any-vocabulary", help="Also models whose tokens differ.")] = False,
    scratch: Annotated[Path | None, typer.Option(help="Folder for one interpolated model at a time.")] = None,
    plot: opt.Plot = None,
    force: opt.Replace = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Whether two models can be averaged: the loss on the straight line between their weights.

    The barrier is the most that it rises above the line between the losses at its ends, in nats a token.
    """
    from ..drawing import require_picture
    from ..files import refuse_existing
    from ..merging.checkpoint_line import checkpoint_line, spaced
    from ..merging.scores import perplexity_on
    from ..ratatouille.plots import plot_lines
    from ..report import Steps, err, finite, print_json, printable
    from ..report import out as console

    if plot:
        require_picture(plot)
    refuse_existing(force, None, plot)
    notes: list[str] = []
    options = {"sequence_length": sequence_length, "max_windows": max_windows, "device": device, "dtype": dtype}
    loss = perplexity_on(text, nats=True, note=notes.append, **options)  # type: ignore[arg-type]
    with Steps("interpolating", quiet) as steps:
        line = checkpoint_line(
            a, b, loss.of, spaced(points), any_vocabulary=any_vocabulary, scratch=scratch, progress=steps.at
        )
    for told in notes:
        err.print(told, soft_wrap=True, markup=False)
    if json:
        facts = {"points": line.points, "losses": line.losses, "barrier": line.barrier, "best": line.best}
        asked = {"text": str(text), "sequence_length": sequence_length, "max_windows": max_windows, "notes": notes}
        print_json(finite({"a": str(a), "b": str(b), **asked, **facts, "verdict": line.verdict}))
    else:
        for point, value in zip(line.points, line.losses, strict=True):
            console.print(f"{point:4.2f}  {value:.4f}", soft_wrap=True, markup=False)
        console.print(f"barrier {line.barrier:.4f} nats a token\n{line.verdict}", soft_wrap=True, markup=False)
    if plot:  # after the numbers, which must not be lost with it
        plot_lines({printable(f"{a.name} to {b.name}"): line.losses}, line.points, plot, value=loss.name)
