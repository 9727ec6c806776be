"""What `fmcompress theory` prints."""

from rich.table import Table
from rich.text import Text

from .report import printable
from .theory.covers import Cover
from .theory.findings import Diagnosis, TaskDiagnosis
from .theory.order_diagnosis import OrderDiagnosis
from .theory.verdicts import count

SHOWN_TASKS = 50


def verdict_table(found: Diagnosis | OrderDiagnosis) -> Table:
    """A line a task: what solves it, and why."""
    table = _table("task", "of it", "others", "solved by", "why")
    for task in found.tasks[:SHOWN_TASKS]:
        told = f"{len(task.prompts)} prompts" if task.verdict == "k prompts" else task.verdict
        cells = task.name, str(task.positives), str(task.negatives), told, task.reason
        table.add_row(*(Text(printable(cell)) for cell in cells))
    more = len(found.tasks) - SHOWN_TASKS
    if more > 0:
        table.caption, table.caption_justify = f"and {more} more: see --json", "left"
    return table


def measures_table(found: Diagnosis) -> Table:
    """A line a task: its best prompt by itself, and what probes reach on objects that they have not seen."""
    table = _table(
        "task",
        "best prompt",
        "eps*",
        "AUC",
        "margin",
        "accuracy",
        "unseen: prompt",
        "probe",
        "nearest",
        "majority",
        "plane",
    )
    for task in found.tasks[:SHOWN_TASKS]:
        each, unseen = task.measures, task.generalisation
        shares = each.accuracy[task.best], unseen.prompt, unseen.probe, unseen.nearest, unseen.majority
        table.add_row(
            Text(printable(task.name)),
            Text(printable(found.scores.prompts[task.best])),
            f"{task.error:.3f}",
            f"{each.auc[task.best]:.3f}",
            f"{each.margin[task.best]:+.3g}",
            *("" if share is None else f"{100 * share:.1f} %" for share in shares),
            {True: "yes", False: "no", None: "?"}[task.separation.separable],
        )
    return table


def curve_table(found: Diagnosis, task: TaskDiagnosis) -> Table:
    """A line a number of prompts: the least error found, greedily and exactly, and by which."""
    table = _table("prompts", "error, greedily", "wrong", "which", "error, exactly", "wrong", "which")
    for size, step in enumerate(task.curve, 1):
        exact = _cover(found, step.exact) if step.exact else ["not searched", "", Text("")]
        table.add_row(str(size), *(_cover(found, step.greedy) if step.greedy else ["no better", "", Text("")]), *exact)
    table.title, table.title_justify = Text(printable(f"{task.name}: prompts joined by OR")), "left"
    return table


def notes_of(found: Diagnosis | OrderDiagnosis) -> list[str]:
    """What a reader of the tables should know, a sentence each."""
    notes = []
    if found.labels.unknown:
        told = "may be prompts, but are" if isinstance(found, OrderDiagnosis) else "are"
        notes.append(f"{count(found.labels.unknown, 'object')} without label {told} in no count and no verdict")
    if isinstance(found, OrderDiagnosis):
        return [*notes, "exact for this hierarchy, whatever a model makes of it"]
    settings = found.settings
    fitted = ", whose thresholds are fitted to these labels" if settings.calibration == "prompt" else ""
    notes.append(
        f"calibration {settings.calibration}{fitted}; off by at most {settings.tolerance:g} counts as right; "
        f"scores that differ by {settings.resolution:.3g} are the same"
    )
    chance = max(task.by_chance for task in found.tasks)
    if chance > 0.05:
        notes.append(
            f"with random scores {chance:.3g} of these prompts would part a task so small: one that does tells little"
        )
    ranks = {task.separation.rank for task in found.tasks}
    objects = len(found.rows)
    if max(ranks) >= objects - 1:
        notes.append(
            f"the scores of {objects} objects are independent: a plane parts any labels, look at unseen objects"
        )
    if any(task.generalisation.folds and task.generalisation.probe is None for task in found.tasks):
        notes.append("no probe on unseen objects: pip install 'fmcompress[clip]' for scikit-learn")
    for task in found.tasks:
        if task.residual is not None:
            value, one, other = task.residual
            pair = f"{found.object_name(one)!r}, which is not of it, and {found.object_name(other)!r}"
            notes.append(f"{task.name}: functoriality residual {value:.3g} ({settings.residual_values}), of {pair}")
    return notes


def _cover(found: Diagnosis, cover: Cover) -> list[str | Text]:
    names = ", ".join(found.scores.prompts[at] for at in cover.prompts)
    return [f"{cover.error:.3f}", str(cover.wrong), Text(printable(names))]


def _table(*titles: str) -> Table:
    table = Table(box=None, pad_edge=False)
    words = ("task", "solved by", "why", "best prompt", "which")
    for title in titles:
        table.add_column(title, justify="left" if title in words else "right")
    return table
