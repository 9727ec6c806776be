"""The tables of the page, and what in a run a person should look at."""

import math
from collections.abc import Sequence

from ..divergence import Comparison
from ..report import human_bytes
from .chart import short
from .markup import Markup, tag
from .run import Layer, Run


def raised_damping(run: Run, layer: Layer) -> bool:
    """Whether a Hessian needed more damping than was asked for."""
    asked = run.facts.config.get("damping")
    return isinstance(asked, int | float) and layer.damping > asked


def few_tokens(layer: Layer) -> bool:
    """Whether the calibration cannot have determined a layer's weights."""
    return 0 < layer.tokens < layer.cols


def warnings(run: Run) -> list[str]:
    """What may have cost quality, most serious first."""
    layers = run.facts.layers
    raised = [layer for layer in layers if raised_damping(run, layer)]
    dead = [layer for layer in layers if layer.dead_columns]
    few = [layer for layer in layers if few_tokens(layer)]
    told = []
    if few:
        told.append(
            f"{few[0].tokens:,} calibration tokens are fewer than the columns of {_named(few)}: they do not determine "
            "these weights. Give more text or raise --samples."
        )
    if raised:
        told.append(f"Damping was raised, up to {max(layer.damping for layer in raised):g}, in {_named(raised)}.")
    if dead:
        most = max(dead, key=lambda layer: layer.dead_columns)
        told.append(
            f"Inputs that were zero in all of the calibration text: {_named(dead)}; the most, "
            f"{most.dead_columns:,} of {most.cols:,}, in {most.tensor}."
        )
    return told


def _named(layers: Sequence[Layer]) -> str:
    return layers[0].tensor if len(layers) == 1 else f"{len(layers)} layers, such as {layers[0].tensor}"


def layer_table(run: Run) -> Markup:
    """Every layer: sorted by a click on a column's head."""
    seconds = run.layer_seconds
    heads = ["tensor", "block", "rows", "columns", "zeros", "pattern", "bits", "relative error", "loss"]
    heads += ["damping", "dead columns", "tokens", "seconds"]
    rows = [
        _row(run, layer, sum(seconds[layer.tensor].values()) if layer.tensor in seconds else None)
        for layer in run.facts.layers
    ]
    head = tag("tr", *(tag("th", tag("button", text, type="button"), scope="col") for text in heads))
    table = tag("table", tag("thead", head), tag("tbody", *rows), class_="sortable")
    search = tag("input", type="search", placeholder="filter by name", aria_label="filter by name")
    title = tag("h3", f"All {len(run.facts.layers):,} layers")
    return tag("div", tag("div", title, search, class_="bar-head"), tag("div", table, class_="scroll"), class_="panel")


def _row(run: Run, layer: Layer, seconds: float | None) -> Markup:
    pattern = f"{layer.keep}:{layer.group}" if layer.keep is not None and layer.group is not None else ""
    return tag(
        "tr",
        tag("td", layer.tensor),
        _cell(layer.block, f"{layer.block}"),
        _cell(layer.rows, f"{layer.rows:,}"),
        _cell(layer.cols, f"{layer.cols:,}"),
        _cell(layer.sparsity, f"{100 * layer.sparsity:.2f} %"),
        tag("td", pattern),
        tag("td", "" if layer.bits is None else layer.bits),
        _number(layer.relative_error),
        _number(layer.loss),
        _cell(layer.damping, f"{layer.damping:g}", raised_damping(run, layer)),
        _cell(layer.dead_columns, f"{layer.dead_columns:,}", layer.dead_columns > 0),
        _cell(layer.tokens, f"{layer.tokens:,}", few_tokens(layer)),
        _number(seconds),
    )


def _cell(value: float, text: str, warn: bool = False) -> Markup:
    return tag("td", text, data_value=repr(value), class_="warn" if warn else None)


def _number(value: float | None) -> Markup:
    if value is None or not math.isfinite(value):
        return tag("td", "", data_value="")
    return _cell(value, f"{value:.4g}")


def runs_table(runs: Sequence[Run]) -> Markup:
    """Several runs beside each other."""
    heads = [
        "run",
        "method",
        "zeros",
        "bits a weight",
        "all tensors",
        "mean relative error",
        "largest",
        "seconds",
        "peak memory",
    ]
    rows = []
    for run in runs:
        facts, errors = run.facts, errors_of(run)
        size = "" if facts.checkpoint_bytes_after is None else human_bytes(facts.checkpoint_bytes_after)
        cells = [
            method_of(run),
            f"{100 * facts.zeros / max(1, facts.weights):.2f} %",
            "" if facts.bits_per_weight is None else f"{facts.bits_per_weight:.2f}",
            size,
            short(sum(errors) / len(errors)) if errors else "",
            short(max(errors)) if errors else "",
            "" if run.seconds is None else f"{run.seconds:.1f}",
            "" if run.peak_bytes is None else human_bytes(run.peak_bytes),
        ]
        rows.append([run.name, *cells])
    return _plain_table(heads, rows)


def comparison_table(comparison: Comparison) -> Markup:
    """What `fmcompress eval --compare` measured."""
    heads = [
        "model",
        "perplexity",
        "ratio",
        "KL mean (nats a token)",
        "KL p99",
        "KL max",
        "top-1 agreement",
        "all tensors",
        "bits a weight",
    ]
    rows = [
        [
            model.model,
            f"{model.perplexity:.4f}",
            f"{model.ratio:.4f}",
            *(f"{nats:.5f}" for nats in (model.kl_mean, model.kl_p99, model.kl_max)),
            f"{100 * model.top1_agreement:.2f} %",
            human_bytes(model.checkpoint_bytes),
            f"{model.bits_per_weight:.2f}",
        ]
        for model in comparison.models
    ]
    return _plain_table(heads, rows)


def _plain_table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    head = tag("tr", *(tag("th", text, scope="col") for text in heads))
    lines = [tag("tr", *(tag("td", text) for text in row)) for row in rows]
    return tag("div", tag("table", tag("thead", head), tag("tbody", *lines)), class_="scroll all")


def errors_of(run: Run) -> list[float]:
    """The relative errors that are numbers."""
    found = (layer.relative_error for layer in run.facts.layers)
    return [error for error in found if error is not None and math.isfinite(error)]


def method_of(run: Run) -> str:
    """Such as "sparsegpt 50 % + 4 bits"."""
    config = run.facts.config
    share = config.get("sparsity")
    percent = f"{100 * share:g} %" if isinstance(share, int | float) else None
    target = config.get("pattern") or percent
    bits = f"{config['bits']} bits" if config.get("bits") else None
    steps = config.get("reconstruct")
    after = [name for name in ("refit", "swap") if config.get(name)] + ([f"reconstruct {steps}"] if steps else [])
    what = " + ".join(str(part) for part in (target, bits, *after) if part)
    return f"{'given masks' if config.get('masks') else config.get('method') or ''} {what}".strip()
