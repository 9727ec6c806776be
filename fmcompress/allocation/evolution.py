"""An evolutionary search over the levels of layers, where each move keeps the number of zeros (EvoPress' moves)."""

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass

MOST_MOVES = 3  # that tell a child from its parent; few are likelier than many

Candidate = tuple[int, ...]  # the level of each layer, by number


@dataclass(frozen=True)
class Space:
    """What can be chosen: each layer has a level, and a step up prunes as many more weights as a step down keeps.

    weights  of each layer: only layers of equally many exchange steps
    levels   how many there are, 0 prunes least
    """

    weights: Sequence[int]
    levels: int

    def mutated(self, parent: Candidate, chance: random.Random) -> Candidate:
        """The parent with a few steps exchanged; the parent itself where no step is possible."""
        child = list(parent)
        for _ in range(min(chance.randint(1, MOST_MOVES), chance.randint(1, MOST_MOVES))):
            ups = [number for number, level in enumerate(child) if level + 1 < self.levels]
            chance.shuffle(ups)
            for up in ups:
                downs = [
                    number
                    for number, level in enumerate(child)
                    if level and number != up and self.weights[number] == self.weights[up]
                ]
                if downs:
                    child[up] += 1
                    child[chance.choice(downs)] -= 1
                    break
        return tuple(child)


def evolve(
    start: Candidate,
    space: Space,
    fitness: Callable[[Sequence[Candidate]], Sequence[float]],
    *,
    generations: int,
    offspring: int,
    seed: int,
    progress: Callable[[int, float], None] = lambda generation, best: None,
) -> Candidate:
    """(1 + offspring) evolution: the best of a parent and its children is the next parent, the parent if it is as good.

    fitness   of candidates that are measured alike, the parent first; lower is better. Called once a generation
    progress  called with the number of finished generations and the fitness of the best
    """
    chance, parent = random.Random(seed), start
    for generation in range(1, generations + 1):
        children = [space.mutated(parent, chance) for _ in range(offspring)]
        candidates = list(dict.fromkeys([parent, *children]))
        scores = fitness(candidates)
        best = min(range(len(candidates)), key=scores.__getitem__)  # the first of equal ones
        parent = candidates[best]
        progress(generation, scores[best])
    return parent
