"""fmcompress diff."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from . import app
from . import arguments as opt

if TYPE_CHECKING:
    from ..patches import ChangeFacts


@app.command()
def diff(
    a: Annotated[Path, typer.Argument(help="Folder of a checkpoint: dense, packed or compressed-tensors.")],
    b: Annotated[Path, typer.Argument(help="Folder of the other one, such as a fine-tuned copy.")],
    top: Annotated[int, typer.Option(min=0, help="Print only so many tensors, those that changed most; 0: all.")] = 0,
    energy: Annotated[
        float, typer.Option(help="Share of a change's sum of squares that few directions must hold.")
    ] = 0.99,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """What changed from A to B, per tensor: equal, sparse, of low rank or dense, how much, and what a patch would cost.

    Tensors that are equal are counted, not listed; --json has all. Low rank: 99 % of the change's energy lies in few
    directions. Matrices of up to 512 rows or columns are decomposed exactly; in larger ones up to 64 directions are
    looked for, and the rank told is never too small.
    """
    from ..errors import ConfigError
    from ..formats import open_checkpoint
    from ..memory import return_freed_memory
    from ..patches import compare_checkpoints
    from ..report import Steps, out, print_json

    if not 0 < energy <= 1:
        raise ConfigError(f"energy: expected a share above 0 and up to 1, got {energy}.")
    return_freed_memory()
    before, after = open_checkpoint(a), open_checkpoint(b)
    with Steps("comparing", quiet) as steps:
        facts = compare_checkpoints(before, after, energy, steps.at)
    totals = _totals(facts)
    shown = sorted(facts, key=lambda fact: -_weight(fact))[:top] if top else facts
    if json:
        print_json({"a": str(a), "b": str(b), "totals": totals, "tensors": [asdict(fact) for fact in shown]})
        return
    changed = [fact for fact in shown if fact.kind != "equal"]
    if changed:
        out.print(_table(changed, energy))
    kinds = ", ".join(f"{count} {kind}" for kind, count in totals["kinds"].items())
    told = f"{kinds} · a lossless patch: {_bytes(totals['patch_bytes'])} of {_bytes(totals['dense_bytes'])}"
    out.print(f"{told} ({100 * totals['share']:.1f} %), descriptions and other files not counted", soft_wrap=True)


def _weight(fact: "ChangeFacts") -> float:
    """How much a tensor changed, for sorting: what has no number comes first, tensors that are equal last."""
    if fact.kind == "equal":
        return -1.0
    return float("inf") if fact.relative is None else fact.relative


def _totals(facts: "list[ChangeFacts]") -> dict[str, Any]:
    kinds: dict[str, int] = {}
    for fact in facts:
        kinds[fact.kind] = kinds.get(fact.kind, 0) + 1
    dense = sum(fact.dense_bytes for fact in facts if fact.kind != "only in A")
    patch = sum(fact.patch_bytes for fact in facts)
    return {"kinds": kinds, "dense_bytes": dense, "patch_bytes": patch, "share": patch / max(1, dense)}


def _table(facts: "list[ChangeFacts]", energy: float) -> Any:
    from rich.table import Column, Table
    from rich.text import Text

    from ..report import printable

    columns = "shape", "dtype", "change", "entries", "relative", f"rank ({100 * energy:g} %)", "patch"
    table = Table(Column("tensor", no_wrap=True), *columns)
    for fact in facts:
        shape = " × ".join(map(str, fact.shape)) or "scalar"
        looked = "" if fact.energy is None else "more" if fact.rank is None else str(fact.rank)
        table.add_row(
            Text(printable(fact.name)),
            shape,
            fact.dtype,
            fact.kind if fact.was is None else f"{fact.kind}, was {fact.was}",
            "" if fact.changed is None else f"{100 * fact.changed:.2f} %",
            "" if fact.relative is None else f"{fact.relative:.2e}",
            looked,
            _bytes(fact.patch_bytes),
        )
    return table


def _bytes(count: int) -> str:
    from ..report import human_bytes

    return human_bytes(count)
