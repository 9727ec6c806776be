"""Meshes of plans on real gloo groups, and the order in which launchers list hosts."""

import numpy as np
import pytest
import torch
import torch.distributed as dist
from gradients.workers import run

from fmcompress.errors import ConfigError
from fmcompress.scheduling import Network, Plan, Workload, cost
from fmcompress.scheduling.mesh import coordinates, device_mesh, hostfile, layers_of, place_of_stage, rank_order

STAGE_OF = (2, 1, -1, 0, 1, 0, 2)  # of seven devices in 3 stages x 2 replicas, in no order
REPLICA_OF = (1, 0, -1, 1, 1, 0, 0)
MESH = [[5, 3], [1, 4], [6, 0]]


def plan() -> Plan:
    net = Network(np.full((7, 7), 0.01), np.full((7, 7), 1e9), tuple("abcdefg"))
    work = Workload(3, 2, 1e6, 1e6, layers=7)
    return Plan(work, net.names, net.regions, STAGE_OF, REPLICA_OF, cost(net, work, STAGE_OF, REPLICA_OF))


def join(rank: int, count: int, rank_of: dict[int, int] | None) -> dict:
    """What a rank sees of its groups, and what its neighbours in the pipeline hand it."""
    mesh = device_mesh(plan(), rank_of=rank_of)
    seen = {"mesh": mesh.mesh.tolist(), "names": mesh.mesh_dim_names, "at": mesh.get_coordinate()}
    at = coordinates(plan(), rank, rank_of)
    assert seen["at"] == (None if at is None else list(at)) or seen["at"] == at
    places = place_of_stage(mesh)
    if at is None:
        return {**seen, "places": places}
    for axis in ("pp", "dp"):
        group = mesh.get_group(axis)
        total = torch.tensor([10**rank])
        dist.all_reduce(total, group=group)
        seen[axis] = int(total)
    token, pp = torch.tensor([rank]), mesh.get_group("pp")
    if at[0] > 0:
        before = torch.zeros(1, dtype=torch.int64)
        dist.recv(before, group=pp, group_src=places[at[0] - 1])
        seen["before"] = int(before)
    if at[0] < 2:
        dist.send(token, group=pp, group_dst=places[at[0] + 1])
    return seen


@pytest.mark.parametrize("rank_of", [None, {5: 3, 3: 0, 1: 5, 4: 4, 6: 1, 0: 2}])
def test_groups_are_those_of_the_plan(tmp_path, rank_of):
    """Ranks are the devices' own numbers with an idle one among them, or others without it."""
    wanted = np.array([[device if rank_of is None else rank_of[device] for device in row] for row in MESH])
    seen = run(join, 7 if rank_of is None else 6, tmp_path / "run", rank_of)
    for rank, own in enumerate(seen):
        assert own["mesh"] == wanted.tolist()
        assert own["names"] == ("pp", "dp")
        if rank not in wanted:
            assert (own["at"], own["places"]) == (None, {})
            continue
        ((stage, replica),) = np.argwhere(wanted == rank).tolist()
        assert own["pp"] == sum(10 ** wanted[:, replica])
        assert own["dp"] == sum(10 ** wanted[stage])
        assert own.get("before") == (wanted[stage - 1, replica] if stage else None)


def test_coordinates_and_layers():
    made = plan()
    for device, place in enumerate(zip(STAGE_OF, REPLICA_OF, strict=True)):
        assert coordinates(made, device) == (None if device == 2 else place)
        assert layers_of(made, device) == (range(0), range(3), range(3, 5), range(5, 7))[place[0] + 1]
    assert coordinates(made, 7) is None
    assert coordinates(made, 1, {device: rank for rank, device in enumerate(rank_order(made))}) == (0, 1)


def test_hosts_in_the_order_of_ranks():
    made = plan()
    order = rank_order(made)
    assert order == [5, 3, 1, 4, 6, 0]
    for rank, device in enumerate(order):
        assert divmod(rank, 2) == (STAGE_OF[device], REPLICA_OF[device])
    assert hostfile(made).split() == ["f", "d", "b", "e", "g", "a"]


def refuse(rank: int, count: int) -> list[str]:
    said = []
    for rank_of in (None, {5: 0}, dict.fromkeys(range(7), 0)):
        try:
            device_mesh(plan(), rank_of=rank_of)
        except ConfigError as error:
            said.append(str(error))
    return said


def test_ranks_that_are_not_there(tmp_path):
    with pytest.raises(ConfigError, match="is not initialized"):
        device_mesh(plan())
    (said,) = run(refuse, 1, tmp_path / "run")
    assert said[0].startswith("device b: is rank 1, and there are 1 ranks.")
    assert said[1].startswith("rank_of: a has a stage in the plan and no rank.")
    assert said[2].startswith("rank_of: two devices of the plan have the same rank.")
