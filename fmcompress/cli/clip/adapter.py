"""fmcompress clip adapter."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .. import arguments as shared
from . import arguments as opt
from . import clip_app


@clip_app.command()
def adapter(
    train: opt.Images,
    val: Annotated[
        Path | None, typer.Option(help="Embeddings to select on, with groups; else rows of split val of TRAIN.")
    ] = None,
    test: Annotated[Path | None, typer.Option(help="Embeddings to measure on; else rows of split test.")] = None,
    text: opt.Text = None,
    classes: opt.Classes = None,
    template: opt.Template = None,
    model: opt.Model = None,
    cache: opt.Cache = None,
    labels: opt.Labels = None,
    val_labels: Annotated[Path | None, typer.Option(help="CSV like --labels, of --val.")] = None,
    test_labels: Annotated[Path | None, typer.Option(help="CSV like --labels, of --test.")] = None,
    method: Annotated[
        Literal["contrastive", "erm", "linear", "dfr", "groupdro", "all"],
        typer.Option(help="What to train; all sets them beside each other."),
    ] = "contrastive",
    schedule: Annotated[
        str,
        typer.Option(help="Of contrastive: alternate, alternate_balanced, contrastive, errors, upsample_errors, …"),
    ] = "alternate",
    cells: Annotated[
        Literal["correctness", "prediction"],
        typer.Option(help="Of alternate: rows of a class that zero-shot is right about, or by what it says."),
    ] = "correctness",
    group_size: Annotated[int, typer.Option(min=1, help="Of alternate: rows of each cell in an epoch.")] = 300,
    hidden: Annotated[int, typer.Option(min=1, help="Width of the bottleneck.")] = 128,
    batch_norm: Annotated[bool, typer.Option("--batch-norm", help="Before its activation.")] = False,
    residual: Annotated[bool, typer.Option("--residual", help="Add the embedding to what the adapter makes.")] = False,
    epochs: Annotated[int, typer.Option(min=1, help="At most; the best on --val is kept.")] = 100,
    learning_rate: Annotated[float, typer.Option(min=0, help="Of SGD.")] = 1e-3,
    weight_decay: Annotated[float, typer.Option(min=0, help="Of SGD.")] = 5e-5,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    normalise: opt.Normalise = False,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Adapter to write, as .safetensors.")] = None,
    plot: shared.Plot = None,
    batch_size: opt.BatchSize = 64,
    device: shared.Device = "auto",
    dtype: opt.Dtype = "float32",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Train a small adapter on embeddings, selected by the worst group of other rows; measured beside zero-shot."""
    from dataclasses import replace

    from ...clip.adapters import FittedAdapter
    from ...clip.contrastive_adapter import ContrastiveAdapter
    from ...clip.inputs import Inputs
    from ...clip.pictures import plot_groups
    from ...clip.robust import METHODS, report, train_robust
    from ...clip.robust_run import parts_of
    from ...clip_tables import accuracy_table, groups_table
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...report import finite, print_json
    from ...report import out as console

    refuse_existing(force, out, plot)
    if out and (out.suffix != ".safetensors" or method not in ("contrastive", "erm", "groupdro")):
        raise ConfigError("--out: expected a name that ends in .safetensors, and one method that trains an adapter.")
    with opt.embedding(quiet or json) as progress:
        inputs = Inputs(model, cache, device, dtype, batch_size, normalise, progress)
        of_classes = inputs.text(text, classes, template or ())
        every = inputs.images(train, labels)
        of_val = inputs.images(val, val_labels) if val else None
        of_test = inputs.images(test, test_labels) if test else None
    plan = ContrastiveAdapter(
        schedule=schedule,  # type: ignore[arg-type]
        cells=cells,
        hidden=hidden,
        batch_norm=batch_norm,
        residual=residual,
        epochs=epochs,
        learning_rate=learning_rate,
        weight_decay=weight_decay,
        group_size=group_size,
        logit_scale=of_classes.logit_scale or 100.0,
        seed=seed,
    )
    parts, group_names, notes = parts_of(every, of_val, of_test, of_classes)
    wanted: tuple[str, ...] = METHODS if method == "all" else ("zeroshot", method)
    if method == "all" and parts[0].groups is None:
        wanted = tuple(name for name in wanted if name != "groupdro")
        notes.append("groupdro: left out, since groups of the rows of training are not known")
    reports: dict[str, Any] = {}
    parameters: dict[str, int] = {}
    for name in wanted:
        trained = train_robust(name, *parts[:2], of_classes.vectors, plan=plan)
        reports[name] = report(trained.classifier, parts[0], parts[2], group_names)
        parameters[name] = trained.parameters
        notes += [f"{name}: {note}" for note in trained.notes]
        if out and isinstance(trained.classifier, FittedAdapter):
            replace(trained.classifier, classes=of_classes.names, identity=every.identity).save(out)
    if plot:
        plot_groups(reports, plot, "Accuracy by group")
    notes += inputs.notes
    opt.say(notes, quiet)
    if json:
        told = {name: {**one.as_dict(), "parameters": parameters[name]} for name, one in reports.items()}
        print_json(finite({"train": str(train), "schedule": schedule, "seed": seed, "reports": told, "notes": notes}))
        return
    console.print(accuracy_table(reports))
    console.print(groups_table(reports))
    words = ", ".join(f"{name} {number:,}" for name, number in parameters.items() if number)
    console.print(f"trained parameters: {words}; selected by the worst of the groups of validation", soft_wrap=True)
