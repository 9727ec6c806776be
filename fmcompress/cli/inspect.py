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
    """Per tensor: shape, dtype, zeros, the strictest N:M pattern that holds, bytes."""
    from rich.table import Column, Table

    from ..checkpoint import Checkpoint, tensor_facts
    from ..report import human_bytes, out, print_json

    source = Checkpoint(checkpoint)
    facts = [tensor_facts(source, name) for name in sorted(source.tensors)]
    if json:
        print_json([{**asdict(fact), "sparsity": fact.sparsity} for fact in facts])
        return
    table = Table(Column("tensor", no_wrap=True), "shape", "dtype", "zeros", "pattern", "bytes")
    for fact in facts:
        shape = " × ".join(map(str, fact.shape)) or "scalar"
        table.add_row(
            fact.name,
            shape,
            fact.dtype,
            f"{100 * fact.sparsity:.2f} %",
            fact.pattern or "",
            human_bytes(fact.size_bytes),
        )
    zeros, size = sum(fact.zeros for fact in facts), sum(fact.size for fact in facts)
    table.add_section()
    table.add_row("all", f"{size:,}", "", f"{100 * zeros / max(1, size):.2f} %", "", human_bytes(source.total_bytes))
    out.print(table)
