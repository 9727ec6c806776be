"""fmcompress clip compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import arguments as opt
from . import clip_app

if TYPE_CHECKING:
    from rich.table import Table

    from ...clip.compression import ComparedModel


@clip_app.command()
def compare(
    models: Annotated[
        list[Path], typer.Argument(metavar="DENSE COMPRESSED...", help="Folders of models; the dense one first.")
    ],
    images: Annotated[Path, typer.Option(help="Folder of images, or of one folder for each class.")],
    classes: Annotated[Path, typer.Option(help="Names of classes: .txt, one a line, or .json.")],
    template: Annotated[
        list[str] | None, typer.Option(help="Prompt with a {} for the class, several times; or a file of them.")
    ] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV: name, label, group. Without: folders are classes.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps embeddings, of each model its own.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Draw the accuracy by group: .png, .svg or .pdf.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace a picture that is there.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images or texts at once.")] = 64,
    device: opt.Device = "auto",
    dtype: Annotated[str, typer.Option(help="To compute in: float32, bfloat16, float16.")] = "float32",
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """What compression costs a model of two towers: zero-shot accuracy, worst group, drift of embeddings, size."""
    from ...clip.compression import compare_models
    from ...clip.embedding_set import EmbeddingSet
    from ...clip.inputs import Inputs
    from ...clip.pictures import COLOURS, plot_groups
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...report import Steps, err, finite, out, print_json

    refuse_existing(force, None, plot)
    if plot and len(models) > len(COLOURS):
        raise ConfigError(f"--plot: draws at most {len(COLOURS)} models, got {len(models)}. Leave some out.")
    with Steps("embedding", quiet) as steps:

        def embed(folder: Path) -> tuple[EmbeddingSet, EmbeddingSet]:
            inputs = Inputs(
                folder, cache, device, dtype, batch_size,
                progress=lambda done, total: steps.at(done, total, f"{folder.name}: {done}/{total}"),
            )  # fmt: skip
            found = inputs.images(images, labels), inputs.text(None, classes, template or ())
            for note in inputs.notes:
                err.print(f"{folder}: {note}", soft_wrap=True, markup=False)
            return found

        if not images.is_dir():
            raise ConfigError(f"{images}: no such folder. Give a folder of images, which each model embeds anew.")
        compared = compare_models(models, embed)
    reports = {Path(one.model).name: one.groups for one in compared if one.groups is not None}
    if plot and len(reports) < len(compared):
        raise ConfigError("--plot: needs labels, and models whose folders have different names.")
    if plot:
        plot_groups(reports, plot, "Accuracy by group, dense and compressed")
    if json:
        print_json(finite({"images": str(images), "models": [one.as_dict() for one in compared]}))
    else:
        out.print(_table(compared))


def _table(compared: "list[ComparedModel]") -> "Table":
    from rich.table import Table
    from rich.text import Text

    from ...report import human_bytes, printable

    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    drifts = "image drift", "p95", "text drift", "p95"
    for title in ("accuracy", "worst group", "", *drifts, "agreement", "weights"):
        table.add_column(title, justify="right" if title else "left")
    for one in compared:
        groups = one.groups
        shares = [f"{100 * groups.average:.1f} %", f"{100 * groups.worst:.1f} %"] if groups else ["-", "-"]
        moved = [value for each in (one.image_drift, one.text_drift) for value in (each.mean, each.p95)]
        table.add_row(
            Text(printable(one.model)),
            *shares,
            Text(printable(groups.worst_group) if groups else ""),
            *(f"{value:.2g}" for value in moved),
            f"{100 * one.agreement:.1f} %",
            human_bytes(one.checkpoint_bytes),
        )
    return table
