"""fmcompress clip roboshot."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .. import arguments as shared
from . import arguments as opt
from . import clip_app


@clip_app.command()
def roboshot(
    images: opt.Images,
    insights: Annotated[Path | None, typer.Option(help="JSON of pairs of texts to reject or accept.")] = None,
    reject: Annotated[Path | None, typer.Option(help="Directions to take away, one a row, as embeddings.")] = None,
    accept: Annotated[Path | None, typer.Option(help="Directions to double, one a row, as embeddings.")] = None,
    language_model: Annotated[
        str | None, typer.Option(help="That is asked for insights: FOLDER, http(s)://HOST/v1#MODEL, ANSWERS.jsonl.")
    ] = None,
    task: Annotated[str, typer.Option(help="More about the images, for the language model.")] = "",
    count: Annotated[int, typer.Option(min=1, help="Differences to ask for in a question.")] = 5,
    samples: Annotated[int, typer.Option(min=1, help="Answers to each question, at temperature 0.8 if several.")] = 1,
    out_insights: Annotated[Path | None, typer.Option(help="JSON to write the language model's insights to.")] = None,
    insight_text: Annotated[
        Path | None, typer.Option(help="Embeddings whose names are the insights' texts, in the place of a model.")
    ] = None,
    text: opt.Text = None,
    classes: opt.Classes = None,
    template: opt.Template = None,
    model: opt.Model = None,
    cache: opt.Cache = None,
    labels: opt.Labels = None,
    split: opt.Split = None,
    order: Annotated[
        Literal["reject_then_accept", "reject_last"],
        typer.Option(help="As published, or so that nothing rejected is left."),
    ] = "reject_then_accept",
    rank_tol: Annotated[float, typer.Option(help="Singular values below so much of the largest are rounding.")] = 1e-5,
    adapt: Annotated[
        bool, typer.Option("--adapt", help="Learn the rejected subspace on unlabelled rows: our formulation.")
    ] = False,
    seed: Annotated[int, typer.Option(min=0, help="Of --adapt.")] = 0,
    normalise: opt.Normalise = False,
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="All images' embeddings after it, as .safetensors.")
    ] = None,
    plot: shared.Plot = None,
    batch_size: opt.BatchSize = 64,
    device: shared.Device = "auto",
    dtype: opt.Dtype = "float32",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Take spurious directions out of embeddings and boost telling ones; with labels, each step by group."""
    from dataclasses import replace

    from ...clip.evaluation import rows_of
    from ...clip.files import write_embeddings
    from ...clip.inputs import Inputs
    from ...clip.pictures import plot_groups
    from ...clip.roboshot import RoboShot
    from ...clip.roboshot_adaptation import adapt_subspace
    from ...clip.roboshot_run import compare_steps, facts
    from ...clip_tables import accuracy_table, groups_table
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...report import finite, print_json
    from ...report import out as console

    refuse_existing(force, out, plot)
    refuse_existing(force, out_insights, None)
    if out and out.suffix != ".safetensors":
        raise ConfigError(f"{out}: expected a name that ends in .safetensors to write embeddings to.")
    with opt.embedding(quiet or json) as progress:
        inputs = Inputs(model, cache, device, dtype, batch_size, normalise, progress)
        every = inputs.images(images, labels)
        of_classes = inputs.text(text, classes, template or ()) if text or classes else None
        named = of_classes.names if of_classes else every.classes
        source = insights, language_model, task, count, samples, out_insights
        rejected, accepted, notes = _directions(inputs, every, named, source, insight_text, reject, accept)
    shot = RoboShot.fit(rejected, accepted, order=order, rank_tol=rank_tol)
    learnt: Any = None
    if adapt:
        held = next((name for name in ("val", "train") if name in every.splits), None)
        unlabelled = every.split(held) if held else every
        learnt = adapt_subspace(shot, unlabelled.vectors, seed=seed)
        words = f"adapted on {len(unlabelled)} rows of {f'split {held}' if held else 'all'} without their labels"
        notes.append(f"{words}: step {learnt.step} was best")
        shot = learnt.shot
    applied = shot.apply(every.vectors)
    if len(applied.unchanged):
        notes.append(f"{len(applied.unchanged)} rows lie in the span of what is rejected, and stay as they are")
    reports: dict[str, Any] = {}
    rows, taken = rows_of(every, split)
    if of_classes:
        train = every.split("train") if "train" in every.splits else None
        reports = compare_steps(
            rows, of_classes, rejected, accepted, order=order, rank_tol=rank_tol,
            adapted=learnt and learnt.shot, train=train,
        )  # fmt: skip
    elif not out:
        raise ConfigError("--out, or --classes or --text: missing. Say where embeddings go, or what to classify.")
    if plot and not reports:
        raise ConfigError("--plot: draws accuracies, and there are no labels or classes. Give both.")
    if out:
        write_embeddings(out, replace(every, vectors=applied.vectors))
    if plot:
        plot_groups(reports, plot, "Accuracy by group: zero-shot, and RoboShot")
    notes += inputs.notes
    opt.say(notes, quiet)
    if json:
        found = {
            "images": str(images),
            "rows": len(rows),
            "split": taken,
            **facts(shot, every.vectors, applied.unchanged),
        }
        told = {name: report.as_dict() for name, report in reports.items()}
        print_json(finite({**found, "reports": told, "notes": notes}))
        return
    if reports:
        console.print(accuracy_table(reports))
        console.print(groups_table(reports))
    energy = shot.energy(every.vectors)
    console.print(
        f"{len(rejected)} directions to reject, of rank {shot.rank_reject}: {energy.rejected:.2%} of the embeddings; "
        f"{len(accepted)} to accept, of rank {shot.rank_accept}: {energy.accepted:.2%}",
        soft_wrap=True,
    )


def _directions(inputs, images, named, source, insight_text, reject, accept):  # type: ignore[no-untyped-def]
    """(reject, accept, notes): of insights, of a language model, or of files; [0, dim] where there are none."""
    import datetime

    import numpy as np

    from ...clip.files import read_embeddings, require_same_model
    from ...clip.insights import directions, read_insights
    from ...clip.known_texts import KnownTexts
    from ...clip.roboshot_run import asked_insights, given_directions
    from ...errors import ConfigError
    from ...language_model import language_model

    path, spec, task, count, samples, written = source
    if sum((path is not None, spec is not None, reject is not None or accept is not None)) != 1:
        raise ConfigError("--insights, --language-model, --reject and --accept: expected one source of directions.")
    if written and not spec:
        raise ConfigError("--out-insights: goes with --language-model. Leave it out.")
    dim = images.vectors.shape[1]
    if spec is None and path is None:
        given = (given_directions(each, images) for each in (reject, accept))
        return *(np.empty((0, dim)) if each is None else each for each in given), []
    if spec is None:
        found = read_insights(path)
        notes: list[str] = []
    else:
        if len(named) < 2:
            raise ConfigError("--language-model: which classes to ask for is unknown. Name them with --classes.")
        today = datetime.datetime.now(datetime.timezone.utc).date().isoformat()
        found, notes = asked_insights(language_model(spec), named, task, count, samples, written, today)
    if insight_text:
        known = KnownTexts(read_embeddings(insight_text, normalise=inputs.normalise), insight_text)
        require_same_model(images, known.found, ("images", "insights"))
        return *directions(found, known), notes
    texts = list(dict.fromkeys(text for one in found for text in (one.a, one.b)))
    embedded = inputs.embedded_texts(texts)
    require_same_model(images, embedded, ("images", "insights"))
    return *directions(found, KnownTexts(embedded, "insights")), notes
