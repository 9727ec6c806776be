"""From a plan to torch.distributed: who sits where in a DeviceMesh, which layers it holds, how launchers list hosts."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

from ..errors import ConfigError
from .cost import IDLE
from .plan import Plan

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

AXES = ("pp", "dp")  # pipeline stages, replicas: torchtitan's names


def device_mesh(plan: Plan, device_type: str = "cpu", rank_of: Mapping[int, int] | None = None) -> "DeviceMesh":
    """A DeviceMesh [stages, replicas] of the plan's ranks, with dimensions "pp" and "dp".

    rank_of  device of the network -> rank of torch.distributed; None: a device's number is its rank. Devices without a
             tasklet need not be in it

    All ranks must call it at the same point, those without a tasklet too: they belong to no group, and mesh.
    get_coordinate() is None there. torch sorts the ranks of a group, so a rank's place in "pp" is not its stage: see
    place_of_stage. Raises ConfigError without a process group, and for ranks that it does not have.
    """
    import torch
    import torch.distributed as dist
    from torch.distributed.device_mesh import DeviceMesh

    if not dist.is_initialized():
        raise ConfigError("device_mesh: torch.distributed is not initialized. Call init_process_group() first.")
    ranks = _ranks(plan, rank_of)
    for device, rank in ranks.items():
        if not 0 <= rank < dist.get_world_size():
            raise ConfigError(
                f"device {plan.names[device]}: is rank {rank}, and there are {dist.get_world_size()} ranks. Start one "
                "for each device of the network, or tell by rank_of which rank each device is."
            )
    mesh = [[ranks[device] for device in row] for row in plan.mesh.tolist()]
    return DeviceMesh(device_type, torch.tensor(mesh), mesh_dim_names=AXES)


def place_of_stage(mesh: "DeviceMesh") -> dict[int, int]:
    """Stage -> rank in this rank's "pp" group, as torch sorted it; {} on a rank without a tasklet.

    Give it to a PipelineStage, which takes both for the same: stage.stage_index_to_group_rank = place_of_stage(mesh).
    """
    import torch.distributed as dist

    at = mesh.get_coordinate()
    if at is None:
        return {}
    group = mesh.get_group(AXES[0])
    column = mesh.mesh[:, at[1]].tolist()
    return {stage: dist.get_group_rank(group, rank) for stage, rank in enumerate(column)}


def coordinates(plan: Plan, rank: int, rank_of: Mapping[int, int] | None = None) -> tuple[int, int] | None:
    """Stage and replica of a rank; None for one without a tasklet."""
    device = {rank: device for device, rank in _ranks(plan, rank_of).items()}.get(rank)
    return None if device is None else (plan.stage_of[device], plan.replica_of[device])


def layers_of(plan: Plan, rank: int, rank_of: Mapping[int, int] | None = None) -> range:
    """The layers that a rank holds, by `Plan.split`; none for a rank without a tasklet."""
    at = coordinates(plan, rank, rank_of)
    return range(0) if at is None else range(*plan.split[at[0]])


def rank_order(plan: Plan) -> list[int]:
    """The devices with a tasklet in the order in which rank = stage * replicas + replica.

    Launchers that number ranks themselves, one after another, give the plan when hosts are listed so. Devices are then
    known by rank_of = {device: rank for rank, device in enumerate(rank_order(plan))}.
    """
    return [int(device) for device in plan.mesh.flatten()]


def hostfile(plan: Plan) -> str:
    """The names of rank_order, one a line."""
    return "".join(f"{plan.names[device]}\n" for device in rank_order(plan))


def _ranks(plan: Plan, rank_of: Mapping[int, int] | None) -> dict[int, int]:
    """The rank of every device that has a tasklet."""
    used = [device for device, stage in enumerate(plan.stage_of) if stage != IDLE]
    if rank_of is None:
        return {device: device for device in used}
    missing = [plan.names[device] for device in used if device not in rank_of]
    if missing:
        raise ConfigError(f"rank_of: {missing[0]} has a stage in the plan and no rank. Give every such device one.")
    ranks = {device: rank_of[device] for device in used}
    if len(set(ranks.values())) < len(ranks):
        raise ConfigError("rank_of: two devices of the plan have the same rank. Give each one of its own.")
    return ranks
