"""A plan goes on without devices that have left: idle ones take over, or there are fewer replicas."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from math import comb, prod
from typing import Any

import numpy as np
import torch

from .. import ops
from ..errors import ConfigError
from .cost import IDLE, Assignment, exchanges
from .network import Network
from .plan import Plan, planned
from .problem import Problem, problem

EXHAUSTIVE = 1000  # plans up to which all are counted, so that none is better
BETTER = 1 - 1e-12  # by rounding alone nothing becomes better

Groups = list[list[int]]
Score = tuple[float, float]  # total, sum of all groups' exchanges: many plans share the slowest one


def replan(plan: Plan, network: Network, without: Sequence[int]) -> Plan:
    """The plan after devices have left, in which no other device changes its stage: weights stay where they are.

    network  all devices that the plan was made for; those that left keep their numbers and have no stage
    without  numbers of all devices that have left, those of earlier calls too

    Where idle devices can take over, those do with which the plan costs least, by the model of plan.cost. Else there
    are fewer replicas, as many as can be, each of which does what it did before: every stage releases the devices
    without which the plan costs least. Of up to EXHAUSTIVE plans the best is found; of more, one that no exchange of
    two devices betters. Pipelines are matched anew. A plan that nobody has left is returned as it is, also where
    devices are idle. Nothing is mutated.

    Raises ConfigError for numbers of no device, for another network, and where a stage has no device left.
    """
    _check(plan, network, without)
    gone = set(without)
    if not any(plan.stage_of[device] != IDLE for device in gone):
        return plan
    groups = [[device for device in row if device not in gone] for row in plan.mesh.tolist()]
    idle = [device for device in plan.idle if device not in gone]
    tables = problem(network, plan.workload, plan.cost.model)
    replicas = plan.workload.replicas
    while (newcomers := _take_over(tables, groups, idle, replicas)) is None:
        replicas -= 1
        if not replicas:
            raise ConfigError(_nobody(tables, groups, idle))
    workload = replace(plan.workload, replicas=replicas)
    left = {plan.replica_of[device] for device in gone}
    stage_of = np.full(len(network), IDLE, dtype=np.int64)
    for stage, group in enumerate(groups):  # the pipelines that somebody has left are the first to go
        stage_of[sorted(group, key=lambda device: plan.replica_of[device] in left)[:replicas]] = stage
    for device, stage in newcomers.items():
        stage_of[device] = stage
    choice = _Choice(problem(network, workload, plan.cost.model), [*groups, idle])
    return planned(
        network, workload, choice.best(stage_of), plan.cost.model, choice.tables,
        found="replan", evaluations=choice.evaluations, seed=plan.seed,
    )  # fmt: skip


def kept(before: Plan, after: Plan) -> int:
    """How many devices have the stage that they had: they need to fetch no weights."""
    return sum(old == new != IDLE for old, new in zip(before.stage_of, after.stage_of, strict=True))


@dataclass
class _Choice:
    """The cheapest plan in which only devices of the same kind change places.

    kinds  devices that may do so: what is left of each stage, of which some are released; and those that were idle
    """

    tables: Problem
    kinds: Groups
    evaluations: int = 0

    def best(self, stage_of: Assignment) -> Assignment:
        """The best of all such plans where they are few, else one that no exchange betters. stage_of [devices]"""
        wanted = [self._stages(stage_of, kind) for kind in self.kinds]
        if prod(_count(len(kind), stages) for kind, stages in zip(self.kinds, wanted, strict=True)) > EXHAUSTIVE:
            return self._descend(stage_of)
        plans = [stage_of]
        for kind, stages in zip(self.kinds, wanted, strict=True):
            plans = [plan for base in plans for plan in _laid_out(base, kind, stages)]
        fitting = [plan for plan in plans if self._fits(plan)]
        return min(fitting or [stage_of], key=self._score)  # of equals the first: the same one every time

    def _descend(self, stage_of: Assignment) -> Assignment:
        """Exchange any two of a kind that makes the plan cheaper, until no two do."""
        best, better = self._score(stage_of), True
        while better:
            better = False
            for a, b in (pair for kind in self.kinds for pair in combinations(kind, 2)):
                if stage_of[a] == stage_of[b]:
                    continue
                tried = stage_of.copy()
                tried[a], tried[b] = stage_of[b], stage_of[a]
                if self._fits(tried) and _less(score := self._score(tried), best):
                    stage_of, best, better = tried, score, True
        return stage_of

    def _score(self, stage_of: Assignment) -> Score:
        tables = self.tables
        rest = tables.links, tables.compute, tables.gradient_bytes, tables.micro_batches
        _, terms = ops.plan_cost(torch.from_numpy(stage_of), *rest, False)
        self.evaluations += 1
        groups = np.array([np.flatnonzero(stage_of == stage) for stage in range(len(tables.gradient_bytes))])
        return float(terms[0]), sum(exchanges(tables, groups))

    def _fits(self, stage_of: Assignment) -> bool:
        """Whether everybody has the memory for its stage."""
        used = np.flatnonzero(stage_of != IDLE)
        return bool(np.isfinite(self.tables.compute.numpy()[stage_of[used], used]).all())

    @staticmethod
    def _stages(stage_of: Assignment, kind: Sequence[int]) -> list[tuple[int, int]]:
        """The stages that devices of a kind have, and how many each."""
        held = [int(stage_of[device]) for device in kind if stage_of[device] != IDLE]
        return [(stage, held.count(stage)) for stage in sorted(set(held))]


def _laid_out(base: Assignment, kind: Sequence[int], stages: Sequence[tuple[int, int]]) -> Iterator[Assignment]:
    """Every way to give devices of a kind those stages; the others of it get none."""
    if not stages:
        plan = base.copy()
        plan[list(kind)] = IDLE
        yield plan
        return
    (stage, count), *others = stages
    for chosen in combinations(kind, count):
        for plan in _laid_out(base, [device for device in kind if device not in chosen], others):
            plan[list(chosen)] = stage
            yield plan


def _count(devices: int, stages: Sequence[tuple[int, int]]) -> int:
    """How many ways there are."""
    ways = 1
    for _, count in stages:
        ways *= comb(devices, count)
        devices -= count
    return ways


def _less(score: Score, best: Score) -> bool:
    return score[0] < best[0] * BETTER or (score[0] * BETTER <= best[0] and score[1] < best[1] * BETTER)


def _take_over(tables: Problem, groups: Groups, idle: Sequence[int], replicas: int) -> dict[int, int] | None:
    """Idle device -> stage, so that every stage has so many devices, each near to those it joins; None: too few fit."""
    from scipy.optimize import linear_sum_assignment

    places = [stage for stage, group in enumerate(groups) for _ in range(len(group), replicas)]
    if len(places) > len(idle):
        return None
    latency, per_byte, *_ = tables.links.numpy()
    costs: Any = np.zeros((len(places), len(idle)))
    for row, stage in enumerate(places):
        times = latency + float(tables.gradient_bytes[stage]) * per_byte
        costs[row] = times[np.ix_(idle, groups[stage])].sum(1) + tables.compute.numpy()[stage, idle]
    unfit = np.isinf(costs)
    costs[unfit] = 1e6 * (1 + costs[~unfit].sum())
    rows, columns = linear_sum_assignment(costs)
    if unfit[rows, columns].any():
        return None
    return {idle[column]: places[row] for row, column in zip(rows, columns, strict=True)}


def _nobody(tables: Problem, groups: Groups, idle: Sequence[int]) -> str:
    """Why there is not one replica left."""
    stage = next(last for last in range(len(groups)) if _take_over(tables, groups[: last + 1], idle, 1) is None)
    return (
        f"without: stage {stage} has no device left, and no idle one can take it. Plan anew for the devices that are "
        "left, with fewer stages if they are too few."
    )


def _check(plan: Plan, network: Network, without: Sequence[int]) -> None:
    if network.names != plan.names:
        raise ConfigError(
            f"network: expected the {len(plan.names)} devices of the plan, {plan.names[0]} to {plan.names[-1]}, got "
            f"{len(network)}, {network.names[0]} to {network.names[-1]}. Give the whole network that was planned for."
        )
    for device in without:
        if not 0 <= device < len(plan.names):
            raise ConfigError(f"without: expected numbers of devices, 0 to {len(plan.names) - 1}, got {device}.")
