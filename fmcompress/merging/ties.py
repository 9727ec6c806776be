"""TIES: trim every model's change, elect a sign for each entry, merge those that agree (Yadav et al. 2023)."""

from torch import Tensor

from .changes import elected, merge_changes
from .largest import largest, magnitudes
from .method import Blocks, MergeBlock, TensorSettings


def ties(settings: TensorSettings, blocks: Blocks) -> MergeBlock:
    """The base plus scale times the mean of those trimmed changes whose sign is elected.

    Of every tensor and model the max(1, int(density * size)) entries of largest change are kept, the lowest index first
    where they are equal, exactly. Changes are multiplied by their weights; the sign of an entry is that of the larger
    sum of magnitudes. Those of that sign are added, and with normalize divided by the sum of their weights.
    """
    trimmed = {place: density for place, density in enumerate(settings.densities) if density < 1 and settings.size}
    kept = largest(blocks, {place: max(1, int(density * settings.size)) for place, density in trimmed.items()})

    def keep(place: int, begin: int, base: Tensor, model: Tensor) -> Tensor | None:
        return kept[place].mask(begin, magnitudes(base, model)) if place in kept else None

    return merge_changes(settings, settings.weights, keep, elected(settings.weights, settings.normalize))
