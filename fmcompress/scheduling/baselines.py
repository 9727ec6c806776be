"""Plans that nobody searched for, to compare with."""

from typing import Literal, get_args

import numpy as np
import torch

from .. import ops
from ..errors import ConfigError
from .cost import IDLE
from .network import Network
from .plan import Plan, planned
from .problem import problem
from .workload import Workload

Baseline = Literal["random", "contiguous", "strided"]


def baseline(network: Network, workload: Workload, kind: Baseline, model: str = "paper", seed: int = 0) -> Plan:
    """A plan by the numbers of devices alone.

    kind  "contiguous": the first devices are the first stage, the next ones the second; "strided": neighbours are
          neighbouring stages of one pipeline; "random": by a permutation that the seed draws

    Groups and pipelines are then ordered as well as the model allows, as for every plan. Raises ConfigError for an
    unknown kind or a workload that does not fit.
    """
    if kind not in get_args(Baseline):
        raise ConfigError(f"kind: expected one of {', '.join(get_args(Baseline))}, got {kind!r}.")
    tables = problem(network, workload, model)
    tasklets = np.arange(workload.tasklets)
    stages = tasklets // workload.replicas if kind == "contiguous" else tasklets % workload.stages
    devices = np.arange(len(network)) if kind != "random" else np.random.default_rng(seed).permutation(len(network))
    stage_of = np.full(len(network), IDLE, dtype=np.int64)
    stage_of[devices[: workload.tasklets]] = stages
    if tables.free_order:
        rest = tables.links, tables.compute, tables.gradient_bytes, tables.micro_batches
        stage_of = ops.plan_cost(torch.from_numpy(stage_of), *rest, True)[0].numpy()
    return planned(network, workload, stage_of, model, tables, found=kind, seed=seed)
