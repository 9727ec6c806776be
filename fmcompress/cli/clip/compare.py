"""fmcompress clip compare."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from .. import arguments as shared
from . import arguments as opt
from . import clip_app

if TYPE_CHECKING:
    from ...clip import EmbeddingSet


@clip_app.command()
def compare(
    models: Annotated[
        list[Path], typer.Argument(metavar="DENSE COMPRESSED...", help="Folders of models; the dense one first.")
    ],
    images: Annotated[Path, typer.Option(help="Folder of images; folders in it are classes.")],
    classes: Annotated[Path, typer.Option(help="Names of the classes: .txt, one a line, or .json.")],
    template: opt.Template = None,
    labels: opt.Labels = None,
    split: opt.Split = None,
    cache: opt.Cache = None,
    plot: shared.Plot = None,
    batch_size: opt.BatchSize = 64,
    device: shared.Device = "auto",
    dtype: opt.Dtype = "float32",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """What compression costs a model of images and text: accuracy, worst group, drift of its embeddings, size."""
    from ...clip.compression import compare_models
    from ...clip.evaluation import rows_of, unlabelled_note
    from ...clip.inputs import Inputs
    from ...clip.pictures import COLOURS, plot_groups
    from ...clip_tables import compression_table
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...report import finite, out, print_json

    refuse_existing(force, None, plot)
    if not images.is_dir():
        raise ConfigError(f"{images}: no such folder. Give a folder of images, which each model embeds anew.")
    if plot and not len({model.name for model in models}) == len(models) <= len(COLOURS):
        raise ConfigError(f"--plot: draws at most {len(COLOURS)} models, whose folders have different names.")
    notes: list[str] = []
    with opt.embedding(quiet or json) as progress:

        def embed(folder: Path) -> "tuple[EmbeddingSet, EmbeddingSet]":
            inputs = Inputs(folder, cache, device, dtype, batch_size, progress=progress)
            found = rows_of(inputs.images(images, labels), split)[0], inputs.text(None, classes, template or ())
            notes.extend(f"{folder}: {note}" for note in inputs.notes)
            if folder == models[0]:
                notes.extend(unlabelled_note(found[0]))
            return found

        compared = compare_models(models, embed)
    reports = {Path(one.model).name: one.groups for one in compared if one.groups is not None}
    if plot and not reports:
        raise ConfigError("--plot: draws accuracies, and there are no labels. Give them with --labels.")
    if plot:
        plot_groups(reports, plot, "Accuracy by group, dense and compressed")
    opt.say(notes, quiet)
    if json:
        print_json(finite({"images": str(images), "models": [one.as_dict() for one in compared], "notes": notes}))
        return
    out.print(compression_table(compared))
