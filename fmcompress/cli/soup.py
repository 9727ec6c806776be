"""fmcompress soup."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import app
from . import arguments as opt

if TYPE_CHECKING:
    from rich.table import Table

    from ..merging.scores import Score
    from ..merging.soup import Soup


@app.command()
def soup(
    models: Annotated[list[Path], typer.Argument(metavar="MODEL...", help="Folders of fine-tunings of one model.")],
    out: opt.Out,
    text: Annotated[Path | None, typer.Option(help="Held-out text: perplexity on it decides.")] = None,
    command: Annotated[
        str | None, typer.Option(help='Or "python eval.py {model}": the number in the last line it prints decides.')
    ] = None,
    lower_is_better: Annotated[
        bool, typer.Option("--lower-is-better", help="Of what --command prints, such as an error.")
    ] = False,
    tie: Annotated[str, typer.Option(help="> keeps a model whose average is better, >= also one as good.")] = ">",
    sequence_length: Annotated[int, typer.Option(min=2, help="Tokens in a window.")] = 2048,
    max_windows: Annotated[int | None, typer.Option(min=1, help="Only the first so many windows.")] = None,
    device: opt.Device = "auto",
    dtype: opt.RunDtype = "auto",
    any_vocabulary: Annotated[
        bool, typer.Option("--any-vocabulary", help="Average embeddings of models whose tokens differ.")
    ] = False,
    plot: opt.Plot = None,
    resume: opt.Resume = False,
    force: opt.Force = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Average those of several fine-tunings that together do best on held-out data: a greedy soup.

    Models are tried best first, and stay in the average if it gets better. Choose with other data than you report on.
    """
    from ..drawing import require_picture
    from ..files import refuse_existing
    from ..merging.checkpoint_soup import checkpoint_soup
    from ..merging.pictures import plot_soup
    from ..report import Steps, err, finite, print_json

    if plot:
        require_picture(plot)
    refuse_existing(force or resume, None, plot)
    score = _score(text, command, lower_is_better, sequence_length, max_windows, device, dtype, err.print)
    with Steps("soup", quiet) as steps:
        found, facts = checkpoint_soup(
            models, out, score, tie=tie, any_vocabulary=any_vocabulary, resume=resume, force=force, progress=steps.at
        )
    names = [str(model) for model in models]
    if json:
        print_json(finite({"out": str(out), "models": names, **facts["soup"], "bytes": facts["bytes"]}))
    else:
        _tell(out, found, facts["soup"], names, score.name)
    if plot:  # after the numbers, which must not be lost with it
        plot_soup(found, names, plot, value=score.name)


def _tell(out: Path, found: "Soup", facts: dict[str, Any], names: list[str], what: str) -> None:
    from ..report import out as console
    from ..report import printable

    console.print(_table(facts, names))
    chosen = f"{len(found.members)} of {len(names)} models"
    line = f"{out}: {chosen}, {what} {found.score:.6g}, best single model {found.best_single:.6g}"
    console.print(printable(line), soft_wrap=True, markup=False)
    if len(found.members) == 1 < len(names):
        advice = "no average was better than the best model alone: `fmcompress barrier A B` tells whether they connect"
        console.print(advice, soft_wrap=True, markup=False)


def _score(
    text: Path | None, command: str | None, lower_is_better: bool, sequence_length: int, max_windows: int | None,
    device: str, dtype: str, note: Callable[[str], None],
) -> "Score":  # fmt: skip
    from ..errors import ConfigError
    from ..merging.scores import command_score, perplexity_on

    if (text is None) == (command is None):
        raise ConfigError("expected one of --text and --command: what tells which average is better.")
    if command is not None:
        return command_score(command, lower_is_better=lower_is_better)
    assert text is not None
    if lower_is_better:
        raise ConfigError("--lower-is-better is about --command; perplexity is so by itself. Leave it out.")
    return perplexity_on(
        text, sequence_length=sequence_length, max_windows=max_windows, device=device, dtype=dtype, note=note
    )


def _table(soup: dict[str, Any], names: list[str]) -> "Table":
    """A line a trial."""
    from rich.table import Table
    from rich.text import Text

    from ..report import printable

    table = Table(box=None, pad_edge=False)
    for title in ("model", "alone", "average with it", ""):
        table.add_column(title, justify="right" if "a" in title[:2] else "left")
    for number, trial in enumerate(soup["trials"]):
        with_it = f"{trial['score']:.6g}" if number else ""
        told = "kept" if trial["kept"] else "left out"
        alone = soup["singles"][trial["added"]]
        table.add_row(Text(printable(names[trial["added"]])), f"{alone:.6g}", with_it, told)
    return table
