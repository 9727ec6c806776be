"""A network and a workload as the tables from which ops.plan_cost and ops.improve_plan count."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from ..errors import ConfigError
from .network import Network
from .workload import Workload

MODELS = ("paper", "extended")


@dataclass(frozen=True)
class Problem:
    """What the cost of a plan is counted from; all float64.

    links           [4, devices, devices], each symmetric, since what goes there comes back:
                    LATENCY    s, both delays of the link, for two phases of the exchange of gradients; in the extended
                               model, where messages follow each other without waiting for an answer, a share of them
                    PER_BYTE   s a byte of a stage's gradients, 1/replicas of which go each way over it
                    HAND_OVER  s, a micro-batch's activations there and their gradients back
                    OCCUPIED   s, the longer time for which a micro-batch keeps one direction busy
    compute         [stages, devices] s, a micro-batch forward and backward; infinite where the memory is too small
    gradient_bytes  [stages] that are sent of a stage, after compression
    micro_batches   in a step
    replicas        devices of a stage
    free_order      whether stages are alike, so that a plan may number its groups as suits it best
    """

    links: Tensor
    compute: Tensor
    gradient_bytes: Tensor
    micro_batches: int
    replicas: int
    free_order: bool


def problem(network: Network, workload: Workload, model: str = "paper") -> Problem:
    """The tables of a network and a workload.

    model  "paper": the exchange of gradients, then all activations as one micro-batch, nothing else (Yuan et al. 2022,
           section 3.2); "extended": micro-batches, compute time and memory as well, and a delay that counts once in
           each phase of the exchange, not for each of the other replicas

    Raises ConfigError for an unknown model, for more tasklets than devices, and for memory that cannot fit, and
    without SciPy.
    """
    try:
        import scipy  # noqa: F401  which choosing pipelines, seeds and bounds need
    except ImportError:
        raise ConfigError("planning needs SciPy: pip install 'fmcompress[schedule]'.") from None
    if model not in MODELS:
        raise ConfigError(f"model: expected one of {', '.join(MODELS)}, got {model!r}.")
    if workload.tasklets > len(network):
        raise ConfigError(
            f"{workload.stages} stages of {workload.replicas} replicas need {workload.tasklets} devices, and the "
            f"network has {len(network)}. Lower one of the two."
        )
    micro_batches = workload.micro_batches if model == "extended" else 1
    with np.errstate(over="ignore"):
        seconds_per_byte = 8 / network.bandwidth_bits_per_s
        message = workload.activation_bytes / workload.activation_compression / micro_batches * seconds_per_byte
        latency = network.delay_s + network.delay_s.T
        links = np.stack(
            [
                latency / (max(1, workload.replicas - 1) if model == "extended" else 1),
                (seconds_per_byte + seconds_per_byte.T) / workload.replicas,
                latency + message + message.T,
                np.maximum(message, message.T),
            ]
        )
    if not np.isfinite(links).all():
        _, a, b = np.argwhere(~np.isfinite(links))[0]
        raise ConfigError(
            f"{network.names[a]} to {network.names[b]}: {network.bandwidth_bits_per_s[a, b]:g} bits a second are too "
            "few for this workload: its seconds are no number."
        )
    compute = np.zeros((workload.stages, len(network)))
    if model == "extended":
        flops = workload.per_stage("flops")
        if network.flops_per_s is not None:
            compute = flops[:, None] / network.flops_per_s / micro_batches
        if network.memory_bytes is not None:
            compute[workload.memory_bytes()[:, None] > network.memory_bytes] = np.inf
            _check_memory(network, workload, np.isfinite(compute))
    gradient_bytes = workload.per_stage("gradient_bytes") / workload.gradient_compression
    alike = bool((gradient_bytes == gradient_bytes[0]).all() and (compute == compute[0]).all())
    return Problem(
        torch.from_numpy(links),
        torch.from_numpy(compute),
        torch.from_numpy(gradient_bytes),
        micro_batches,
        workload.replicas,
        alike and micro_batches == 1,
    )


def _check_memory(network: Network, workload: Workload, fits: np.ndarray) -> None:
    """Whether every place of every stage can have a device of its own that holds it."""
    from scipy.optimize import linear_sum_assignment

    short = 1.0 - np.repeat(fits, workload.replicas, axis=0)  # [tasklets, devices]
    rows, columns = linear_sum_assignment(short)
    unplaced = rows[short[rows, columns] > 0]
    if len(unplaced):
        assert network.memory_bytes is not None
        stage = int(unplaced[0]) // workload.replicas
        need, have = workload.memory_bytes()[stage], np.sort(network.memory_bytes)[::-1]
        raise ConfigError(
            f"memory: stage {stage} needs {need / 1e9:.2f} GB on each of {workload.replicas} devices, and not enough "
            f"devices are that large (the largest have {', '.join(f'{gb / 1e9:.2f}' for gb in have[:3])} GB). Take "
            "more stages, more micro-batches, or fewer replicas."
        )
