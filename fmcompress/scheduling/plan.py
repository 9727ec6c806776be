"""A plan: which device does which stage of which replica, what that costs, and how far from the best it can be."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from ..errors import ConfigError, in_one_line
from .cost import IDLE, Assignment, Cost, cost_of, mesh_of, pipelines
from .network import Network
from .problem import MODELS, Problem, problem
from .workload import Workload

FORMAT, VERSION = "fmcompress-plan", 1


@dataclass(frozen=True)
class Plan:
    """Tasklets and their devices.

    workload       what was planned
    names          [devices] of the network
    regions        [devices], empty where not known
    stage_of       [devices] 0 to stages - 1, or -1 for a device without a tasklet
    replica_of     [devices] 0 to replicas - 1, or -1
    cost           seconds of a step, by term
    lower_bound_s  no plan costs less, by the same model; 0 where nothing was bounded
    found          how: "search", "exact", "random", …
    stopped        why a search ended: "bound" (the plan is the best there is), "converged", "budget", or ""
    evaluations    plans whose cost was counted
    seed           of the search
    """

    workload: Workload
    names: tuple[str, ...]
    regions: tuple[str, ...]
    stage_of: tuple[int, ...]
    replica_of: tuple[int, ...]
    cost: Cost
    lower_bound_s: float = 0.0
    found: str = "given"
    stopped: str = ""
    evaluations: int = 0
    seed: int = 0

    @property
    def cost_s(self) -> float:
        """Seconds of a step."""
        return self.cost.total_s

    @property
    def gap(self) -> float:
        """By what share of itself the plan may cost too much at most; 0: no plan is better."""
        return max(0.0, 1 - self.lower_bound_s / self.cost_s) if self.cost_s else 0.0

    @property
    def mesh(self) -> Assignment:
        """[stages, replicas] device numbers: row s averages its gradients, column r is a pipeline."""
        return mesh_of(self.stage_of, self.replica_of, self.workload)

    @property
    def idle(self) -> list[int]:
        """Devices without a tasklet."""
        return [device for device, stage in enumerate(self.stage_of) if stage == IDLE]

    @property
    def split(self) -> list[tuple[int, int]]:
        """[stages] first layer and the one after the last of each stage, as even as can be; the first ones get more."""
        return dealt(self.workload.layers or self.workload.stages, self.workload.stages)

    def as_dict(self) -> dict[str, Any]:
        """What a plan's file holds; read it with `Plan.from_dict`."""
        return {
            "format": FORMAT,
            "version": VERSION,
            "workload": self.workload.as_dict(),
            "devices": [
                {"name": name, "region": region, "stage": stage, "replica": replica}
                for name, region, stage, replica in zip(
                    self.names, self.regions, self.stage_of, self.replica_of, strict=True
                )
            ],
            "mesh": self.mesh.tolist(),
            "split": [list(part) for part in self.split],
            "cost_s": self.cost_s,
            "lower_bound_s": self.lower_bound_s,
            "gap": self.gap,
            "cost": asdict(self.cost),
            "found": self.found,
            "stopped": self.stopped,
            "evaluations": self.evaluations,
            "seed": self.seed,
        }

    @classmethod
    def from_dict(cls, facts: Any, where: str = "plan") -> "Plan":
        """Read what as_dict gives; where names it in errors. Raises ConfigError for anything else."""
        if not isinstance(facts, Mapping) or facts.get("format") != FORMAT:
            raise ConfigError(f"{where}: not a plan of fmcompress schedule ({FORMAT} is not its format).")
        if facts.get("version") != VERSION:
            raise ConfigError(f"{where}: version {facts.get('version')!r}; this fmcompress reads version {VERSION}.")
        try:
            devices = facts["devices"]
            told = dict(facts["cost"])
            told |= {key: tuple(value) for key, value in told.items() if isinstance(value, list)}
            if told["model"] not in MODELS:
                raise ConfigError(f"model: expected one of {', '.join(MODELS)}, got {told['model']!r}.")
            plan = cls(
                Workload(**facts["workload"]),
                tuple(str(device["name"]) for device in devices),
                tuple(str(device["region"]) for device in devices),
                tuple(int(device["stage"]) for device in devices),
                tuple(int(device["replica"]) for device in devices),
                Cost(**told),
                float(facts["lower_bound_s"]),
                str(facts["found"]),
                str(facts["stopped"]),
                int(facts["evaluations"]),
                int(facts["seed"]),
            )
            stages = plan.workload.stages
            lengths = (stages, stages - 1, stages)
            tables = plan.cost.exchange_of_stage_s, plan.cost.hand_over_of_link_s, plan.cost.compute_of_stage_s
            if tuple(map(len, tables)) != lengths:
                raise ConfigError(f"cost: expected {stages} stages in it.")
            _ = plan.mesh, float(plan.cost.total_s)  # that every tasklet has one device, and the terms are numbers
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            if isinstance(error, ConfigError):
                raise ConfigError(f"{where}: {error}") from None
            raise ConfigError(f"{where}: damaged: {type(error).__name__}: {error}.") from None
        return plan


def dealt(layers: int, stages: int) -> list[tuple[int, int]]:
    """[stages] first layer and the one after the last of each, as even as can be; the first ones get more."""
    few, more = divmod(layers, stages)
    return list(pairwise(stage * few + min(stage, more) for stage in range(stages + 1)))


def read_plan(path: str | Path) -> Plan:
    """The plan in a JSON file. Raises ConfigError."""
    try:
        facts = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        told = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(f"{path}: cannot be read ({in_one_line(told)}).") from None
    return Plan.from_dict(facts, str(path))


def planned(
    network: Network, workload: Workload, stage_of: Assignment, model: str, tables: Problem | None = None, **facts: Any
) -> Plan:
    """The plan of groups that are in order already: pipelines chosen, cost counted.

    tables  of the same network, workload and model, where they are at hand
    facts   of Plan: lower_bound_s, found, stopped, evaluations, seed
    """
    tables = tables or problem(network, workload, model)
    replica_of = pipelines(tables, stage_of)
    mesh = mesh_of(stage_of.tolist(), replica_of.tolist(), workload)
    return Plan(
        workload,
        network.names,
        network.regions,
        tuple(stage_of.tolist()),
        tuple(replica_of.tolist()),
        cost_of(tables, mesh, model),
        **facts,
    )


def recosted(plan: Plan, network: Network, model: str) -> Plan:
    """The same tasklets, counted by another model or on another network of as many devices; no bound."""
    if len(network) != len(plan.names):
        raise ConfigError(f"network: the plan is for {len(plan.names)} devices, and it has {len(network)}.")
    tables = problem(network, plan.workload, model)
    return replace(plan, cost=cost_of(tables, plan.mesh, model), lower_bound_s=0.0)
