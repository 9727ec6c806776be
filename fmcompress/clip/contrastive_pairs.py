"""What is drawn to what: anchors that zero-shot is wrong about, right rows of their class, near rows of others."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from .negatives import nearest
from .vectors import Labels, Matrix


@dataclass(frozen=True)
class Block:
    """Some anchors [a] with positives [a, p] and negatives [a, n], numbers of rows, and which of these count."""

    anchors: Labels
    positives: Labels
    positive_mask: np.ndarray
    negatives: Labels
    negative_mask: np.ndarray


class Pairs:
    """Draws blocks of anchors, epoch by epoch.

    notes  classes that give no anchors: none of their rows is wrong, or none is right
    """

    def __init__(
        self, rows: Matrix, labels: Labels, predicted: Labels, positives: int, negatives: int, neighbours: int
    ) -> None:
        self.labels, self.positives, self.negatives = labels, positives, negatives
        self.right, self.notes, anchors = {}, [], []
        for cls in np.unique(labels):
            of_class = np.flatnonzero(labels == cls)
            wrong, right = (of_class[(predicted[of_class] == cls) == so] for so in (False, True))
            if len(wrong) and len(right):
                self.right[int(cls)] = right
                anchors.append(wrong)
            else:
                why = (
                    "zero-shot is right about all of its rows"
                    if len(right)
                    else "zero-shot is wrong about all of its rows"
                )
                self.notes.append(f"class {cls}: no contrastive anchors, since {why}")
        self.anchors = np.concatenate(anchors) if anchors else np.empty(0, np.int64)
        # of each anchor its own: indexed by its place among the anchors, as it was asked for
        self.near = nearest(rows, self.anchors, neighbours)

    def blocks(self, size: int, draw: np.random.Generator) -> Iterator[Block]:
        """Every anchor once, in blocks of `size`."""
        order = draw.permutation(len(self.anchors))
        for begin in range(0, len(order), size):
            yield self._block(order[begin : begin + size], draw)

    def _block(self, places: Labels, draw: np.random.Generator) -> Block:
        anchors = self.anchors[places]
        own = self.labels[anchors]
        pools = [self.right[int(cls)] for cls in own]
        width = min(self.positives, max(map(len, pools)))
        positives = np.zeros((len(places), width), np.int64)
        for row, pool in enumerate(pools):
            taken = draw.permutation(pool)[:width]
            positives[row, : len(taken)] = taken
        counts = np.array([min(width, len(pool)) for pool in pools])
        near = self.near[places]
        if self.negatives < near.shape[1]:
            near = draw.permuted(near, axis=1)[:, : self.negatives]
        mask = np.arange(width) < counts[:, None]
        return Block(anchors, positives, mask, near, self.labels[near] != own[:, None])
