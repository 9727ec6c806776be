"""What a person sees: progress, tables, one red line for an error."""

import json
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

from .plan import Plan

if TYPE_CHECKING:
    from .gradients.op_speeds import OpSpeeds
    from .gradients.traffic import Traffic
    from .runtime.decode_speed import DecodeSpeed

err = Console(stderr=True, highlight=False, emoji=False)  # a name such as a:bug:b is no picture
out = Console(highlight=False, emoji=False)
if not out.is_terminal:
    out = Console(highlight=False, emoji=False, width=200)  # a pipe has no width: cut no names


def human_bytes(count: float) -> str:
    """1536 -> "1.5 KiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def printable(text: str) -> str:
    """A text in one line whose control characters are spelt out: a stranger's names could move the cursor."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def print_json(value: Any) -> None:
    """One JSON document on standard output."""
    sys.stdout.write(json.dumps(value, indent=1) + "\n")


def finite(value: Any) -> Any:
    """A JSON value without infinities and NaN, which JSON does not have: null in their place."""
    if isinstance(value, dict):
        return {key: finite(each) for key, each in value.items()}
    if isinstance(value, list):
        return [finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def show_text(piece: str) -> None:
    """Text of a model on standard output at once; what moves a cursor is spelt out, but for line ends and tabs."""
    sys.stdout.write("".join(c if c in "\n\t" else printable(c) for c in piece))
    sys.stdout.flush()


class RunProgress:
    """Watches a run on standard error: a live bar on a terminal, a plain line a layer elsewhere, nothing when quiet."""

    def __init__(self, layers: int, quiet: bool = False, damping: float = 0.01) -> None:
        self.damping = damping  # as asked for; more than that was raised
        self.quiet, self.layers, self.done, self.blocks = quiet, layers, 0, 0
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
        )
        self.bar = Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True)
        self.task = self.bar.add_task("calibrating", total=layers)

    def __enter__(self) -> "RunProgress":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def start(self, blocks: int, done: int) -> None:
        """See job.Observer."""
        self.blocks = blocks
        if done:
            self.note(f"resuming: {done} of {blocks} blocks are finished")
            self.done = self.layers * done // blocks
            self.bar.update(self.task, completed=self.done)

    def layer(self, block: int, record: dict[str, Any]) -> None:
        """See job.Observer."""
        self.done += 1
        error = f" · err {record['relative_error']:.4f}" if "relative_error" in record else ""
        damping = f" · damping raised to {record['damping']:g}" if record["damping"] > self.damping else ""
        where = f"block {block + 1}/{self.blocks} · {printable(record['tensor'])}"
        bits = f" · {record['bits']} bits" if "bits" in record else ""
        few = f" · by {record['solved_by']}, as {record['tokens']} tokens reached it" if "solved_by" in record else ""
        facts = f"{where} · {100 * record['sparsity']:.2f} % zeros{bits}{error}{damping}{few}"
        self.bar.update(self.task, completed=self.done, description=facts)
        if not self.quiet and not err.is_terminal:
            err.print(facts, soft_wrap=True, markup=False)

    def training(self, block: int, done: int, steps: int) -> None:
        """See job.Observer."""
        where = f"block {block + 1}/{self.blocks}"
        told = f"{where} · reconstruction, step {done} of {steps}"
        self.bar.update(self.task, description=told)
        if done == steps and not self.quiet and not err.is_terminal:
            err.print(told, soft_wrap=True, markup=False)

    def block(self, block: int) -> None:
        """See job.Observer."""

    def note(self, text: str) -> None:
        """See job.Observer."""
        if not self.quiet:
            err.print(printable(text), soft_wrap=True, markup=False)


class Steps:
    """A bar on standard error, where that is a terminal, for work whose steps are counted."""

    def __init__(self, doing: str, quiet: bool = False) -> None:
        columns = TextColumn("{task.description}", markup=False), BarColumn(), TimeElapsedColumn()
        self.doing, self.done = doing, 0
        self.bar = Progress(*columns, console=err, disable=quiet or not err.is_terminal, transient=True)
        self.task = self.bar.add_task(doing, total=None)

    def __enter__(self) -> "Steps":
        self.bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.bar.stop()

    def at(self, done: int, total: int, what: str) -> None:
        """So many of so many steps are done."""
        self.bar.update(self.task, completed=done, total=total, description=f"{self.doing} · {printable(what)}")


def plan_table(plan: Plan, to: Path) -> Table:
    """The plan of a run that would write a folder."""
    table = Table("what", "estimate", title="plan", show_header=True)
    table.add_row("layers", f"{plan.layers} in {plan.blocks} blocks")
    if plan.zeros:
        table.add_row("weights to prune", f"{plan.zeros:,} of {plan.weights:,}")
    if plan.bits:
        table.add_row("weights to quantize", f"{plan.weights:,} to {plan.bits} bits")
    table.add_row("calibration tokens", f"{plan.tokens:,}")
    table.add_row("time", f"about {plan.seconds:.0f} s, starting up included")
    labels = {"process": "Python and libraries", "peak": "peak of the process"}
    for name in ("process", "embedding", "activation", "block", "hessian", "solve", "training", "peak"):
        table.add_row(f"memory: {labels.get(name, name)}", human_bytes(getattr(plan, f"{name}_bytes")))
    table.add_row("tensors on disk", human_bytes(plan.output_bytes))
    table.add_row("written", Text(f"{printable(str(to))} ({plan.format})"))
    return table


def summary(facts: dict[str, Any]) -> str:
    """A line on a finished run, and one on how to read what only this project reads."""
    if facts.get("finished_before"):
        return f"{facts['out']}: nothing left to do."
    zeros = f"{100 * facts['sparsity']:.2f} % of {facts['weights']:,} weights are zero"
    before, after = (human_bytes(facts[f"checkpoint_bytes_{when}"]) for when in ("before", "after"))
    size = [f"{before} → {after}", f"{facts['bits_per_weight']:.2f} bits a weight"]
    if facts["config"]["bits"]:
        told = [*size, zeros]
    else:
        told = [zeros, *([] if facts["format"] == "dense" else size)]
    measured = f"{facts['seconds']:.1f} s · peak memory {human_bytes(facts['peak_memory_bytes'])}"
    if facts["ranks"] > 1:
        measured += f" a rank · {facts['ranks']} ranks, {facts['exchange_seconds']:.1f} s of exchange and waiting"
    return f"{facts['out']} ({facts['format']}): {' · '.join(told)}, checked on disk · {measured}{_how_to_read(facts)}"


def _how_to_read(facts: dict[str, Any]) -> str:
    """A second line for a form that other programs do not load."""
    if facts["format"] != "packed":
        return ""
    return (
        "\ntransformers does not load packed weights: "
        "fmcompress generate and fmcompress.runtime.load do, fmcompress unpack makes them dense again"
    )


def decode_table(speeds: "Sequence[DecodeSpeed]", copy_bytes_per_second: float) -> Table:
    """What `bench decode` prints: rates, and how often the first model's."""
    table = Table(box=None, pad_edge=False)
    for title in ("model", "tokens/s", "ratio", "prompt tokens/s", "read a token", "GB/s", "of copy"):
        table.add_column(title, justify="left" if title == "model" else "right")
    for speed in speeds:
        rate = speed.bytes_per_second
        table.add_row(
            speed.name,
            f"{speed.tokens_per_second:.2f}",
            f"{speed.tokens_per_second / speeds[0].tokens_per_second:.2f}",
            f"{speed.prefill_per_second:.1f}",
            human_bytes(speed.bytes_per_token),
            f"{rate / 1e9:.1f}",
            f"{100 * rate / copy_bytes_per_second:.0f} %",
        )
    return table


def op_speed_table(speeds: "OpSpeeds") -> Table:
    """What `gradients bench` prints first: each op beside a copy."""
    table = Table(box=None, pad_edge=False)
    for title in ("op", "median ms", "GB/s", "of copy"):
        table.add_column(title, justify="right" if table.columns else "left")
    for name, seconds in speeds.seconds.items():
        label = f"{name} ({speeds.workers} workers, a shard)" if name == "compress_mean_" else name
        table.add_row(
            label, f"{1e3 * seconds:.3f}", f"{speeds.rate(name) / 1e9:.1f}", f"{100 * speeds.share(name):.0f} %"
        )
    return table


def break_even_table(facts: "Traffic", versus: str, steps: "Sequence[tuple[str, float, float]]") -> Table:
    """What `gradients bench` prints below: (what, seconds of compression in a step, bits a second to break even)."""
    table = Table(box=None, pad_edge=False)
    for title in (f"a step of {facts.parameters:,} parameters", "compression", f"pays against {versus} on links below"):
        table.add_column(title, justify="right" if table.columns else "left")
    for name, seconds, speed in steps:
        table.add_row(name, f"{1e3 * seconds:.2f} ms", f"{speed / 1e6:,.0f} Mbit/s" if speed else "none")
    return table


def traffic_table(facts: "Traffic", versus: str, times: "Sequence[tuple[float, float, float]]") -> Table:
    """What `gradients ratio` prints: bytes a step, and (bits a second, dense seconds, compressed seconds)."""
    table = Table(box=None, pad_edge=False)
    for column in ("each worker sends in a step", f"dense {versus}", "compressed", "ratio"):
        table.add_column(column, justify="right" if table.columns else "left")
    sizes = human_bytes(facts.dense_bytes), human_bytes(facts.compressed_bytes)
    table.add_row(f"{facts.parameters:,} parameters, {facts.workers} workers", *sizes, f"{facts.ratio:.1f}")
    for speed, dense, compressed in times:
        table.add_row(f"at {speed / 1e6:g} Mbit/s", f"{dense:.3f} s", f"{compressed:.3f} s", "")
    return table
