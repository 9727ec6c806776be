"""What the commands of `fmcompress schedule` print."""

import math
from types import TracebackType

from rich.table import Table
from rich.text import Text

from .report import err, printable
from .scheduling import Plan, Simulation
from .scheduling.comparison import Comparison
from .scheduling.cost import Cost

SHOWN_NAMES = 8  # of the devices of a stage
TERMS = ("exchange", "hand over", "compute", "waiting")


class SearchProgress:
    """A line on standard error that says how far a search has come."""

    def __init__(self, quiet: bool) -> None:
        self._status = None if quiet else err.status("looking for a plan")

    def __enter__(self) -> "SearchProgress":
        if self._status:
            self._status.start()
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._status:
            self._status.stop()

    def __call__(self, generation: int, best_s: float, bound_s: float) -> None:
        """See schedule()."""
        if self._status:
            self._status.update(f"generation {generation}: {best_s:.4f} s a step, none is below {bound_s:.4f}")


def plan_table(plan: Plan) -> Table:
    """A line a stage: what it holds, who does it, what it costs."""
    table = Table(box=None, pad_edge=False)
    for title, side in (("stage", "right"), ("layers", "right"), ("devices", "left"), ("exchange s", "right"),
                        ("to next s", "right")):  # fmt: skip
        table.add_column(title, justify=side)  # type: ignore[arg-type]
    links = [*map("{:.4f}".format, plan.cost.hand_over_of_link_s), ""]
    for stage, (group, (first, last)) in enumerate(zip(plan.mesh.tolist(), plan.split, strict=True)):
        table.add_row(
            str(stage),
            f"{first}-{last - 1}" if plan.workload.layers else "",
            Text(printable(_names([plan.names[device] for device in group]))),
            f"{plan.cost.exchange_of_stage_s[stage]:.4f}",
            links[stage],
        )
    return table


def _names(names: list[str]) -> str:
    more = f" and {len(names) - SHOWN_NAMES} more" if len(names) > SHOWN_NAMES else ""
    return ", ".join(names[:SHOWN_NAMES]) + more


def plan_words(plan: Plan) -> str:
    """What a step costs and how good that is, in a line."""
    parts = ", ".join(f"{name} {value:.4f}" for name, value in zip(TERMS, _terms(plan.cost), strict=True) if value)
    parts = f" ({parts})" if parts else ""
    if (plan.lower_bound_s or plan.stopped == "bound") and plan.gap < 1e-6:
        quality = "no plan is better"
    elif not plan.lower_bound_s:
        quality = "not bounded"
    else:
        quality = f"no plan saves more than {100 * plan.gap:.2f} % of it (bound {plan.lower_bound_s:.4f} s)"
    return f"{plan.cost_s:.4f} s a step by the {plan.cost.model} model{parts}: {quality}"


def compare_table(found: Comparison) -> Table:
    """What `schedule compare` prints: a line a plan."""
    table = Table(box=None, pad_edge=False)
    table.add_column("plan")
    for title in (*(f"{name} s" for name in TERMS), "step s", "over best", "gap at most"):
        table.add_column(title, justify="right")
    least = min(plan.cost_s for plan in found.plans.values())
    for name, plan in found.plans.items():
        label = f"random (median of {len(found.random_s)})" if name == "random" else name
        if not math.isfinite(plan.cost_s):
            table.add_row(label, Text("memory is short"))
            continue
        table.add_row(
            label,
            *(f"{value:.4f}" for value in _terms(plan.cost)),
            f"{plan.cost_s:.4f}",
            f"{plan.cost_s / least:.3f}" if least else "",
            f"{100 * found.gap(plan):.2f} %",
        )
    if found.no_exact:
        table.caption = Text(printable(f"no exact plan: {found.no_exact}"))
        table.caption_justify = "left"
    return table


def simulation_table(played: Simulation, counted: Plan) -> Table:
    """What `schedule simulate` prints: simulated beside counted seconds."""
    table = Table(box=None, pad_edge=False)
    table.add_column("seconds")
    for title in ("simulated", "counted", "counted/simulated"):
        table.add_column(title, justify="right")
    cost = counted.cost
    for name, simulated_s, counted_s in (
        ("pipeline", played.pipeline_s, cost.total_s - cost.exchange_s),
        ("exchange of gradients", played.exchange_s, cost.exchange_s),
        ("step", played.total_s, cost.total_s),
    ):
        ratio = f"{counted_s / simulated_s:.3f}" if simulated_s else ""
        table.add_row(name, f"{simulated_s:.4f}", f"{counted_s:.4f}", ratio)
    return table


def _terms(cost: Cost) -> tuple[float, ...]:
    return cost.exchange_s, cost.hand_over_s, cost.compute_s, cost.waiting_s
