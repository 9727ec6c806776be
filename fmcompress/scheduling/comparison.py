"""The plan that is found beside plans that nobody searched for."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from .baselines import baseline
from .exact import MAX_DEVICES, exact
from .network import Network
from .plan import Plan
from .search import schedule
from .workload import Workload


@dataclass(frozen=True)
class Comparison:
    """Plans by how they were made.

    plans      "random" (the median of those drawn), "contiguous", "strided", "search", and "exact" where it was possible
    random_s   what the random ones cost, by rising cost
    bound_s    no plan costs less
    no_exact   why there is no exact one; empty if there is
    """

    plans: dict[str, Plan]
    random_s: list[float]
    bound_s: float
    no_exact: str

    def as_dict(self) -> dict[str, Any]:
        """JSON values."""
        return {
            "bound_s": self.bound_s,
            "random_s": self.random_s,
            "no_exact": self.no_exact,
            "plans": {
                name: {"cost_s": plan.cost_s, "gap": self.gap(plan), **plan.as_dict()["cost"]}
                for name, plan in self.plans.items()
            },
        }

    def gap(self, plan: Plan) -> float:
        """By what share of itself a plan may cost too much at most."""
        return max(0.0, 1 - self.bound_s / plan.cost_s) if plan.cost_s else 0.0


def compare(
    network: Network,
    workload: Workload,
    *,
    model: str = "paper",
    draws: int = 10,
    seed: int = 0,
    budget_s: float = 5.0,
    progress: Callable[[int, float, float], None] = lambda generation, best_s, bound_s: None,
) -> Comparison:
    """Plans made in every way there is, counted by one model.

    draws  random plans, of seed, seed + 1, …

    Other parameters as of schedule(). Raises ConfigError for a workload that does not fit.
    """
    found = schedule(network, workload, model=model, seed=seed, budget_s=budget_s, progress=progress)
    drawn = [baseline(network, workload, "random", model, seed + draw) for draw in range(draws)]
    drawn.sort(key=lambda plan: plan.cost_s)
    plans = {
        "random": drawn[(draws - 1) // 2],
        "contiguous": baseline(network, workload, "contiguous", model),
        "strided": baseline(network, workload, "strided", model),
        "search": found,
    }
    bound, no_exact = found.lower_bound_s, ""
    if len(network) > MAX_DEVICES:
        no_exact = f"{len(network)} devices, and at most {MAX_DEVICES} can be solved exactly"
    else:
        try:
            plans["exact"] = exact(network, workload, model, hint=found)
            bound = max(bound, plans["exact"].lower_bound_s)
        except ConfigError as error:  # OR-tools is not installed
            no_exact = str(error)
    return Comparison(plans, [plan.cost_s for plan in drawn], bound, no_exact)
