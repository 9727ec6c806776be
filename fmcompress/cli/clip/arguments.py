"""Options that several commands of `fmcompress clip` share."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Images = Annotated[
    Path,
    typer.Argument(help="Embeddings of images (.npy, .safetensors), or a folder of images; folders in it are classes."),
]
Text = Annotated[Path | None, typer.Option("--text", help="Embeddings of the classes, with their names.")]
Classes = Annotated[Path | None, typer.Option(help="Names of the classes: .txt, one a line, or .json.")]
Template = Annotated[
    list[str] | None,
    typer.Option(help="Prompt with a {} for the class; repeat it, or name a file (.txt, .json). a photo of a {}."),
]
Model = Annotated[Path | None, typer.Option(help="Folder of the model that embeds what is not embedded yet.")]
Cache = Annotated[Path | None, typer.Option(help="Folder that keeps embeddings, for this model and others.")]
Labels = Annotated[Path | None, typer.Option(help="CSV of name[,label][,group][,split]; without names by order.")]
TrainLabels = Annotated[
    Path | None, typer.Option(help="CSV with a column group of the rows of training, for the adjusted average.")
]
Normalise = Annotated[bool, typer.Option("--normalise", help="Give rows of embeddings length 1.")]
BatchSize = Annotated[int, typer.Option(min=1, help="Images or texts that the model computes at once.")]
Dtype = Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="To compute in.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="Predictions to write, as CSV.")]
Split = Annotated[
    Literal["train", "val", "test", "all"] | None,
    typer.Option(help="Rows to measure on; test where the labels have splits, all where they have none."),
]


def say(notes: list[str], quiet: bool = False) -> None:
    """What a user should know, on standard error."""
    from ...report import err, printable

    if not quiet:
        for note in notes:
            err.print(printable(note), soft_wrap=True, markup=False)


def embedding(quiet: bool) -> Any:
    """A bar for what is embedded: a context that gives the function that Inputs is to tell."""
    from contextlib import contextmanager

    from ...report import Steps

    @contextmanager
    def shown() -> Any:
        with Steps("embedding", quiet) as steps:
            yield lambda done, total: steps.at(done, total, f"{done} of {total}")

    return shown()
