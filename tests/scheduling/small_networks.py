"""Small networks and workloads for tests of planning, and the same for the golden code."""

import numpy as np
from golden import scheduling as truth

from fmcompress import available
from fmcompress.scheduling import Network, Workload

BACKENDS = [name for name in ("reference", "native") if name in available("plan_cost")]
KINDS = "uneven", "islands", "equal"
SHAPES = {(2, 4): 8, (4, 2): 8, (2, 3): 8, (3, 2): 8, (5, 1): 6, (1, 6): 6, (2, 2): 5}  # devices, some of them idle


def drawn(devices, chance, kind="uneven"):
    """Links of any speed, there and back unequal; islands of fast links, unequal between them; or all alike."""
    delay, speed = chance.uniform(0, 0.1, (devices, devices)), 10 ** chance.uniform(8, 10, (devices, devices))
    if kind == "islands":
        at = chance.integers(0, 3, devices)
        near, pair = at[:, None] == at, np.ix_(at, at)
        delay = np.where(near, 0.001, chance.uniform(0.01, 0.2, (3, 3))[pair])
        speed = np.where(near, 1e10, 10 ** chance.uniform(8, 9, (3, 3))[pair])
    if kind == "equal":
        delay, speed = np.full_like(delay, 0.05), np.full_like(speed, 1e9)
    return Network(delay, speed, flops_per_s=chance.choice([1e12, 2e12, 4e12], devices))


def work(shape, chance, model="paper"):
    """A workload whose terms weigh about the same."""
    bytes_ = {"activation_bytes": 10 ** chance.uniform(6, 9), "gradient_bytes": 10 ** chance.uniform(6, 9)}
    if model == "paper":
        return Workload(*shape, **bytes_)
    unequal = [1.0 + chance.integers(3) for _ in range(shape[0])]
    return Workload(
        *shape, bytes_["activation_bytes"], [bytes_["gradient_bytes"] * part for part in unequal],
        micro_batches=int(chance.choice([1, 2, 5, 9])), flops=[10 ** chance.uniform(10, 13) * part for part in unequal],
    )  # fmt: skip


def told(network, workload):
    """(Net, Work) of the golden code."""
    names = "gradient_bytes", "flops", "state_bytes", "stored_bytes"
    numbers = {name: tuple(workload.per_stage(name)) for name in names}
    memory = () if network.memory_bytes is None else tuple(network.memory_bytes)
    speeds = () if network.flops_per_s is None else tuple(network.flops_per_s)
    net = truth.Net(network.delay_s, network.bandwidth_bits_per_s, speeds, memory)
    return net, truth.Work(
        workload.stages, workload.replicas, workload.activation_bytes, micro_batches=workload.micro_batches, **numbers
    )


def least_of(network, workload, model):
    """The least cost of all plans, by looking at each."""
    search = truth.cheapest_paper if model == "paper" else truth.cheapest_extended
    return search(*told(network, workload))[0]


def any_stages(devices, shape, chance):
    """[devices] random stages, -1 for idle devices."""
    stage_of = np.full(devices, -1)
    stage_of[chance.permutation(devices)[: shape[0] * shape[1]]] = np.arange(shape[0] * shape[1]) % shape[0]
    return stage_of


def groups_of(stage_of):
    """The devices of each stage."""
    return [tuple(np.flatnonzero(stage_of == stage).tolist()) for stage in range(max(stage_of) + 1)]
