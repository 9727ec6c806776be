"""The search for a plan: seeds from the network's structure, then an evolution whose children are improved natively."""

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from .. import ops
from ..errors import ConfigError
from .bounds import lower_bound
from .cost import IDLE, Assignment
from .network import Network
from .plan import Plan, planned
from .problem import Problem, problem
from .seeds import nearness, structured
from .workload import Workload

POPULATION = 24
CHILDREN = 8  # of a generation: improved side by side, so their number does not depend on the machine
PATIENCE = 15  # generations without a better plan, after which the search has converged
EFFORT = 10_000  # exchanges that one improvement may count: a part of a second for hundreds of devices
CROSSED = 5  # devices that a child has from its other parent (Yuan et al. 2022, section 3.4)
BOUNDING = 0.5  # share of the budget that the bound may take
OPTIMAL = 1e-9  # share of the cost up to which a bound proves a plan

Progress = Callable[[int, float, float], None]


def schedule(
    network: Network,
    workload: Workload,
    *,
    model: str = "paper",
    seed: int = 0,
    budget_s: float = 5.0,
    progress: Progress = lambda generation, best_s, bound_s: None,
) -> Plan:
    """The cheapest plan that is found for a workload on a network, with a bound that no plan can beat.

    model     "paper" (Yuan et al. 2022, section 3.2) or "extended" (micro-batches, compute, memory as well)
    seed      of the search; the same seed gives the same plan unless the budget ends it
    budget_s  seconds after which nothing new is begun
    progress  called after each generation with its number, the least cost and the bound

    The search ends when the bound proves the plan ("bound"), when PATIENCE generations found nothing better
    ("converged"), or with the budget ("budget"): see Plan.stopped. Raises ConfigError for a workload that does not fit.
    """
    if seed < 0:
        raise ConfigError(f"seed: expected at least 0, got {seed}.")
    end = time.monotonic() + budget_s
    tables = problem(network, workload, model)
    hunt = Hunt(tables, seed)
    hunt.begin(structured(tables), end)
    bound = lower_bound(tables, hunt.best_s, budget_s=max(0.1, BOUNDING * budget_s))
    stopped = hunt.evolve(bound, end, progress)
    return planned(
        network, workload, hunt.best, model, tables,
        lower_bound_s=min(bound, hunt.best_s), found="search", stopped=stopped, evaluations=hunt.evaluations, seed=seed,
    )  # fmt: skip


@dataclass
class Hunt:
    """Plans by rising cost, and what they cost; the first is the best one."""

    tables: Problem
    seed: int
    plans: list[tuple[float, Assignment]] = field(default_factory=list)
    evaluations: int = 0

    @property
    def best(self) -> Assignment:
        """The stages of the cheapest plan, in order."""
        return self.plans[0][1]

    @property
    def best_s(self) -> float:
        """What it costs."""
        return self.plans[0][0]

    def begin(self, seeds: list[Assignment], end: float) -> None:
        """Fill the population with the cheapest seeds, each improved as long as there is time."""
        self._keep([self._costs(stage_of) for stage_of in seeds])
        plans = [plan for _, plan in self.plans]
        for first in range(0, len(plans), 2):
            if first and time.monotonic() > end:
                return
            self._keep(self._improved(plans[first : first + 2], first))

    def evolve(self, bound: float, end: float, progress: Progress) -> str:
        """Generations of children until the bound is met, nothing better comes, or the time ends: why it stopped."""
        chance, idle, generation, took_s = np.random.default_rng(self.seed), 0, 0, 0.0
        while self.best_s > bound * (1 + OPTIMAL):
            if idle == PATIENCE:
                return "converged"
            begin = time.monotonic()
            if begin + took_s > end:  # as long as the last one took
                return "budget"
            before, generation = self.best_s, generation + 1
            children = [self._child(chance) for _ in range(CHILDREN)]
            self._keep(self._improved(children, generation * CHILDREN + POPULATION))
            idle = 0 if self.best_s < before * (1 - OPTIMAL) else idle + 1
            took_s = time.monotonic() - begin
            progress(generation, self.best_s, bound)
        return "bound"

    def _child(self, chance: np.random.Generator) -> Assignment:
        """One plan with the stages that some devices have in another (the paper's five-point crossover); sizes stay."""
        first, second = chance.choice(len(self.plans), 2, replace=len(self.plans) < 2)
        child, other = self.plans[first][1].copy(), _alike(self.plans[second][1], self.plans[first][1])
        crossed = chance.choice(len(child), min(len(child), max(CROSSED, len(child) // 12)), replace=False)
        fixed = np.zeros(len(child), dtype=bool)
        for device in crossed:
            wanted = other[device]
            if child[device] == wanted:
                continue
            there = np.flatnonzero((child == wanted) & ~fixed)
            if len(there):
                partner = chance.choice(there)
                child[device], child[partner] = wanted, child[device]
            fixed[device] = True
        if (child == IDLE).any() and chance.random() < 0.5:
            self._move(child, chance)
        return child

    def _move(self, child: Assignment, chance: np.random.Generator) -> None:
        """Idle devices near one device take the places of those that are farthest from it."""
        far = nearness(self.tables)[chance.integers(len(child))]
        by_distance = np.argsort(far, kind="stable")
        near = by_distance[: chance.integers(2, max(3, len(child) // 2 + 1))]
        comers = near[child[near] == IDLE]
        leavers = [device for device in by_distance[::-1] if child[device] != IDLE and device not in near]
        for comer, leaver in zip(comers, leavers, strict=False):
            child[comer], child[leaver] = child[leaver], IDLE

    def _costs(self, stage_of: Assignment) -> tuple[float, Assignment]:
        tables = self.tables
        groups = torch.from_numpy(stage_of)
        rest = tables.links, tables.compute, tables.gradient_bytes, tables.micro_batches
        orders = [groups]
        if not tables.free_order:  # and one that suits the groups' links, before the rest of the cost is looked at
            orders.append(ops.plan_cost(groups, rest[0], torch.zeros_like(rest[1]), rest[2], 1, True)[0])
        counted = []
        for order in orders:
            ordered, terms = ops.plan_cost(order, *rest, tables.free_order)
            counted.append((float(terms[0]), ordered.numpy()))
        self.evaluations += len(orders)
        return min(counted, key=self._rank)

    def _improved(self, plans: list[Assignment], number: int) -> list[tuple[float, Assignment]]:
        tables = self.tables

        def improve(at: int) -> tuple[float, Assignment, int]:
            groups, terms, count = ops.improve_plan(
                torch.from_numpy(plans[at]), tables.links, tables.compute, tables.gradient_bytes, tables.micro_batches,
                tables.free_order, seed=(self.seed * 1_000_003 + number + at) % 2**63, evaluations=EFFORT,
            )  # fmt: skip
            return float(terms[0]), groups.numpy(), int(count)

        with ThreadPoolExecutor(min(CHILDREN, os.cpu_count() or 1)) as pool:  # the ops let go of Python's lock
            found = list(pool.map(improve, range(len(plans))))
        self.evaluations += sum(count for _, _, count in found)
        return [(seconds, plan) for seconds, plan, _ in found]

    def _rank(self, plan: tuple[float, Assignment]) -> tuple[int, float]:
        """Devices whose memory is too small come before seconds."""
        seconds, stage_of = plan
        if seconds < np.inf:
            return 0, seconds
        used = np.flatnonzero(stage_of != IDLE)
        return int(np.isinf(self.tables.compute.numpy()[stage_of[used], used]).sum()), seconds

    def _keep(self, found: list[tuple[float, Assignment]]) -> None:
        """The cheapest of the old and the new, each partition once."""
        distinct: dict[bytes, tuple[float, Assignment]] = {}
        for seconds, plan in sorted([*self.plans, *found], key=self._rank):
            distinct.setdefault(plan.tobytes(), (seconds, plan))
        self.plans = list(distinct.values())[:POPULATION]


def _alike(stage_of: Assignment, other: Assignment) -> Assignment:
    """A plan with its groups numbered so that they have as many devices in common with those of another as can be."""
    from scipy.optimize import linear_sum_assignment

    stages = int(other.max()) + 1
    used = (stage_of != IDLE) & (other != IDLE)
    shared = np.zeros((stages, stages))
    np.add.at(shared, (stage_of[used], other[used]), 1)
    renamed = np.append(linear_sum_assignment(-shared)[1], IDLE)
    named: Any = renamed[stage_of]
    return named
