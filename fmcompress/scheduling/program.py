"""The cost of a plan as an integer program of OR-tools' CP-SAT."""

from itertools import pairwise
from typing import Any

import numpy as np

from .._ops.scheduling import HAND_OVER, LATENCY, OCCUPIED, PER_BYTE
from .cost import IDLE, Assignment
from .problem import Problem

UNITS = 10**8  # in which the seconds of a known plan are counted


class Question:
    """The integer program: the least seconds of a plan, in units of 1 / UNITS of those of a known one.

    has[s][d]  whether stage s has device d

    A link takes the seconds of a pairing of its groups that the solver chooses; the best one, since nothing costs less
    where it is slower. What it is occupied for comes from a pairing of its own.
    """

    def __init__(self, cp_model: Any, tables: Problem, best: Assignment, best_s: float) -> None:
        self.cp_model, self.tables, self.model = cp_model, tables, cp_model.CpModel()
        self.unit_s = max(best_s, 1e-30) / UNITS
        self.stages, self.devices = tables.compute.shape
        self.has = [[self.model.new_bool_var("") for _ in range(self.devices)] for _ in range(self.stages)]
        self._tasklets(best)
        between, busy = range(self.stages - 1), tables.micro_batches > 1
        self.hand_over = [self._pairing(stage, HAND_OVER) for stage in between]
        self.occupied = [self._pairing(stage, OCCUPIED) if busy else 0 for stage in between]
        compute = [self._compute(stage) for stage in range(self.stages)]
        once = self._exchange() + sum(self.hand_over) + sum(compute)
        cost = 2 * once + self._twice_waiting(compute)  # waiting halves some terms
        self.model.add(cost <= 2 * UNITS + 2)
        self.model.minimize(cost)

    def ask(self, budget_s: float, workers: int) -> tuple[Assignment | None, float, bool]:
        """(best plan, seconds of any plan at least, whether the solver has proven that)."""
        cp_model, solver = self.cp_model, self.cp_model.CpSolver()
        solver.parameters.max_time_in_seconds = max(budget_s, 0.01)
        solver.parameters.num_workers = workers
        solver.parameters.interleave_search = True  # in turns, which is deterministic
        solver.parameters.random_seed = 0
        status = solver.solve(self.model)
        if status not in (cp_model.OPTIMAL, cp_model.FEASIBLE):
            return None, max(0.0, solver.best_objective_bound) / 2 * self.unit_s, status == cp_model.INFEASIBLE
        stage_of = np.full(self.devices, IDLE, dtype=np.int64)
        for stage, row in enumerate(self.has):
            stage_of[[solver.boolean_value(has) for has in row]] = stage
        return stage_of, solver.best_objective_bound / 2 * self.unit_s, status == cp_model.OPTIMAL

    def _units(self, seconds: Any) -> Any:
        """Seconds as whole units, rounded down; what no plan as good as the known one can have is cut to just that."""
        units = np.floor(np.minimum(np.asarray(seconds) / self.unit_s, 2.0 * UNITS)).astype(np.int64)
        return units if units.ndim else int(units)

    def _number(self, name: str = "") -> Any:
        return self.model.new_int_var(0, 4 * UNITS, name)

    def _tasklets(self, best: Assignment) -> None:
        idle = self.devices - self.stages * self.tables.replicas
        for row in self.has:
            self.model.add(sum(row) == self.tables.replicas)
        for device in range(self.devices):
            column = [row[device] for row in self.has]
            self.model.add(sum(column) <= 1) if idle else self.model.add_exactly_one(column)
        if self.tables.free_order:  # a path and its reverse are one plan
            for stage in range((self.stages + 1) // 2, self.stages):
                self.model.add(self.has[stage][0] == 0)
            if best[0] >= (self.stages + 1) // 2:
                best = np.where(best == IDLE, IDLE, self.stages - 1 - best)
        for stage, row in enumerate(self.has):
            for device, has in enumerate(row):
                self.model.add_hint(has, bool(best[device] == stage))

    def _exchange(self) -> Any:
        latency, per_byte = (self.tables.links[plane].numpy() for plane in (LATENCY, PER_BYTE))
        slowest = self._number()
        for row, sent in zip(self.has, self.tables.gradient_bytes.tolist(), strict=True):
            times = self._units(latency + sent * per_byte)
            for device, has in enumerate(row):
                others = [int(times[device, e]) * row[e] for e in range(self.devices) if e != device]
                self.model.add(slowest >= sum(others)).only_enforce_if(has)
        return slowest

    def _compute(self, stage: int) -> Any:
        slowest = self._number()
        for has, seconds in zip(self.has[stage], self.tables.compute[stage].tolist(), strict=True):
            if np.isinf(seconds):
                self.model.add(has == 0)
            else:
                self.model.add(slowest >= self._units(seconds) * has)
        return slowest

    def _pairing(self, stage: int, plane: int) -> Any:
        """What the slowest pair of a pairing of two neighbouring groups takes."""
        model, devices, table = self.model, range(self.devices), self.tables.links[plane].numpy()
        pairs = {(d, e): model.new_bool_var("") for d in devices for e in devices if d != e}
        for d in devices:
            model.add(sum(pairs[d, e] for e in devices if e != d) == self.has[stage][d])
            model.add(sum(pairs[e, d] for e in devices if e != d) == self.has[stage + 1][d])
        steps = np.unique(table[~np.eye(self.devices, dtype=bool)])
        above = [model.new_bool_var("") for _ in steps]  # whether it is at least the k-th of the distinct seconds
        model.add(above[0] == 1)
        for slower, faster in pairwise(reversed(above)):
            model.add_implication(slower, faster)
        at = np.searchsorted(steps, table)
        for (d, e), pair in pairs.items():
            model.add_implication(pair, above[at[d, e]])
        rises = np.diff(self._units(steps), prepend=0).tolist()
        return sum(rise * now for rise, now in zip(rises, above, strict=True))

    def _twice_waiting(self, compute: list[Any]) -> Any:
        """Twice what ops.waiting_s counts: each of its maxima is a number that is no less than what it is of."""
        others = self.tables.micro_batches - 1
        if not others:
            return 0
        add, stages = self.model.add, self.stages
        port = [0, *self.occupied, 0]
        trip, to_last, chain = ([self._number() for _ in range(count)] for count in (stages + 1, stages + 1, others))
        for s in range(stages):
            way: Any = 0
            for t in range(s, stages):
                way = way + compute[t] + (self.hand_over[t - 1] if t > s else 0)
                first, second = self._number(), self._number()
                if t > s:
                    add(first >= 2 * port[s] - compute[s])
                    add(second >= 2 * port[t + 1] - compute[t])
                else:
                    add(first >= 2 * (port[s] + port[s + 1] - compute[s]))
                add(trip[t - s + 1] >= 2 * way + first + second)
            add(to_last[stages - s] >= 2 * way + first + second)
        for through in range(1, others):
            for k in range(1, min(stages, through) + 1):
                add(chain[through] >= trip[k] + chain[through - k])
        waiting = self._number()
        for k in range(1, min(stages, others) + 1):
            add(waiting >= to_last[k] + chain[others - k])
        for busy in (*compute, *self.occupied):
            add(waiting >= 2 * others * busy)
        return waiting
