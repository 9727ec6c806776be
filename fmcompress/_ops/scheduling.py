"""The contracts of planning: what a plan costs, and a better plan near it. On the host only."""

from collections.abc import Sequence

import torch
from torch import Tensor

from .checks import require

# stage_of[d] is the stage of device d, -1 where it has none; group s are the devices of stage s, equally many each.
# W[a, b] = least largest links[HAND_OVER] over the perfect matchings of groups a and b (bottleneck assignment)
# O[a, b] = the same of links[OCCUPIED], by itself: so that neither falls where a link gets slower
# c[s] = largest compute[s, d] in group s
# exchange = max_s max_{d in s} sum_{e in s, e != d} (links[LATENCY][d, e] + gradient_bytes[s] links[PER_BYTE][d, e])
# hand_over = sum_s W[s, s + 1];  compute = sum_s c[s];  waiting: see waiting_s
# total = exchange + hand_over + compute + waiting
# free_order: stages are alike (compute and gradient_bytes of the first count for all) and micro_batches is 1;
# the groups are numbered anew, so that hand_over is least (the shortest open path over all groups; exact
# up to EXACT_STAGES of them, else no longer than as given), of the two directions of a path the one that begins with
# the group of the smaller least device. Yuan et al. 2022, section 3.2, with micro_batches = 1 and compute = 0.
torch.library.define(
    "fmcompress::plan_cost",
    "(Tensor stage_of, Tensor links, Tensor compute, Tensor gradient_bytes, int micro_batches, bool free_order) -> "
    "(Tensor, Tensor)",
)

LATENCY, PER_BYTE, HAND_OVER, OCCUPIED = range(4)  # planes of links
TERMS = ("total", "exchange", "hand_over", "compute", "waiting")
EXACT_STAGES = 12  # up to which the path over groups is the shortest there is


def waiting_s(
    compute: Sequence[float], hand_over: Sequence[float], occupied: Sequence[float], micro_batches: int
) -> float:
    """Seconds for which 1F1B takes longer with so many micro-batches than with one.

    compute    of each stage for a micro-batch, forward and backward
    hand_over  of a micro-batch from each stage to the next, there and back
    occupied   for which a micro-batch keeps each of those links busy in one direction

    Nothing hands over micro-batches faster than the busiest stage or link. And each stage takes turns: one forward, one
    backward. So a round trip from stage s to stage t and back, in which a message may have to wait for the one that the
    same port sends the other way, lets t - s + 1 micro-batches through. They wait for the longest chain of round trips,
    of which the first goes to the last stage: until then no stage takes turns. `simulate` is what this is held against.
    """
    stages, others = len(compute), micro_batches - 1
    if not others:
        return 0.0
    port = [0.0, *occupied, 0.0]  # of each stage to the one before, then to the one after
    trip, to_last = [0.0] * (stages + 1), [0.0] * (stages + 1)  # longest ones that let 1, 2, … micro-batches through
    for s in range(stages):
        way = 0.0
        for t in range(s, stages):
            way += compute[t] + (hand_over[t - 1] if t > s else 0.0)
            if t > s:
                turns = max(0.0, port[s] - compute[s] / 2) + max(0.0, port[t + 1] - compute[t] / 2)
            else:
                turns = max(0.0, port[s] + port[s + 1] - compute[s])
            trip[t - s + 1] = max(trip[t - s + 1], way + turns)
        to_last[stages - s] = way + turns
    chain = [0.0]  # longest ones that let 0, 1, … micro-batches through
    for through in range(1, others):
        chain.append(max(trip[k] + chain[through - k] for k in range(1, min(stages, through) + 1)))
    longest = max(to_last[k] + chain[others - k] for k in range(1, min(stages, others) + 1))
    return max(longest, others * max([*compute, *occupied]))


def check_plan_cost(
    stage_of: Tensor, links: Tensor, compute: Tensor, gradient_bytes: Tensor, micro_batches: int, free_order: bool
) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    devices = stage_of.shape[0] if stage_of.dim() == 1 else -1
    require(
        devices > 0 and stage_of.dtype == torch.int64,
        lambda: f"stage_of: expected [devices] int64, got {list(stage_of.shape)} {stage_of.dtype}.",
    )
    require(
        gradient_bytes.dim() == 1 and 0 < gradient_bytes.shape[0] <= devices,
        lambda: f"gradient_bytes: expected [stages], at most {devices} of them, got {list(gradient_bytes.shape)}.",
    )
    stages = gradient_bytes.shape[0]
    for name, tensor, shape in (
        ("links", links, (4, devices, devices)),
        ("compute", compute, (stages, devices)),
        ("gradient_bytes", gradient_bytes, (stages,)),
    ):
        require(
            tuple(tensor.shape) == shape and tensor.dtype == torch.float64,
            lambda name=name, tensor=tensor, shape=shape: (  # type: ignore[misc]
                f"{name}: expected {list(shape)} float64, got {list(tensor.shape)} {tensor.dtype}."
            ),
        )
        require(
            tensor.device.type in ("cpu", "meta"),
            lambda name=name, tensor=tensor: f"{name}: expected the CPU, got {tensor.device}.",  # type: ignore[misc]
        )
    require(
        not free_order or micro_batches == 1,
        lambda: f"micro_batches: expected 1 where the order is free, got {micro_batches}.",
    )
    require(micro_batches >= 1, lambda: f"micro_batches: expected at least 1, got {micro_batches}.")


def check_groups(stage_of: Tensor, stages: int) -> int:
    """How many devices each stage has. Raises ValueError unless all have equally many, at least one."""
    inside = bool(((stage_of >= -1) & (stage_of < stages)).all())
    counts = torch.bincount(stage_of[stage_of >= 0], minlength=stages) if inside else torch.zeros(1)
    require(
        inside and bool((counts == counts[0]).all()) and int(counts[0]) > 0,
        lambda: f"stage_of: expected 0 to {stages - 1}, each equally often, or -1, got {stage_of.tolist()}.",
    )
    return int(counts[0])


@torch.library.register_fake("fmcompress::plan_cost")
def _(
    stage_of: Tensor, links: Tensor, compute: Tensor, gradient_bytes: Tensor, micro_batches: int, free_order: bool
) -> tuple[Tensor, Tensor]:
    check_plan_cost(stage_of, links, compute, gradient_bytes, micro_batches, free_order)
    return torch.empty_like(stage_of), links.new_empty((len(TERMS),))


# A plan that costs no more, found by exchanging devices: descent to where no exchange of two helps, then chains of
# exchanges that may cost more on the way and are cut at their best (after Kernighan and Lin 1970), until no chain helps
# or `evaluations` exchanges were counted. Plans are compared by: devices whose compute is infinite, total, then the sum
# of all groups' exchanges, since many plans share the slowest one. Where the order is not free, stages change places as
# well. -> stage_of and terms as of plan_cost, exchanges that were counted [] int64. The same seed gives the same plan
# within a back-end; back-ends may find different ones.
torch.library.define(
    "fmcompress::improve_plan",
    "(Tensor stage_of, Tensor links, Tensor compute, Tensor gradient_bytes, int micro_batches, bool free_order, "
    "int seed, int evaluations) -> (Tensor, Tensor, Tensor)",
)


def check_improve_plan(
    stage_of: Tensor, links: Tensor, compute: Tensor, gradient_bytes: Tensor, micro_batches: int, free_order: bool,
    seed: int, evaluations: int,
) -> None:  # fmt: skip
    """Raise ValueError unless the arguments fit the contract."""
    check_plan_cost(stage_of, links, compute, gradient_bytes, micro_batches, free_order)
    require(0 <= seed < 2**63, lambda: f"seed: expected 0 to 2^63 - 1, got {seed}.")
    require(evaluations >= 0, lambda: f"evaluations: expected at least 0, got {evaluations}.")


@torch.library.register_fake("fmcompress::improve_plan")
def _(
    stage_of: Tensor, links: Tensor, compute: Tensor, gradient_bytes: Tensor, micro_batches: int, free_order: bool,
    seed: int, evaluations: int,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    check_improve_plan(stage_of, links, compute, gradient_bytes, micro_batches, free_order, seed, evaluations)
    return torch.empty_like(stage_of), links.new_empty((len(TERMS),)), stage_of.new_empty(())
