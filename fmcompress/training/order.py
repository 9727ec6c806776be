"""Who is drawn: a function of seed and number, so that nothing has to be remembered."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray


def draw(pool: NDArray[np.int64], size: int, number: int, seed: tuple[int, ...]) -> NDArray[np.int64]:
    """Batch `number` of a pool of items: each comes once before any comes again, in another order each time.

    size  items of a batch; of a smaller pool all of it
    seed  of the pool: with it and the number a batch is known, whatever was drawn before
    """
    size = min(size, len(pool))
    places = np.arange(number * size, (number + 1) * size)
    rounds = places // len(pool)
    orders = {one: _order(len(pool), seed, one) for one in np.unique(rounds).tolist()}
    drawn = [orders[one][place] for one, place in zip(rounds.tolist(), (places % len(pool)).tolist(), strict=True)]
    return pool[np.array(drawn)]


@lru_cache(maxsize=8)
def _order(count: int, seed: tuple[int, ...], number: int) -> NDArray[np.int64]:
    return np.random.default_rng([*seed, number]).permutation(count)
