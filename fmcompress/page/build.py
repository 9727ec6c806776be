"""One self-contained HTML page about runs: no script, style, font or picture comes from elsewhere."""

from collections.abc import Sequence
from importlib.resources import files
from pathlib import Path

from .. import __version__
from ..divergence import Comparison
from ..report import human_bytes
from .chart import short
from .markup import Markup, joined, policy_source, tag
from .plots import block_plots, error_plot, memory_plot, quality_plots, sparsity_plot, time_plot
from .run import Run
from .tables import comparison_table, errors_of, layer_table, method_of, runs_table, warnings

GENERATOR = "fmcompress report"


def page_of(runs: Sequence[Run], comparison: Comparison | None = None) -> str:
    """The whole page.

    comparison  what the perplexity plot is drawn from; None: a sentence says how to get it
    """
    style, script = (Markup(files(__package__).joinpath(name).read_text("utf-8")) for name in ("page.css", "page.js"))
    sources = f"style-src {policy_source(style)}; script-src {policy_source(script)}"
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


def _content(runs: Sequence[Run], comparison: Comparison | None) -> list[Markup]:
    quality = quality_plots(comparison)
    beside = [_panel("Beside the dense model", comparison_table(comparison))] if comparison is not None else []
    hint = f"Written by fmcompress {__version__}. Point at a mark to read its values, at a name to dim the others."
    if len(runs) == 1:
        parts = [tag("h1", runs[0].name), *_section(runs[0], quality, beside)]
    else:
        parts = [tag("h1", f"{len(runs)} runs"), _panel("Side by side", runs_table(runs))]
        parts += [tag("div", *quality, class_="plots"), *beside]
        for run in runs:
            parts += [tag("h2", run.name), *_section(run)]
    return [*parts, tag("footer", hint)]


def _section(run: Run, more_plots: Sequence[Markup] = (), more_tables: Sequence[Markup] = ()) -> list[Markup]:
    """All about one run, and what else the page has where it is the only one."""
    plots = [error_plot(run), *block_plots(run), sparsity_plot(run), time_plot(run), memory_plot(run), *more_plots]
    found = {"warnings": ("Look at", warnings(run)), "notes": ("Notes", run.facts.notes)}
    return [
        tag("p", _subtitle(run), class_="what"),
        *_progress(run),
        _cards(run),
        *(
            _panel(title, tag("ul", *(tag("li", line) for line in lines)), kind)
            for kind, (title, lines) in found.items()
            if lines
        ),
        tag("div", *plots, class_="plots"),
        *more_tables,
        layer_table(run),
    ]


def _panel(title: str, content: Markup, kind: str = "") -> Markup:
    return tag("div", tag("h3", title), content, class_=f"panel {kind}".strip())


def _subtitle(run: Run) -> str:
    facts, machine = run.facts, (run.sessions[-1][0].run or {}) if run.sessions else {}
    parts = [
        method_of(run),
        f"{facts.calibration_tokens:,} calibration tokens" if facts.calibration_tokens else "no calibration",
        f"format {facts.format}" if facts.format else "",
        f"{machine['threads']} threads" if machine.get("threads") else "",
        str(machine.get("gpu") or ""),
        facts.native.removeprefix("loaded, "),
        f"torch {facts.torch}" if facts.torch else "",
    ]
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
