"""fmcompress unpack."""

from pathlib import Path
from typing import Annotated

import typer

from . import app
from . import arguments as opt


@app.command()
def unpack(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a packed or compressed-tensors checkpoint.")],
    out: opt.Out,
    json: opt.Json = False,
) -> None:
    """Restore the dense checkpoint, bit for bit where it was packed by fmcompress."""
    from ..formats.unpack import unpack_checkpoint
    from ..report import Steps, err, human_bytes, print_json
    from ..report import out as console

    notes: list[str] = []
    with Steps("unpacking") as steps:
        written = unpack_checkpoint(checkpoint, out, steps.at, notes.append)
    for note in notes:
        err.print(note, soft_wrap=True, markup=False)
    if json:
        print_json({"out": str(out), "tensors": len(written.tensors), "bytes": written.total_bytes, "notes": notes})
        return
    facts = f"{out}: {len(written.tensors)} tensors, {human_bytes(written.total_bytes)}"
    console.print(facts, soft_wrap=True, markup=False)
