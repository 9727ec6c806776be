"""Planning: the cost of a plan, and a better plan near it."""

from torch import Tensor

from .dispatch import run


def plan_cost(
    stage_of: Tensor, links: Tensor, compute: Tensor, gradient_bytes: Tensor, micro_batches: int, free_order: bool
) -> tuple[Tensor, Tensor]:
    """What a plan costs a step of training, and the best numbering of its groups where that is free.

    stage_of        [devices] int64, the stage of each device or -1; all stages equally often
    links           [4, devices, devices] float64, each plane symmetric: s of latency there and back, s a byte of
                    gradients, s of handing a micro-batch over and back, s for which that occupies a link one way
    compute         [stages, devices] float64, s of a micro-batch, forward and backward; infinite where it does not fit
    gradient_bytes  [stages] float64
    micro_batches   of a step
    free_order      whether the groups may be numbered anew: all stages are like the first, and micro_batches is 1

    Returns stage_of, renumbered where that is free, and [5] float64 seconds: total, exchange of gradients, hand-over
    of the first micro-batch through all stages and back, compute of it, waiting for the others. Nothing is mutated.
    Raises ValueError for other shapes and dtypes, and for stages of unequal size. Source: Yuan et al. 2022, section
    3.2; the formula is in fmcompress/_ops/scheduling.py.
    """
    tables = links.contiguous(), compute.contiguous(), gradient_bytes.contiguous()
    return run("plan_cost", stage_of.contiguous(), *tables, micro_batches, free_order)  # type: ignore[no-any-return]


def improve_plan(
    stage_of: Tensor, links: Tensor, compute: Tensor, gradient_bytes: Tensor, micro_batches: int, free_order: bool,
    *, seed: int = 0, evaluations: int = 100_000,
) -> tuple[Tensor, Tensor, Tensor]:  # fmt: skip
    """A plan that costs no more, by exchanging devices until nothing helps or so many exchanges were counted.

    As plan_cost; returns the plan, its seconds [5], and how many exchanges were counted [] int64. Nothing is mutated.
    Source: Yuan et al. 2022, section 3.4, after Kernighan and Lin 1970.
    """
    tables = links.contiguous(), compute.contiguous(), gradient_bytes.contiguous()
    rest = micro_batches, free_order, seed, evaluations
    return run("improve_plan", stage_of.contiguous(), *tables, *rest)  # type: ignore[no-any-return]
