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
    from rich.text import Text

    from ..formats.unpack import unpack_checkpoint
    from ..report import err, human_bytes, print_json, printable
    from ..report import out as console

    with err.status("unpacking") as status:
        written = unpack_checkpoint(checkpoint, out, lambda name: status.update(Text(f"unpacking {printable(name)}")))
    if json:
        print_json({"out": str(out), "tensors": len(written.tensors), "bytes": written.total_bytes})
        return
    facts = f"{out}: {len(written.tensors)} tensors, {human_bytes(written.total_bytes)}"
    console.print(facts, soft_wrap=True, markup=False)
