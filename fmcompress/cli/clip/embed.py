"""fmcompress clip embed."""

from pathlib import Path
from typing import Annotated

import typer

from .. import arguments as shared
from . import arguments as opt
from . import clip_app


@clip_app.command()
def embed(
    model: Annotated[Path, typer.Argument(help="Folder of a model of images and text, dense or packed.")],
    source: Annotated[
        Path,
        typer.Argument(metavar="INPUT", help="Folder of images, or names of classes (.txt, one a line, or .json)."),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Embeddings to write: .safetensors.")],
    template: opt.Template = None,
    labels: opt.Labels = None,
    cache: opt.Cache = None,
    batch_size: opt.BatchSize = 64,
    device: shared.Device = "auto",
    dtype: opt.Dtype = "float32",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Embed images, or classes by their prompts (--template '{}' takes the lines as they are)."""
    from ...clip.files import write_embeddings
    from ...clip.inputs import Inputs, read_template_options
    from ...clip.lists import read_names
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...report import out as console
    from ...report import print_json, printable

    refuse_existing(force, out, None)
    if out.suffix != ".safetensors":
        raise ConfigError(f"{out}: expected a name that ends in .safetensors to write embeddings to.")
    if not source.exists():
        raise ConfigError(f"{source}: no such file or folder. Give a folder of images, or a list of classes.")
    if template if source.is_dir() else labels:
        raise ConfigError("--template is for names of classes, --labels for images. Leave one of them out.")
    with opt.embedding(quiet or json) as progress:
        inputs = Inputs(model, cache, device, dtype, batch_size, progress=progress)
        if source.is_dir():
            found = inputs.images(source, labels)
        else:
            found = inputs.embedded_classes(read_names(source), read_template_options(template or ()))
    write_embeddings(out, found)
    opt.say(inputs.notes, quiet)
    what = "images" if source.is_dir() else "classes"
    if json:
        rows, dim = found.vectors.shape
        facts = {"rows": rows, "dim": dim, "classes": list(found.classes), "identity": found.identity}
        print_json({"out": str(out), "of": what, **facts, "notes": inputs.notes})
        return
    console.print(
        printable(f"{out}: {len(found)} {what}, {found.vectors.shape[1]} numbers each"), soft_wrap=True, markup=False
    )
