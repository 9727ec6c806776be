"""Options that several commands of `fmcompress omnivl` share."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

Model = Annotated[Path, typer.Argument(help="Folder of an OmniVL model, dense or packed.")]
Media = Annotated[
    list[Path], typer.Argument(help="Images, videos, a folder of them, or a manifest (.jsonl).", metavar="MEDIA...")
]
BatchSize = Annotated[int, typer.Option(min=1, help="Images or videos that the model computes at once.")]
Dtype = Annotated[Literal["float32", "bfloat16", "float16"], typer.Option(help="To compute in.")]
Out = Annotated[Path | None, typer.Option("--out", "-o", help="What is found, to write as JSON.")]


def say(notes: list[str], quiet: bool) -> None:
    """What a user should know, on standard error."""
    from ..clip.arguments import say

    say(notes, quiet)


def loaded(model: Path, device: str, dtype: str, batch_size: int) -> Any:
    """The model, without transformers' own bars."""
    from ...vision_language.omnivl.loaded import OmniVL
    from ..watch import quiet_transformers

    quiet_transformers()
    return OmniVL(model, device=device, dtype=dtype, batch_size=batch_size)


def tell(lines: list[str], facts: dict[str, Any], out: Path | None, json: bool) -> None:
    """Print lines or JSON, and write the JSON where that is asked for."""
    from ...files import write_json
    from ...report import out as console
    from ...report import print_json, printable

    if out:
        write_json(out, facts)
    if json:
        print_json(facts)
        return
    for line in lines:
        console.print(printable(line), soft_wrap=True, markup=False, highlight=False)
