"""The plots of a run, each a figure with a sentence on how to read it."""

import math
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from ..divergence import Comparison, Quality
from ..report import human_bytes
from .chart import BOTTOM, HEIGHT, RIGHT, WIDTH, Axis, Chart, legend, short, span
from .markup import Markup, tag
from .run import TRAINED, WAITED, WROTE, Layer, Run

MOST_KINDS = 12  # of layers with a line each; the others share one
MOST_BARS = 400  # of single layers; beyond it a bar is a block
UNITS = (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("bytes", 1))


def figure(title: str, plot: Markup | None, reading: str, names: Sequence[str] = ()) -> Markup:
    """A plot with its title and how to read it; where there is no plot, that sentence says why."""
    head = tag("h3", title)
    return tag("figure", head, legend(names), plot, tag("figcaption", reading), class_=None if plot else "absent")


def error_plot(run: Run) -> Markup:
    """Relative error by block, a line for each kind of layer."""
    title = "Error per layer"
    layers = [layer for layer in run.facts.layers if _drawable(layer.relative_error)]
    if not layers:
        return figure(title, None, "This method looked at no data, so no error was measured. fmcompress eval can.")
    errors = [layer.relative_error or 0.0 for layer in layers]
    y = Axis(*span(errors, log=True), "relative output error (log)", log=True)
    chart = Chart(_block_axis(run.facts.layers), y)
    names = _by_kind(chart, layers, lambda layer: layer.relative_error or 0.0, dodge=False)
    reading = (
        "Squared error of a layer's outputs over their energy, on the calibration text: 0.01 is 1 %, 1 is all of it."
    )
    return figure(title, chart.render(title), reading, names)


def block_plots(run: Run) -> list[Markup]:
    """Error of the blocks before and after their reconstruction; nothing where none was asked for."""
    found = {layer.block: layer for layer in run.facts.layers if _drawable(layer.block_error)}
    if not found:
        return []
    before = {number: layer.block_error_before or 0.0 for number, layer in found.items()}
    after = {number: layer.block_error or 0.0 for number, layer in found.items()}
    y = Axis(*span([*before.values(), *after.values()], log=True), "relative output error (log)", log=True)
    chart = Chart(_block_axis(run.facts.layers), y)
    names = ["solved", "reconstructed"]
    for kind, (name, errors) in enumerate(zip(names, (before, after), strict=True)):
        chart.series([(block, value, f"block {block}, {name}: {value:.4g}") for block, value in errors.items()], kind)
    reading = (
        "Squared difference of a block's outputs to the dense model's there, over the energy of those. It holds what "
        "the blocks before have left wrong, too."
    )
    title = "Error per block"
    return [figure(title, chart.render(title), reading, names)]


def sparsity_plot(run: Run) -> Markup:
    """Share of zeros by block, a dot for each layer."""
    title, layers = "Zeros per layer", run.facts.layers
    if not layers:
        return figure(title, None, "No layer is solved yet.")
    chart = Chart(_block_axis(layers), Axis(0, 104, "weights that are zero (%)"))
    share = 100 * run.facts.zeros / max(1, run.facts.weights)
    chart.rule(y=share, text=f"all {share:.2f} %")
    names = _by_kind(chart, layers, lambda layer: 100 * min(1.0, layer.sparsity), dodge=True)
    return figure(title, chart.render(title), "The dashed line is the share of all solved weights.", names)


def _drawable(value: float | None) -> bool:
    return value is not None and math.isfinite(value) and 1e-30 < value < 1e30


def _block_axis(layers: Sequence[Layer]) -> Axis:
    blocks = [layer.block for layer in layers]
    return Axis(min(blocks) - 0.5, max(blocks) + 0.5, "block", whole=True)


def _by_kind(chart: Chart, layers: Sequence[Layer], value: Callable[[Layer], float], *, dodge: bool) -> list[str]:
    """Draw layers by kind, lines between blocks, or side by side within a block. Returns the kinds' names."""
    names = list(dict.fromkeys(layer.kind for layer in layers))
    if len(names) > MOST_KINDS:
        names = [*names[: MOST_KINDS - 1], "others"]
    groups: dict[str, list[Layer]] = {name: [] for name in names}
    for layer in layers:
        groups[layer.kind if layer.kind in groups else "others"].append(layer)
    for kind, (name, members) in enumerate(groups.items()):
        shift = 0.7 * ((kind + 0.5) / len(groups) - 0.5) if dodge else 0.0
        points = [
            (layer.block + shift, value(layer), f"{layer.tensor}: {value(layer):.4g}{' %' if dodge else ''}")
            for layer in sorted(members, key=lambda layer: layer.block)
        ]
        chart.series(points, kind, line=not dodge and name != "others" and len({p[0] for p in points}) == len(points))
    return names


def time_plot(run: Run) -> Markup:
    """Seconds of each layer in the order of solving, stacked by phase."""
    title, measured = "Time per layer", run.layer_seconds
    if not measured:
        return figure(
            title, None, "No times were kept: the folder holds no fmcompress-measured.jsonl, or no layer yet."
        )
    bars = [(layer.tensor, measured[layer.tensor]) for layer in run.facts.layers if layer.tensor in measured]
    if len(bars) > MOST_BARS:
        title, bars = "Time per block", _summed({layer.tensor: layer.block for layer in run.facts.layers}, bars)
    seen = {phase for _, phases in bars for phase in phases}
    phases = [WAITED, *sorted(seen - {WAITED, TRAINED, WROTE}), *({TRAINED} & seen), WROTE]
    highest = max((sum(seconds.values()) for _, seconds in bars), default=0.0)
    y = Axis(0, 1.06 * highest or 1.0, "seconds")
    chart = Chart(Axis(0, max(1, len(bars)), f"{title.split()[-1]}s, in the order of solving", whole=True), y)
    for place, (name, seconds) in enumerate(bars):
        floor = 0.0
        for kind, phase in enumerate(phases):
            length = seconds.get(phase, 0.0)
            if length > 0:
                text = f"{name}: {phase} {length:.3f} s of {sum(seconds.values()):.3f} s"
                chart.bar(place + 0.08, place + 0.92, floor, floor + length, kind, text)
                floor += length
    reading = (
        f"{WAITED}: reading weights and running the text through the block, at the layer that waited for it; "
        f"{WROTE}, and {TRAINED} where blocks are: at the last layer of a block. The other phases are the solver's own."
    )
    return figure(title, chart.render(title), reading, phases)


def _summed(blocks: dict[str, int], bars: Iterable[tuple[str, dict[str, float]]]) -> list[tuple[str, dict[str, float]]]:
    sums: dict[str, dict[str, float]] = {}
    for tensor, seconds in bars:
        into = sums.setdefault(f"block {blocks[tensor]}", {})
        for phase, length in seconds.items():
            into[phase] = into.get(phase, 0.0) + length
    return list(sums.items())


def memory_plot(run: Run) -> Markup:
    """Memory at the end of every layer, with the ends of blocks and what --resume joined."""
    title = "Memory over time"
    if not run.sessions or not (run.seconds and run.peak_bytes):
        return figure(title, None, "No memory was kept: the folder holds no fmcompress-measured.jsonl.")
    events = [event for session in run.sessions for event in session]
    unit, size = _unit(run.peak_bytes)
    most = max(run.peak_bytes, *(event.gpu_peak_bytes or 0 for event in events))
    y = Axis(0, 1.15 * most / size, f"memory ({unit})")
    chart, begin = Chart(Axis(0, run.seconds, "seconds"), y), 0.0
    on_gpu = any(event.gpu_bytes is not None for event in events)
    for number, session in enumerate(run.sessions):
        times = [(begin + event.at_s, event) for event in session]
        if number:
            chart.rule(x=begin, text="gone on with --resume", class_="resumed")
        for at, event in times:
            if event.finished and event.block is not None:
                chart.rule(x=at, text=f"block {event.block} finished after {at:.2f} s", class_="boundary")
        chart.area([(at, event.resident_bytes / size) for at, event in times], 0)
        if on_gpu:
            chart.area([(at, (event.gpu_bytes or 0) / size) for at, event in times], 1)
        begin += session[-1].at_s
    chart.rule(y=run.peak_bytes / size, text=f"peak {human_bytes(run.peak_bytes)}")
    names = ["resident", "on the GPU"] if on_gpu else []
    reading = "Resident memory of the process at the end of every layer; thin lines are ends of blocks."
    if len(run.sessions) > 1:
        reading += " At the dotted line --resume went on."
    return figure(title, chart.render(title), reading, names)


def quality_plots(comparison: Comparison | None) -> list[Markup]:
    """Perplexity and KL divergence against bytes, a dot a model."""
    if comparison is None:
        reading = (
            "Add --dense MODEL --text heldout.txt to evaluate, or --eval FILE with what eval --compare --json printed."
        )
        return [figure("Perplexity against size", None, reading)]
    tokens = f"On {comparison.predicted_tokens:,} tokens in windows of {comparison.sequence_length}; lower is better"
    models, first = comparison.models, comparison.models[0].perplexity
    return [
        _against_size(
            "Perplexity against size", "perplexity", models, lambda model: model.perplexity,
            f"{tokens}, and further left is smaller. The dashed line is the dense model.", rule=first,
        ),
        _against_size(
            "KL divergence against size", "KL (nats a token)", models[1:], lambda model: model.kl_mean,
            f"{tokens}: how far the next-token probabilities are from the dense model's, 0 for the same.",
        ),
    ]  # fmt: skip


def _against_size(
    title: str,
    label: str,
    models: Sequence[Quality],
    value: Callable[[Quality], float],
    reading: str,
    rule: float | None = None,
) -> Markup:
    models = [model for model in models if _drawable(value(model))]
    if not models:
        return figure(title, None, "No model has a value that could be drawn.")
    unit, size = _unit(max(model.checkpoint_bytes for model in models))
    values = [value(model) for model in models]
    log = max(values) > 8 * min(values)
    x = Axis(0, 1.08 * max(model.checkpoint_bytes for model in models) / size or 1.0, f"tensors on disk ({unit})")
    chart = Chart(x, Axis(*span(values, log=log, pad=0.12), f"{label}{', log' if log else ''}", log=log))
    if rule is not None and _drawable(rule):
        chart.rule(y=rule)
    taken: list[tuple[float, float]] = []
    for model in sorted(models, key=value, reverse=True):
        place = model.checkpoint_bytes / size, value(model)
        text = f"{model.model}: {label} {short(place[1])}, {human_bytes(model.checkpoint_bytes)}"
        chart.series([(*place, text)], models.index(model) + (rule is None), r=5.5)
        _label(chart, *chart.at(*place), Path(model.model).name, taken)
    return figure(title, chart.render(title), reading)


def _label(chart: Chart, across: float, height: float, name: str, taken: list[tuple[float, float]]) -> None:
    """Write a name beside a dot, below the names that were written there before."""
    height += 4
    while any(abs(height - other) < 14 and abs(across - there) < 150 for there, other in taken):
        height += 14
    taken.append((across, height))
    left = across < WIDTH - RIGHT - 190
    chart.note(across + (10 if left else -10), min(height, HEIGHT - BOTTOM - 3), name, "start" if left else "end")


def _unit(most: int) -> tuple[str, int]:
    """The unit in which a number of bytes is written, and its bytes."""
    return next(unit for unit in UNITS if most >= unit[1] or unit[1] == 1)
