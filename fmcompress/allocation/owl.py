"""OWL (Yin et al., ICML 2024, arXiv 2310.05175): blocks with more outliers are pruned less."""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor

from ..block_solver import calibrate
from ..calibration import Batch
from ..errors import ConfigError
from ..hidden_states import enter, run_on
from ..job import Job
from ..layers import last_to_run
from ..shares import Allocation
from .budget import exact_shares

OUTLIER = 5.0  # times the mean


def outlier_share(weights: Sequence[Tensor], norms: Sequence[Tensor], times: float = OUTLIER) -> float:
    """The share of a block's weights whose |w| * |x| is more than so many times the mean over the block.

    weights  of each layer [rows, cols]
    norms    of each layer [cols], of its inputs over the calibration data
    """
    count = sum(weight.numel() for weight in weights)
    total = sum(float(_scores(*layer).sum(dtype=torch.float64)) for layer in zip(weights, norms, strict=True))
    bound = times * total / max(1, count)
    outliers = sum(int((_scores(*layer) > bound).sum()) for layer in zip(weights, norms, strict=True))
    return outliers / max(1, count)


def _scores(weight: Tensor, norms: Tensor) -> Tensor:
    return weight.float().abs() * norms.float()


def owl_shares(
    outliers: Mapping[str, float], weights: Mapping[str, int], sparsity: float, spread: float
) -> dict[str, float]:
    """Sparsities that fall as the outliers rise, from the most to the least by 2 * spread, of mean `sparsity`.

    outliers  block -> its share of outliers
    weights   block -> how many it has, by which the mean is weighted
    returns   block -> share of zeros; all `sparsity` where no block has more outliers than another

    Raises ConfigError if one would leave [0, 1].
    """
    lowest, highest = min(outliers.values()), max(outliers.values())
    if lowest == highest:
        return dict.fromkeys(outliers, sparsity)
    kept = {name: 2 * spread * (share - lowest) / (highest - lowest) for name, share in outliers.items()}
    mean = sum(kept[name] * weights[name] for name in kept) / sum(weights[name] for name in kept)
    shares = {name: sparsity + mean - more for name, more in kept.items()}
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise ConfigError(f"spread {spread}: {name} would need a sparsity of {share:.3f}. Give a lower --spread.")
    return shares


def allocate_by_outliers(
    job: Job, spread: float, progress: Callable[[int, int], None] = lambda done, total: None
) -> Allocation:
    """Run the dense model over the calibration data, and allocate by the outliers of each block.

    job       a run of PruneConfig with a sparsity; nothing of it is pruned
    progress  called with (blocks run, blocks in all)

    Raises CalibrationError for input that is not finite, ConfigError if the spread does not fit the sparsity.
    """
    assert job.streamed is not None
    sparsity: float = getattr(job.config, "sparsity")  # noqa: B009
    outliers = _outliers_of_blocks(job, progress)
    blocks = {job.streamed.blocks[index][0]: job.layers[index].values() for index in outliers}
    by_block = dict(zip(blocks, outliers.values(), strict=True))
    weights = {layer.tensor: layer.rows * layer.cols for layers in blocks.values() for layer in layers}
    of_blocks = {name: sum(weights[layer.tensor] for layer in layers) for name, layers in blocks.items()}
    shares = owl_shares(by_block, of_blocks, sparsity, spread)
    wanted = {layer.tensor: shares[name] for name, layers in blocks.items() for layer in layers}
    found = {"spread": spread, "outliers": by_block}
    return Allocation(sparsity, "owl", exact_shares(wanted, weights, sparsity), found)


def _outliers_of_blocks(job: Job, progress: Callable[[int, int], None]) -> dict[int, float]:
    """By index of a block that holds a chosen layer."""
    streamed, found, count = job.streamed, dict[int, float](), len(job.layers)
    assert streamed is not None
    batches: list[Batch] = []
    for index in range(count):
        stack = streamed.stack_at(index)
        last = last_to_run(streamed, job.layers, stack)
        if index > last:  # nothing needs what it makes
            continue
        if index == streamed.first_of(stack):
            batches = enter(job, streamed, stack, batches)
        with torch.no_grad(), streamed.loaded(index) as block:
            if job.layers[index]:
                groups = calibrate(job, index, block, batches, job.layers[index])
                norms = {
                    name: group.hessian.diagonal().clamp(min=0).sqrt() for group in groups for name in group.layers
                }
                places = {name: job.layers[index][name].place for name in norms}
                weights = [place.weight for place in places.values() if place is not None]
                found[index] = outlier_share(weights, list(norms.values()))
            if index < last:
                run_on(streamed, index, block, batches)
        progress(index + 1, count)
    return found
