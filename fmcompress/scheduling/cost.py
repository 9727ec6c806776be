"""What a plan costs a step of training, each term shown, and the pipelines that suit its groups best."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from .. import ops
from ..errors import ConfigError
from ..reference import bottleneck
from .network import Network
from .problem import Problem, problem
from .workload import Workload

Assignment = NDArray[np.int64]  # [devices]
IDLE = -1  # the stage and replica of a device without a tasklet


@dataclass(frozen=True)
class Cost:
    """Seconds of a step, as counted by the model of that name.

    exchange_s           of gradients by the slowest stage: to each of the other replicas in turn and back
    hand_over_s          of activations through all stages, and of gradients back, each by the slowest pipeline; of the
                         first micro-batch in the extended model
    compute_s            of one micro-batch in all stages; 0 in the paper's model
    waiting_s            for the micro-batches after the first (1F1B); 0 in the paper's model
    exchange_of_stage_s  [stages]
    hand_over_of_link_s  [stages - 1] from each stage to the next
    compute_of_stage_s   [stages] of a micro-batch on the slowest device
    """

    model: str
    exchange_s: float
    hand_over_s: float
    compute_s: float
    waiting_s: float
    exchange_of_stage_s: tuple[float, ...]
    hand_over_of_link_s: tuple[float, ...]
    compute_of_stage_s: tuple[float, ...]

    @property
    def total_s(self) -> float:
        """All terms together: nothing of one overlaps with another."""
        return self.exchange_s + self.hand_over_s + self.compute_s + self.waiting_s


def cost(
    network: Network, workload: Workload, stage_of: Sequence[int], replica_of: Sequence[int], model: str = "paper"
) -> Cost:
    """What a plan costs, stages and pipelines as it has them.

    stage_of    [devices] 0 to stages - 1, or -1
    replica_of  [devices] 0 to replicas - 1, or -1
    model       "paper" (Yuan et al. 2022, section 3.2) or "extended"; see fmcompress.scheduling.problem

    Hand-over is that of its pipelines. For how long a link is occupied, of which waiting_s is counted, is taken from
    the pairing of the two groups that is best in that, as the search does; where no pairing is best in both, its
    pipelines wait longer, which `simulate` plays. A device whose memory is too small makes compute_s infinite. Raises
    ConfigError unless every tasklet has one device.
    """
    return cost_of(problem(network, workload, model), mesh_of(stage_of, replica_of, workload), model)


def cost_of(tables: Problem, mesh: Assignment, model: str) -> Cost:
    """The same of tables and a mesh [stages, replicas] of device numbers."""
    hand_over, occupied = tables.links.numpy()[2:]
    each, steps, busy = exchanges(tables, mesh), [], []
    for a, b in pairwise(mesh):
        steps.append(float(hand_over[a, b].max()))
        busy.append(bottleneck(occupied[a[:, None], b]))
    compute = [float(tables.compute.numpy()[stage, group].max()) for stage, group in enumerate(mesh)]
    waiting = ops.waiting_s(compute, steps, busy, tables.micro_batches)
    parts = max(each), sum(steps), sum(compute), waiting
    return Cost(model, *parts, tuple(each), tuple(steps), tuple(compute))


def exchanges(tables: Problem, mesh: Assignment) -> list[float]:
    """[stages] seconds in which each group exchanges its gradients."""
    latency, per_byte = tables.links.numpy()[:2]
    seconds = []
    for group, sent in zip(mesh, tables.gradient_bytes.tolist(), strict=True):
        pairs = np.ix_(group, group)
        times = latency[pairs] + sent * per_byte[pairs]
        np.fill_diagonal(times, 0.0)
        seconds.append(float(times.sum(1).max()))
    return seconds


def mesh_of(stage_of: Sequence[int], replica_of: Sequence[int], workload: Workload) -> Assignment:
    """[stages, replicas] device numbers. Raises ConfigError unless every tasklet has exactly one device."""
    mesh = np.full((workload.stages, workload.replicas), IDLE, dtype=np.int64)
    for device, (stage, replica) in enumerate(zip(stage_of, replica_of, strict=True)):
        if (stage, replica) == (IDLE, IDLE):
            continue
        if not (0 <= stage < workload.stages and 0 <= replica < workload.replicas):
            raise ConfigError(
                f"device {device}: expected stage 0 to {workload.stages - 1} and replica 0 to {workload.replicas - 1}, "
                f"or -1 for both, got {stage} and {replica}."
            )
        if mesh[stage, replica] != IDLE:
            raise ConfigError(
                f"stage {stage} of replica {replica}: devices {mesh[stage, replica]} and {device} both have it."
            )
        mesh[stage, replica] = device
    if (mesh == IDLE).any():
        stage, replica = np.argwhere(mesh == IDLE)[0]
        raise ConfigError(f"stage {stage} of replica {replica}: no device has it.")
    return mesh


def pipelines(tables: Problem, stage_of: Assignment) -> Assignment:
    """[devices] replicas that chain neighbouring groups by bottleneck matchings; -1 without a stage.

    Of the matchings whose slowest link is fastest, one whose busiest link is least busy, and of those the one of least
    sum: all links of a pipeline count when it runs.
    """
    from scipy.optimize import linear_sum_assignment

    groups = [np.flatnonzero(stage_of == stage) for stage in range(len(tables.gradient_bytes))]
    replica_of = np.full(len(stage_of), IDLE, dtype=np.int64)
    replica_of[groups[0]] = np.arange(len(groups[0]))
    hand_over, occupied = tables.links.numpy()[2:]
    for a, b in pairwise(groups):
        times = hand_over[a[:, None], b]
        fast, busy = times <= bottleneck(times), occupied[a[:, None], b]
        fast &= busy <= bottleneck(np.where(fast, busy, np.inf))
        allowed = np.where(fast, times, times.max() * (len(a) + 1) + 1)
        rows, columns = linear_sum_assignment(allowed)
        replica_of[b[columns]] = replica_of[a[rows]]
    return replica_of
