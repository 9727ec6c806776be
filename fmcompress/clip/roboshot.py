"""RoboShot: embeddings lose what a language model calls spurious and gain what it calls telling (Adila et al. 2024)."""

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from ..errors import ConfigError
from .directions import as_directions, span
from .low_rank import low_rank_rows
from .vectors import Labels, Matrix, as_matrix, normalised

Mode = Literal["reject", "accept", "both"]
Order = Literal["reject_then_accept", "reject_last"]


@dataclass(frozen=True)
class Applied:
    """Embeddings after RoboShot, and what it could not change.

    vectors    [rows, dim] rows of length 1
    unchanged  numbers of rows that lie in the span of the rejected directions: nothing would be left of them,
               so that they stay as they were
    """

    vectors: Matrix
    unchanged: Labels


@dataclass(frozen=True)
class Energy:
    """How much of some embeddings lies along the directions: means of squared cosines, from 0 to 1.

    reject, accept      [directions] along each direction as it was given; they overlap unless they are orthogonal
    rejected, accepted  within the span of all of them: what is taken away, and what is doubled
    """

    reject: Matrix
    accept: Matrix
    rejected: float
    accepted: float


@dataclass(frozen=True)
class RoboShot:
    """What is rejected and accepted, ready for any embeddings of the same model: images or texts.

    basis_reject, basis_accept  [rank, dim] float64, orthonormal
    """

    reject: Matrix
    accept: Matrix
    basis_reject: Matrix
    basis_accept: Matrix
    order: Order = "reject_then_accept"

    @classmethod
    def fit(
        cls,
        reject: Any = None,
        accept: Any = None,
        *,
        mode: Mode = "both",
        order: Order = "reject_then_accept",
        rank_tol: float = 1e-5,
    ) -> "RoboShot":
        """The spans of the directions.

        reject, accept  [directions, dim] of any length, such as a difference of two texts' embeddings; None: none
        mode            which of the two to use
        order           reject_then_accept, as published: what is boosted may bring back some of what was rejected.
                        reject_last: the result is orthogonal to all that is rejected
        rank_tol        singular values of the directions, each scaled to length 1, count if they are above so much
                        of the largest: all pairwise differences of m texts have rank m - 1, the rest is rounding

        Raises ConfigError for widths that differ, directions of length 0 or NaN, and unknown words.
        """
        if mode not in ("reject", "accept", "both"):
            raise ConfigError(f"mode: expected reject, accept or both, got {mode!r}.")
        if order not in ("reject_then_accept", "reject_last"):
            raise ConfigError(f"order: expected reject_then_accept or reject_last, got {order!r}.")
        if reject is None and accept is None:
            raise ConfigError(
                "directions: expected some to reject or accept, got neither. [0, dim] is a matrix of none."
            )
        dim = np.shape(reject if reject is not None else accept)[-1]
        rejected = as_directions(reject if mode != "accept" else None, "reject", dim)
        accepted = as_directions(accept if mode != "reject" else None, "accept", dim)
        return cls(rejected, accepted, span(rejected, rank_tol), span(accepted, rank_tol), order)

    @property
    def rank_reject(self) -> int:
        """Directions that are taken away."""
        return len(self.basis_reject)

    @property
    def rank_accept(self) -> int:
        """Directions that are doubled."""
        return len(self.basis_accept)

    def apply(self, embeddings: Any, *, out: Matrix | None = None) -> Applied:
        """The embeddings without what is rejected and with twice what is accepted, and the rows that stay as they are.

        embeddings  [rows, dim] float32 or float64, rows of length 1
        out         written and returned; may be the embeddings themselves. Its contents are lost if this raises

        Raises ConfigError for another width, NaN, or rows of another length.
        """
        read, write = self.factors
        vectors, left = low_rank_rows(embeddings, read, write, out=out)
        return Applied(vectors, np.flatnonzero(left))

    def transform(self, embeddings: Any, *, out: Matrix | None = None) -> Matrix:
        """As apply, the vectors alone."""
        return self.apply(embeddings, out=out).vectors

    def energy(self, embeddings: Any) -> Energy:
        """What of the embeddings lies along the directions, for an audit of insights: [rows, dim], rows of length 1."""
        rows = as_matrix(embeddings, "embeddings", self.reject.shape[1])

        def along(directions: Matrix) -> Matrix:
            return ((rows @ directions.T.astype(rows.dtype)) ** 2).mean(axis=0, dtype=np.float64)

        return Energy(
            along(normalised(self.reject)),
            along(normalised(self.accept)),
            float(along(self.basis_reject).sum()),
            float(along(self.basis_accept).sum()),
        )

    @property
    def factors(self) -> tuple[Matrix, Matrix]:
        """[k, dim] twice: all of it is x + (x @ read.T) @ write, scaled to length 1.

        The lengths between the steps are only factors, so that both steps are one product of matrices.
        """
        reject, accept = self.basis_reject, self.basis_accept
        across = accept @ reject.T  # [a, r]
        taken, given = -reject, accept
        if self.order == "reject_then_accept":
            taken = taken - across.T @ accept  # what is taken away is not doubled
        else:
            given = given - across @ reject  # what is doubled is taken away where it is harmful
        return np.vstack([reject, accept]), np.vstack([taken, given])


def roboshot(
    embeddings: Any,
    reject: Any = None,
    accept: Any = None,
    *,
    mode: Mode = "both",
    order: Order = "reject_then_accept",
    rank_tol: float = 1e-5,
    out: Matrix | None = None,
) -> Matrix:
    """Embeddings [rows, dim] without the rejected directions [r, dim] and with twice the accepted ones [a, dim].

    Both given as None leaves them as they are. RoboShot.fit says what the rest means, and what is raised;
    RoboShot.apply tells which rows could not be changed.
    """
    if reject is None and accept is None:
        reject = np.empty((0, np.shape(embeddings)[-1]))
    fitted = RoboShot.fit(reject, accept, mode=mode, order=order, rank_tol=rank_tol)
    return fitted.transform(embeddings, out=out)
