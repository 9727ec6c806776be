"""The tables that `eval --compare` and `lm-eval` print."""

from collections.abc import Mapping
from typing import Any

from rich.table import Table
from rich.text import Text

from .divergence import Comparison
from .report import human_bytes, printable


def comparison_table(comparison: Comparison) -> Table:
    """What `eval --compare` prints: a line a model, the reference first; KL in nats a token."""
    table = Table(box=None, pad_edge=False)
    titles = "perplexity", "ratio", "KL mean", "KL p99", "KL max", "top-1 agreement", "tensors", "bits a weight"
    table.add_column("model")
    for title in titles:
        table.add_column(title, justify="right")
    for model in comparison.models:
        table.add_row(
            Text(printable(model.model)),
            f"{model.perplexity:.4f}",
            f"{model.ratio:.4f}",
            *(f"{nats:.5f}" for nats in (model.kl_mean, model.kl_p99, model.kl_max)),
            f"{100 * model.top1_agreement:.2f} %",
            human_bytes(model.checkpoint_bytes),
            f"{model.bits_per_weight:.2f}",
        )
    return table


def task_table(tasks: Mapping[str, Mapping[str, Any]]) -> Table:
    """What `lm-eval` prints: a line a metric of a task, with its standard error where there is one."""
    table = Table(box=None, pad_edge=False)
    for title in ("task", "metric", "value", "±"):
        table.add_column(title, justify="right" if title in ("value", "±") else "left")
    for task, metrics in tasks.items():
        for name, value in metrics.items():
            metric, _, filtered = name.partition(",")  # lm-eval's "acc,none"
            if isinstance(value, int | float) and filtered and not metric.endswith("_stderr"):
                error = metrics.get(f"{metric}_stderr,{filtered}")
                label = metric if filtered == "none" else f"{metric} ({filtered})"
                spread = f"{error:.4f}" if isinstance(error, int | float) else ""
                table.add_row(Text(printable(task)), Text(printable(label)), f"{value:.4f}", spread)
    return table
