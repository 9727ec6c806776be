"""The search itself, with a fitness that is known: it finds what was planted and never leaves the budget."""

import random
from collections.abc import Sequence

from fmcompress.allocation.evolution import Candidate, Space, evolve

SPACE = Space([10] * 6 + [30] * 6, levels=5)
START = (2,) * 12
PLANTED = (0, 4, 1, 3, 2, 2, 4, 4, 0, 0, 2, 2)


def distance(candidate: Candidate) -> float:
    return sum((level - wanted) ** 2 for level, wanted in zip(candidate, PLANTED, strict=True))


def search(fitness, **options) -> Candidate:
    return evolve(START, SPACE, fitness, **{"generations": 200, "offspring": 8, "seed": 0, **options})


def test_finds_the_planted_optimum() -> None:
    assert search(lambda candidates: [distance(each) for each in candidates]) == PLANTED


def test_every_candidate_keeps_the_budget_of_each_size() -> None:
    seen = set[Candidate]()

    def fitness(candidates: Sequence[Candidate]) -> list[float]:
        seen.update(candidates)
        return [-max(each) - each[0] for each in candidates]  # pulls towards the ends

    search(fitness)
    assert len(seen) > 100
    assert all(0 <= level < 5 for each in seen for level in each)
    assert {(sum(each[:6]), sum(each[6:])) for each in seen} == {(12, 12)}
    assert max(max(each) for each in seen) == 4


def test_the_parent_comes_first_and_stays_unless_a_child_is_better() -> None:
    first = list[Candidate]()

    def fitness(candidates: Sequence[Candidate]) -> list[float]:
        first.append(candidates[0])
        assert len(set(candidates)) == len(candidates)
        return [1.0] * len(candidates)

    assert search(fitness, generations=5) == START
    assert first == [START] * 5


def test_a_seed_tells_the_search_and_the_global_generator_is_left_alone() -> None:
    def path(seed: int) -> list[float]:
        best = list[float]()
        fitness = lambda candidates: [distance(each) for each in candidates]  # noqa: E731
        search(fitness, generations=5, seed=seed, progress=lambda generation, score: best.append(score))
        return best

    state = random.getstate()
    assert path(1) == path(1) != path(2)
    assert random.getstate() == state


def test_ends_of_the_levels_do_not_stop_it() -> None:
    low = Space([1, 1, 1], levels=2)
    alone = Space([1, 2, 3], levels=3)
    assert evolve((1, 1, 1), alone, lambda each: [0.0] * len(each), generations=3, offspring=2, seed=0) == (1, 1, 1)
    assert evolve((1, 1, 1), low, lambda each: [0.0] * len(each), generations=3, offspring=2, seed=0) == (1, 1, 1)
