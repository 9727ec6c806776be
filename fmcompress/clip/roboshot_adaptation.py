"""RoboShot's rejected subspace, learnt without labels: our formulation, since the published one could not be had."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import ConfigError
from .roboshot import RoboShot
from .vectors import Matrix, as_matrix, normalised


@dataclass(frozen=True)
class Adaptation:
    """RoboShot with a learnt subspace.

    shot    of the step that was best on the held-out rows
    step    which one that was; 0 is RoboShot itself
    losses  on the held-out rows, before each step
    """

    shot: RoboShot
    step: int
    losses: tuple[float, ...]


def adapt_subspace(
    shot: RoboShot,
    unlabelled: Any,
    *,
    held_out: Any = 0.2,
    learning_rate: float = 1e-3,
    steps: int = 200,
    patience: int = 20,
    batch: int = 1024,
    seed: int = 0,
) -> Adaptation:
    """Turn the rejected subspace: unlabelled embeddings shall lie less along what is rejected, more along the accepted.

    unlabelled  [rows, dim] embeddings of the task, rows of length 1; no labels
    held_out    share of them that is not trained on but decides when to stop, or a matrix of other rows
    patience    stop after so many steps without a better loss on the held-out rows

    P = I - Q^T Q, Q an orthonormal basis of V W, V [r, dim] the basis of the rejected directions, W = I [dim, dim]
    at first. Since V W = V + V (W - I) reaches every [r, dim], V W itself is learnt. The loss is the mean over
    rows x of mean_j |<x', v_j>| - mean_k |<x', u_k>|, x' = P x scaled to length 1, with all directions of length 1;
    Adam minimises it. Equal seeds give equal results on one machine.

    Raises ConfigError if nothing is rejected, or there are too few rows.
    """
    import torch

    rows = as_matrix(unlabelled, "unlabelled", shot.reject.shape[1]).astype(np.float64)
    if not shot.rank_reject:
        raise ConfigError("adapt_subspace: nothing is rejected, so that there is no subspace to learn.")
    draw = np.random.default_rng(seed)
    train, held = _parts(rows, held_out, draw)
    moved = torch.tensor(shot.basis_reject, requires_grad=True)
    reject, accept = (torch.from_numpy(normalised(some)) for some in (shot.reject, shot.accept))
    optimizer = torch.optim.Adam([moved], lr=learning_rate)
    losses: list[float] = []
    best, best_basis, held_rows = 0, shot.basis_reject, torch.from_numpy(held)
    for step in range(steps + 1):
        with torch.no_grad():
            losses.append(float(_loss(held_rows, moved, reject, accept)))
            if losses[-1] < losses[best]:
                best, best_basis = step, _orthonormal(moved).numpy().copy()
        if step == steps or step - best >= patience:
            break
        some = torch.from_numpy(train[draw.permutation(len(train))[:batch]])
        optimizer.zero_grad()
        _loss(some, moved, reject, accept).backward()
        optimizer.step()
    return Adaptation(replace(shot, basis_reject=best_basis), best, tuple(losses))


def _parts(rows: Matrix, held_out: Any, draw: np.random.Generator) -> Sequence[Matrix]:
    if isinstance(held_out, float):
        if not 0 < held_out < 1:
            raise ConfigError(f"held_out: expected a share between 0 and 1, or a matrix, got {held_out}.")
        order, kept = draw.permutation(len(rows)), round(len(rows) * held_out)
        if not 0 < kept < len(rows):
            raise ConfigError(f"unlabelled: {len(rows)} rows are too few to hold out a share of {held_out} of them.")
        return rows[order[kept:]], rows[order[:kept]]
    return rows, as_matrix(held_out, "held_out", rows.shape[1]).astype(np.float64)


def _orthonormal(rows: Any) -> Any:
    """[r, dim] an orthonormal basis of the rows, of full rank."""
    import torch

    return torch.linalg.qr(rows.T)[0].T


def _loss(rows: Any, moved: Any, reject: Any, accept: Any) -> Any:
    import torch

    basis = _orthonormal(moved)
    left = torch.nn.functional.normalize(rows - (rows @ basis.T) @ basis, dim=1)
    loss = (left @ reject.T).abs().mean()
    return loss - (left @ accept.T).abs().mean() if len(accept) else loss
