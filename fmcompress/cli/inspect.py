"""fmcompress inspect."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from . import app


@app.command()
def inspect(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a safetensors checkpoint, of any architecture.")],
    json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False,
) -> None:
    """Per tensor: shape, dtype, zeros, the strictest N:M pattern that holds, how it is stored, bytes and bits a weight.

    Packed and compressed-tensors weights are decoded to be looked at; other forms are listed as they are stored.
    """
    from rich.table import Column, Table
    from rich.text import Text

    from ..checkpoint import tensor_facts
    from ..formats import open_as_stored, storage_of
    from ..report import err, human_bytes, out, print_json, printable

    source, reason = open_as_stored(checkpoint)
    if reason is not None:
        err.print(printable(f"listed as stored, not decoded: {reason}"), soft_wrap=True, markup=False)
    facts = [tensor_facts(source, name) for name in sorted(source.tensors)]
    if json:
        print_json(
            [
                {
                    **asdict(fact),
                    "sparsity": fact.sparsity,
                    "bits_per_weight": fact.bits_per_weight,
                    "stored": asdict(storage_of(source, fact.name)),
                }
                for fact in facts
            ]
        )
        return
    columns = "shape", "dtype", "zeros", "pattern", "stored", "bytes", "bits a weight"
    table = Table(Column("tensor", no_wrap=True), *columns)
    for fact in facts:
        shape = " × ".join(map(str, fact.shape)) or "scalar"
        table.add_row(
            Text(printable(fact.name)),
            shape,
            fact.dtype,
            f"{100 * fact.sparsity:.2f} %",
            fact.pattern or "",
            str(storage_of(source, fact.name)),
            human_bytes(fact.size_bytes),
            f"{fact.bits_per_weight:.2f}",
        )
    zeros, size = sum(fact.zeros for fact in facts), sum(fact.size for fact in facts)
    table.add_section()
    table.add_row(
        "all",
        f"{size:,}",
        "",
        f"{100 * zeros / max(1, size):.2f} %",
        "",
        "",
        human_bytes(source.total_bytes),
        f"{8 * source.total_bytes / max(1, size):.2f}",
    )
    out.print(table)
