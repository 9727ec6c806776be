"""The best plan of a small network, proven by OR-tools' CP-SAT: an oracle for the search."""

import time
from typing import Any

import numpy as np
import torch

from .. import ops
from ..errors import ConfigError
from .bounds import lower_bound
from .cost import Assignment, mesh_of
from .network import Network
from .plan import Plan, planned
from .problem import Problem, problem
from .program import UNITS, Question
from .seeds import fitting
from .workload import Workload

MOST_DEVICES = 16
WORKERS = 1  # one is the fastest for most small networks, and the same on all machines


def exact(
    network: Network,
    workload: Workload,
    model: str = "paper",
    budget_s: float = 60.0,
    workers: int | None = None,
    hint: Plan | None = None,
) -> Plan:
    """The best plan of at most 16 devices, or the best one found when the budget ends.

    workers  threads of the solver; the same number gives the same plan unless the budget ends it
    hint     a plan to begin with

    Costs are rounded down to 1e-8 of a known plan's before solving, so what is proven is no more than the truth; the
    plan's cost is counted anew. `stopped` is "bound" if no plan is better (by more than the rounding), else "budget".
    Raises ConfigError without OR-tools, for more devices, and for workloads that do not fit.
    """
    cp_model = _ortools()
    if len(network) > MOST_DEVICES:
        raise ConfigError(
            f"an exact plan is for at most {MOST_DEVICES} devices, and the network has {len(network)}. Search for one."
        )
    end = time.monotonic() + budget_s
    tables = problem(network, workload, model)
    best, best_s = _first(tables, workload, hint)
    bound, proven = lower_bound(tables, best_s, 0.1 * budget_s), False
    if bound < best_s * (1 - 1 / UNITS) and time.monotonic() < end:
        found, least_s, proven = Question(cp_model, tables, best, best_s).ask(
            end - time.monotonic(), workers or WORKERS
        )
        bound = max(bound, best_s if found is None and proven else least_s)  # none costs less than the known one
        if found is not None and (seconds := _seconds(tables, found)) < best_s:
            best, best_s = found, seconds
    stopped = "bound" if proven or bound >= best_s * (1 - 1 / UNITS) else "budget"
    return planned(
        network, workload, best, model, tables, lower_bound_s=min(bound, best_s), found="exact", stopped=stopped
    )


def _ortools() -> Any:
    try:
        from ortools.sat.python import cp_model
    except ImportError as error:
        raise ConfigError(
            f"an exact plan needs OR-tools ({error}): pip install 'fmcompress[schedule-exact]'."
        ) from None
    return cp_model


def _seconds(tables: Problem, stage_of: Assignment) -> float:
    """What a plan costs, stages in its order."""
    rest = tables.links, tables.compute, tables.gradient_bytes, tables.micro_batches
    return float(ops.plan_cost(torch.from_numpy(stage_of), *rest, False)[1][0])


def _first(tables: Problem, workload: Workload, hint: Plan | None) -> tuple[Assignment, float]:
    """A plan that fits, and its seconds."""
    if hint is not None:
        mesh_of(hint.stage_of, hint.replica_of, workload)
        stage_of = np.array(hint.stage_of, dtype=np.int64)
        if len(stage_of) != tables.links.shape[1]:
            raise ConfigError(f"hint: expected a plan of {tables.links.shape[1]} devices, got {len(stage_of)}.")
    else:
        stage_of = fitting(tables)
    rest = tables.links, tables.compute, tables.gradient_bytes, tables.micro_batches, tables.free_order
    better, terms, _ = ops.improve_plan(torch.from_numpy(stage_of), *rest)
    return better.numpy(), float(terms[0])
