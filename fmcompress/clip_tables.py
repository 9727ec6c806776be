"""What the commands of `fmcompress clip` print."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from .clip import GroupReport
from .clip.compression import ComparedModel
from .clip.evaluation import ZeroShotEvaluation
from .clip.waffle import DescriptionReport
from .report import human_bytes, printable

if TYPE_CHECKING:  # what trains imports torch
    from .clip.tuned import Evaluation, Tuned

SHOWN_GROUPS = 50


def accuracy_table(reports: Mapping[str, GroupReport]) -> Table:
    """A line a method: its averages, its worst group and how far that lies behind."""
    table = Table(box=None, pad_edge=False)
    adjusted = any(report.adjusted is not None for report in reports.values())
    table.add_column("")
    for title in ("average", *(["adjusted"] if adjusted else []), "mean of groups", "worst group", "gap"):
        table.add_column(title, justify="right")
    table.add_column("the worst")
    for name, report in reports.items():
        table.add_row(
            Text(printable(name)),
            percent(report.average),
            *(["" if report.adjusted is None else percent(report.adjusted)] if adjusted else []),
            percent(report.mean),
            percent(report.worst),
            percent(report.gap),
            Text(printable(report.worst_group)),
        )
    return table


def groups_table(reports: Mapping[str, GroupReport]) -> Table:
    """A line a group, from the worst of the first method on: its rows, and each method's accuracy and interval."""
    table = Table(box=None, pad_edge=False)
    table.add_column("group")
    table.add_column("rows", justify="right")
    for name in reports:
        table.add_column(Text(printable(name)), justify="right")
    by_name = [{group.name: group for group in report.groups} for report in reports.values()]
    order = sorted(by_name[0].values(), key=lambda group: group.accuracy)
    for group in order[:SHOWN_GROUPS]:
        here = [found[group.name] for found in by_name]
        cells = [f"{percent(each.accuracy)} ({100 * each.low:.1f} to {100 * each.high:.1f})" for each in here]
        table.add_row(Text(printable(group.name)), str(group.rows), *cells)
    told = [f"and {len(order) - SHOWN_GROUPS} more: see --json"] if len(order) > SHOWN_GROUPS else []
    empty = next(iter(reports.values())).empty
    told += [f"without rows here: {', '.join(empty[:8])}{' …' if len(empty) > 8 else ''}"] if empty else []
    if told:
        table.caption, table.caption_justify = Text(printable("; ".join(told))), "left"
    return table


def percent(share: float) -> str:
    """0.5 -> "50.0 %"."""
    return f"{100 * share:.1f} %"


def zero_shot_words(found: ZeroShotEvaluation, templates: Any = None) -> str:
    """What was measured, in a line."""
    rows = len(found.predictions.predicted)
    told = [f"{rows} images" + ("" if found.split == "all" else f" of split {found.split}")]
    told.append(f"{len(found.predictions.classes)} classes")
    if isinstance(templates, list):
        more = f" and {len(templates) - 1} more" if len(templates) > 1 else ""
        told.append(f"prompts: {templates[0]!r}{more}")
    elif templates is not None:
        told.append("prompts of each class")
    if found.top_k > 1 and found.top_k_accuracy is not None:
        told.append(f"right among {found.top_k}: {percent(found.top_k_accuracy)}")
    if found.calibration_error is not None:
        told.append(f"expected calibration error {found.calibration_error:.4f}")
    if found.report is None:
        told.append("no labels, so that nothing was counted")
    return printable(" · ".join(told))


def control_words(report: DescriptionReport) -> list[str]:
    """How far descriptors are ahead of what means nothing: a line a control."""
    return [
        f"control {one.kind}: {percent(one.mean)} ± {100 * one.sd:.1f} over {len(one.accuracies)} seeds; "
        f"the descriptors are {100 * (report.described - one.mean):+.1f} points from it"
        for one in report.controls
    ]


def compression_table(compared: Sequence[ComparedModel]) -> Table:
    """A line a model, the dense one first: what it reaches, how far its embeddings have moved, and its size."""
    table = Table(box=None, pad_edge=False)
    table.add_column("model")
    drifts = "image drift", "p95", "text drift", "p95"
    for title in ("accuracy", "worst group", *drifts, "agreement", "weights"):
        table.add_column(title, justify="right")
    table.add_column("the worst")
    for one in compared:
        groups = one.groups
        moved = [value for each in (one.image_drift, one.text_drift) for value in (each.mean, each.p95)]
        table.add_row(
            Text(printable(one.model)),
            *([percent(groups.average), percent(groups.worst)] if groups else ["", ""]),
            *(f"{value:.2g}" for value in moved),
            percent(one.agreement),
            human_bytes(one.checkpoint_bytes),
            Text(printable(groups.worst_group) if groups else ""),
        )


def pseudolabel_table(tuned: "Tuned") -> Table:
    """A line an iteration: how many pseudo-labels, how true they are, and what came of them; before that, zero-shot."""
    table = Table(box=None, pad_edge=False)
    last = "harmonic mean" if tuned.seen is not None else "accuracy"
    for title in ("", "a class", "pseudo-labels", "true", "loss", *(["seen", "unseen"] if tuned.seen else []), last):
        table.add_column(title, justify="right")

    def shares(found: "Evaluation | None") -> list[str]:
        kinds = [found.seen, found.unseen] if found and tuned.seen else [None, None] if tuned.seen else []
        return ["" if share is None else percent(share) for share in [*kinds, found.score if found else None]]

    table.add_row("zero-shot", "", "", "", "", *shares(tuned.zero_shot))
    for number, one in enumerate(tuned.history, 1):
        true = "" if one.label_accuracy is None else percent(one.label_accuracy)
        table.add_row(
            str(number), str(one.k), str(len(one.labels)), true, f"{one.losses[-1]:.4f}", *shares(one.evaluation)
        )
    if tuned.zero_shot is None:
        table.caption, table.caption_justify = Text("no row of split test has a label: accuracy is not known"), "left"
    return table
