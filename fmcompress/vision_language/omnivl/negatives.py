"""Partners that do not belong together but look as if they did, for the matching loss (Li et al. 2021, ALBEF)."""

import torch
from torch import Tensor


@torch.no_grad()
def hard_negatives(
    similarity: Tensor, row_labels: Tensor, col_labels: Tensor, generator: torch.Generator | None = None
) -> Tensor:
    """A column for each row, drawn by softmax(similarity) among those of another label: [rows] int64, -1 for none.

    similarity              [rows, cols] logits, such as cosines over the temperature
    row_labels, col_labels  [rows], [cols]; a captioned item has a label of its own, so that it is never its negative
    generator               on the CPU; None: torch's global one

    Raises ValueError for shapes that do not fit.
    """
    if similarity.shape != (len(row_labels), len(col_labels)):
        raise ValueError(
            f"similarity: expected [{len(row_labels)}, {len(col_labels)}] by the labels, got {list(similarity.shape)}."
        )
    if not similarity.numel():
        return torch.full((len(row_labels),), -1)
    other = row_labels[:, None] != col_labels[None]
    shares = similarity.float().masked_fill(~other, -torch.inf).softmax(dim=1).cpu()
    possible = other.any(dim=1).cpu()
    drawn = torch.multinomial(torch.where(possible[:, None], shares, 1.0), 1, generator=generator)[:, 0]
    return torch.where(possible, drawn, -1).to(similarity.device)
