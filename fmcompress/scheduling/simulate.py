"""One iteration of pipelined, data-parallel training, played event by event."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..errors import ConfigError
from .cost import mesh_of
from .iteration import Iteration, Span
from .network import Network
from .plan import Plan
from .problem import problem
from .workload import Workload

DELAYS = ("pipelined", "blocking")


@dataclass(frozen=True)
class Simulation:
    """What an iteration took.

    total_s     until every device has all means of gradients
    pipeline_s  until the last backward has ended
    exchange_s  the rest: what of the exchange of gradients is not hidden behind slower pipelines
    busy_s      [devices] in which each computed
    sending_s   [devices] in which each one's outgoing port was occupied
    events      all computation and messages, by begin and device, for a Gantt chart
    """

    total_s: float
    pipeline_s: float
    exchange_s: float
    busy_s: tuple[float, ...]
    sending_s: tuple[float, ...]
    events: tuple[Span, ...] = field(repr=False)

    def as_dict(self, events: bool = False) -> dict[str, Any]:
        """As JSON takes it; with all events if asked."""
        told = {name: getattr(self, name) for name in ("total_s", "pipeline_s", "exchange_s")}
        told |= {name: list(getattr(self, name)) for name in ("busy_s", "sending_s")}
        return told | {"events": [span._asdict() for span in self.events]} if events else told


def simulate(
    network: Network,
    plan: Plan,
    *,
    workload: Workload | None = None,
    delays: str = "pipelined",
    model: str = "extended",
) -> Simulation:
    """Play one iteration of a plan.

    workload  another one of as many stages and replicas, such as one with other compression; the plan's by default
    delays    "pipelined": a message arrives delay_s after it has left its ports; "blocking": it holds them until then,
              as the paper's cost has it
    model     "extended", or "paper": all activations as one micro-batch, and no compute

    Compute: each device runs one forward, one backward (1F1B; Narayanan et al. 2021): forwards of as many
    micro-batches as there are stages from its own to the last, then a backward and a forward in turn. A forward begins
    when the activations of the stage before have arrived, a backward when the gradients of the stage after have.

    Messages: a device has one outgoing and one incoming port. A message asks for one of each, holds both for bits /
    bandwidth, and never waits holding one. Where both ports are free, the message that asked first goes (one behind it
    may overtake it where it still waits for its other port); of several that asked at the same time, the one of the
    lowest micro-batch or distance below, then of the lowest stage and replica. Computation waits for no port.

    Exchange of gradients, as by sharded parameter servers: a device joins when its last backward has ended. Of two
    that have joined, each asks to send the other its shard, 1/replicas of its stage's gradients (reduce), and a device
    with the shards of all others asks to send each the mean (gather): to the next replica (distance 1) first. No device
    takes shards while its pipeline is running, so the exchange never holds up activations.

    Raises ConfigError for a network of another size, for a workload of other stages or replicas, for what
    fmcompress.scheduling.problem raises for, and for a stage that its device's memory cannot hold.
    """
    workload = workload or plan.workload
    if delays not in DELAYS:
        raise ConfigError(f"delays: expected one of {', '.join(DELAYS)}, got {delays!r}.")
    if len(network) != len(plan.names):
        raise ConfigError(f"network: the plan is for {len(plan.names)} devices, and it has {len(network)}.")
    mesh = mesh_of(plan.stage_of, plan.replica_of, workload)
    tables = problem(network, workload, model)
    compute = tables.compute.numpy()[np.arange(workload.stages)[:, None], mesh]
    if not np.isfinite(compute).all():
        stage, replica = np.argwhere(~np.isfinite(compute))[0]
        raise ConfigError(
            f"memory: {network.names[mesh[stage, replica]]} cannot hold stage {stage}. Plan anew with model='extended'."
        )
    iteration = Iteration(
        network.take(mesh.ravel().tolist()),
        compute,
        workload.activation_bytes / workload.activation_compression / tables.micro_batches,
        tables.gradient_bytes.numpy() / workload.replicas,
        tables.micro_batches,
        delays == "blocking",
    )
    iteration.play()
    device_of = mesh.ravel().tolist()
    spans = sorted(span._replace(device=device_of[span.device], to=device_of[span.to]) for span in iteration.spans)
    busy, sending = [0.0] * len(network), [0.0] * len(network)
    for span in spans:
        (busy if span.device == span.to else sending)[span.device] += span.end_s - span.begin_s
    times = iteration.now, iteration.pipeline_s, iteration.now - iteration.pipeline_s
    return Simulation(*times, tuple(busy), tuple(sending), tuple(spans))
