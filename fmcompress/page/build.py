"""One self-contained HTML page about runs: no script, style, font or picture comes from elsewhere."""

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from .. import __version__
from ..divergence import Comparison
from ..report import human_bytes
from .chart import short
from .markup import Markup, joined, tag
from .plots import error_plot, memory_plot, quality_plots, sparsity_plot, time_plot
from .run import Run
from .tables import comparison_table, errors_of, layer_table, method_of, runs_table, warnings

GENERATOR = "fmcompress report"


def page_of(runs: Sequence[Run], comparison: Comparison | None = None) -> str:
    """The whole page.

    comparison  what the perplexity plot is drawn from; None: a sentence says how to get it
    """
    style, script = (Markup(files(__package__).joinpath(name).read_text("utf-8")) for name in ("page.css", "page.js"))
    sources = f"style-src {_source(style)}; script-src {_source(script)}"
    policy = f"default-src 'none'; {sources}; base-uri 'none'; form-action 'none'"
    title = f"{', '.join(run.name for run in runs)} · fmcompress"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="generator", content=GENERATOR),
        tag("title", title),
        tag("style", style),
    )
    body = tag("body", tag("main", *_content(runs, comparison)), tag("script", script))
    return f"<!DOCTYPE html>\n{tag('html', head, body, lang='en')}\n"


def is_page(file: Path) -> bool:
    """Whether a file was written by this module, so that a new page may replace it."""
    with file.open("rb") as opened:
        return f'name="generator" content="{GENERATOR}"'.encode() in opened.read(4096)


def _source(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _content(runs: Sequence[Run], comparison: Comparison | None) -> list[Markup]:
    if len(runs) == 1:
        parts = [tag("h1", runs[0].name), *_section(runs[0], comparison)]
    else:
        parts = [
            tag("h1", f"{len(runs)} runs"),
            tag("div", tag("h3", "Side by side"), runs_table(runs), class_="panel"),
        ]
        parts += [*_quality(comparison)]
        for run in runs:
            parts += [tag("h2", run.name), *_section(run, None, alone=False)]
    return [
        *parts,
        tag(
            "footer",
            f"Written by fmcompress {__version__}. Point at a mark to read its values, at a name to dim the others.",
        ),
    ]


def _quality(comparison: Comparison | None) -> list[Markup]:
    plots = tag("div", *quality_plots(comparison), class_="plots")
    if comparison is None:
        return [plots]
    return [plots, tag("div", tag("h3", "Beside the dense model"), comparison_table(comparison), class_="panel")]


def _section(run: Run, comparison: Comparison | None, *, alone: bool = True) -> list[Markup]:
    """All about one run; the comparison only where it is `alone` on the page."""
    plots = [error_plot(run), sparsity_plot(run), time_plot(run), memory_plot(run)]
    if alone:
        plots += quality_plots(comparison)
    table = (
        [tag("div", tag("h3", "Beside the dense model"), comparison_table(comparison), class_="panel")]
        if comparison
        else []
    )
    return [
        tag("p", _subtitle(run), class_="what"),
        *_progress(run),
        _cards(run),
        *_panel("Look at", warnings(run), "panel warnings"),
        *_panel("Notes", run.facts.notes, "panel notes"),
        tag("div", *plots, class_="plots"),
        *table,
        layer_table(run),
    ]


def _subtitle(run: Run) -> str:
    facts, session = run.facts, run.sessions[-1][0].run if run.sessions else None
    parts = [
        method_of(run),
        f"{facts.calibration_tokens:,} calibration tokens" if facts.calibration_tokens else "no calibration",
    ]
    parts += [f"format {facts.format}"] if facts.format else []
    machine = session or {}
    parts += [f"{machine[key]} {key}" for key in ("threads",) if machine.get(key)]
    parts += [str(machine[key]) for key in ("gpu",) if machine.get(key)]
    parts += [facts.native.removeprefix("loaded, ")]
    parts += [f"torch {facts.torch}"] if facts.torch else []
    return " · ".join(part for part in parts if part)


def _progress(run: Run) -> list[Markup]:
    if run.finished:
        return []
    done, total = run.blocks or (len({layer.block for layer in run.facts.layers}), 0)
    text = (
        f"This run has not finished: {done} of {total} blocks."
        if total
        else f"This run has not finished: {done} blocks."
    )
    return [tag("div", text, tag("progress", value=done, max=total) if total else None, class_="panel")]


def _cards(run: Run) -> Markup:
    facts, errors = run.facts, errors_of(run)
    cards = [(f"{100 * facts.zeros / max(1, facts.weights):.2f} %", "zeros", f"of {facts.weights:,} weights")]
    if facts.bits_per_weight is not None:
        cards.append((f"{facts.bits_per_weight:.2f}", "bits a weight", "on disk, scales and places included"))
    if facts.checkpoint_bytes_before and facts.checkpoint_bytes_after:
        before, after = facts.checkpoint_bytes_before, facts.checkpoint_bytes_after
        smaller = f"from {human_bytes(before)}, {before / after:.2f} times smaller" if after < before else "as before"
        cards.append((human_bytes(after), "all tensors", smaller))
    if errors:
        cards.append((short(sum(errors) / len(errors)), "mean relative error", f"largest {short(max(errors))}"))
    if run.seconds is not None:
        starts = f"in {len(run.sessions)} starts" if len(run.sessions) > 1 else "without starting up"
        cards.append((f"{run.seconds:,.1f} s", "time", starts))
    if run.peak_bytes:
        gpu = max((event.gpu_peak_bytes or 0 for events in run.sessions for event in events), default=0)
        cards.append((human_bytes(run.peak_bytes), "peak memory", f"GPU {human_bytes(gpu)}" if gpu else ""))
    items = [tag("li", tag("span", what), tag("b", value), tag("small", more)) for value, what, more in cards]
    return tag("ul", joined(items), class_="cards")


def _panel(title: str, lines: Sequence[str], class_: str) -> list[Markup]:
    if not lines:
        return []
    return [tag("div", tag("h3", title), tag("ul", *(tag("li", line) for line in lines)), class_=class_)]
