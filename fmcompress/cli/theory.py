"""fmcompress theory."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from . import app
from . import arguments as shared

theory = typer.Typer(help="What prompts can do, after Yuan's power of foundation models.", no_args_is_help=True)
app.add_typer(theory, name="theory")


@theory.callback()
def options() -> None:
    """What prompts can do, after Yuan's power of foundation models."""


@theory.command()
def diagnose(
    scores: Annotated[
        Path,
        typer.Argument(
            help="How alike objects (rows) and candidate prompts (columns) are: .csv with names, .npy, .npz or .json."
        ),
    ],
    labels: Annotated[Path, typer.Argument(help="CSV of name,label; JSON of name: label; or .txt, one a line.")],
    hierarchy: Annotated[
        bool,
        typer.Option("--hierarchy", help="SCORES is a hierarchy instead: edges of child, parent; decided exactly."),
    ] = False,
    equivalent: Annotated[
        bool, typer.Option("--equivalent", help="Of a hierarchy: what is on a cycle has identical features.")
    ] = False,
    text: Annotated[
        Path | None,
        typer.Option("--text", help="SCORES are embeddings of objects, and these of prompts: take cosines."),
    ] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="Give rows of embeddings length 1.")] = False,
    objects: Annotated[
        Path | None, typer.Option(help="Names of the rows, where SCORES has none: .txt or .json.")
    ] = None,
    prompt_names: Annotated[
        Path | None, typer.Option(help="Names of the columns, where SCORES has none: .txt or .json.")
    ] = None,
    prompts: Annotated[
        int | None, typer.Option(min=1, help="Most prompts joined by OR; default 5, any number of a hierarchy.")
    ] = None,
    calibration: Annotated[
        Literal["prompt", "range", "none"],
        typer.Option(help="To [0, 1]: each prompt by a threshold of its own, all by one line, or as they are."),
    ] = "prompt",
    tolerance: Annotated[float, typer.Option(help="An object may be off by this; always by less than 0.5.")] = 0.5,
    resolution: Annotated[
        float | None, typer.Option(help="Scores that differ by this are the same; default 1e-6 of the largest.")
    ] = None,
    square: Annotated[
        bool | None,
        typer.Option("--square/--no-square", help="Columns are the rows' objects; default: if names say so."),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="Of the folds of the cross-validation.")] = 0,
    plot: shared.Plot = None,
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Whether one prompt solves a labelled task, several do, only fine-tuning, or nothing. Ours, after Yuan 2023."""
    from ..errors import ConfigError
    from ..files import refuse_existing
    from ..report import err, out, print_json, printable
    from ..theory.diagnosis import MOST_PROMPTS
    from ..theory.diagnosis import diagnose as of_scores
    from ..theory.diagnosis_facts import facts_of, order_facts_of
    from ..theory.diagnosis_pictures import plot_diagnosis
    from ..theory.findings import Diagnosis
    from ..theory.hierarchy import read_hierarchy
    from ..theory.order_diagnosis import OrderDiagnosis, diagnose_order
    from ..theory.score_files import read_scores, scores_of_embeddings
    from ..theory.tasks import read_labels
    from ..theory_tables import curve_table, measures_table, notes_of, verdict_table

    refuse_existing(force, None, plot)
    if hierarchy and (text or objects or prompt_names or plot):
        raise ConfigError("--hierarchy: has names of its own, no embeddings and no picture. Leave such options out.")
    if hierarchy and (calibration != "prompt" or tolerance != 0.5 or resolution is not None or square is not None):
        raise ConfigError(
            "--hierarchy: is exact, without calibration, tolerance, resolution or square. Leave them out."
        )
    if not hierarchy and equivalent:
        raise ConfigError("--equivalent: is for a hierarchy. Add --hierarchy, or leave it out.")
    if normalise and not text:
        raise ConfigError("--normalise: is for embeddings. Give those of the prompts with --text, or leave it out.")
    found: Diagnosis | OrderDiagnosis
    if hierarchy:
        order = read_hierarchy(scores, equivalent=equivalent)
        named = read_labels(labels, order.objects, len(order.objects), partial=True)
        found = diagnose_order(order, named, prompts=prompts)
    else:
        if text:
            table = scores_of_embeddings(scores, text, objects, prompt_names, normalise)
        else:
            table = read_scores(scores, objects, prompt_names)
        named = read_labels(labels, table.objects, len(table.values))
        found = of_scores(
            table, named, prompts=prompts or MOST_PROMPTS, calibration=calibration, tolerance=tolerance,
            resolution=resolution, square=square, seed=seed,
        )  # fmt: skip
        if plot:
            plot_diagnosis(found, plot)
    if json:
        print_json(facts_of(found) if isinstance(found, Diagnosis) else order_facts_of(found))
        return
    out.print(verdict_table(found))
    if isinstance(found, Diagnosis):
        out.print(measures_table(found))
        for task in found.tasks:
            if len(found.tasks) == 1 or task.verdict == "k prompts":
                out.print(curve_table(found, task))
    for note in [] if quiet else notes_of(found):
        err.print(printable(note), soft_wrap=True, markup=False)
