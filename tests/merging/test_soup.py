"""Greedy soups: the order in which candidates are tried, what is kept, what is scored, and bad input."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from fmcompress.errors import ConfigError
from fmcompress.merging.soup import Trial, choose, greedy_soup

# of candidates 0 to 4 and of their averages, higher is better; not listed: never asked for
SCORES = {
    (0,): 0.70, (1,): 0.80, (2,): 0.75, (3,): 0.80, (4,): 0.10,
    (1, 3): 0.79,  # worse than 1 alone
    (1, 2): 0.82,
    (0, 1, 2): 0.82,  # as good
    (1, 2, 4): 0.40, (0, 1, 2, 4): 0.40,
}  # fmt: skip


def test_candidates_are_tried_best_first_and_kept_if_the_average_is_better() -> None:
    soup = choose(5, SCORES.__getitem__)
    assert soup.trials == (
        Trial(1, (1,), 0.80, True),  # of equals the first
        Trial(3, (1, 3), 0.79, False),
        Trial(2, (1, 2), 0.82, True),
        Trial(0, (0, 1, 2), 0.82, False),
        Trial(4, (1, 2, 4), 0.40, False),
    )
    assert (soup.members, soup.score, soup.best_single) == ((1, 2), 0.82, 0.80)
    assert soup.singles == (0.70, 0.80, 0.75, 0.80, 0.10)


def test_what_is_as_good_stays_where_that_is_asked_for() -> None:
    soup = choose(5, SCORES.__getitem__, tie=">=")
    assert soup.members == (0, 1, 2)
    assert [trial.kept for trial in soup.trials] == [True, False, True, True, False]


def test_lower_may_be_better() -> None:
    soup = choose(5, lambda members: -SCORES[members], lower_is_better=True)
    assert (soup.members, soup.score) == ((1, 2), -0.82)
    assert [trial.added for trial in soup.trials] == [1, 3, 2, 0, 4]


@given(st.integers(1, 7), st.integers(0, 2**32), st.sampled_from([">", ">="]), st.booleans(), st.integers(2, 9))
def test_a_soup_only_gets_better_and_every_score_is_asked_for_once(count, seed, tie, lower, levels) -> None:
    asked: list[tuple[int, ...]] = []

    def score(members: tuple[int, ...]) -> float:
        asked.append(members)
        return hash((seed, members)) % levels  # few levels, so that many are equal

    soup, sign = choose(count, score, tie=tie, lower_is_better=lower), -1 if lower else 1
    assert len(asked) == len(set(asked)) == 2 * count - 1
    assert [trial.added for trial in soup.trials] == sorted(range(count), key=lambda n: (-sign * soup.singles[n], n))
    best, members = soup.trials[0].score, set(soup.trials[0].members)
    for trial in soup.trials[1:]:
        assert set(trial.members) == members | {trial.added}
        gain = sign * (trial.score - best)
        assert trial.kept == (gain > 0 or (tie == ">=" and gain == 0))
        if trial.kept:
            best, members = trial.score, set(trial.members)
    assert (set(soup.members), soup.score) == (members, best)
    assert sign * soup.score >= max(sign * single for single in soup.singles)


def test_weights_in_memory_are_averaged_by_the_function_that_is_given() -> None:
    """The target is the mean of the first two: those are chosen, and an outlier is not."""
    target, candidates = torch.tensor([1.0, 1.0]), [torch.tensor(v) for v in ([0.0, 2.0], [2.0, 0.0], [9.0, 9.0])]
    soup = greedy_soup(
        candidates, lambda one: -float((one - target).norm()), lambda chosen: torch.stack(list(chosen)).mean(0)
    )
    assert (soup.members, soup.score) == ((0, 1), 0.0)


def test_trials_are_told_as_they_are_made() -> None:
    told: list[Trial] = []
    soup = choose(5, SCORES.__getitem__, told=told.append)
    assert tuple(told) == soup.trials


@pytest.mark.parametrize("lower", [False, True])
def test_nan_is_worse_than_any_number(lower) -> None:
    scores = {(0,): math.nan, (1,): 5.0, (2,): 5.0, (1, 2): math.nan, (0, 1): math.nan}
    soup = choose(3, scores.__getitem__, lower_is_better=lower, tie=">=")
    assert (soup.members, soup.score) == ((1,), 5.0)
    assert soup.trials[-1].added == 0


def test_one_candidate_is_the_soup() -> None:
    soup = choose(1, lambda members: 3.0)
    assert (soup.members, soup.score, len(soup.trials)) == ((0,), 3.0, 1)


@pytest.mark.parametrize("scores", [(math.inf, math.inf), (-math.inf, 1.0), (1.0, math.nan)])
def test_scores_that_no_axis_holds_can_be_drawn(tmp_path, scores) -> None:
    pytest.importorskip("matplotlib")
    from fmcompress.merging.pictures import plot_soup

    for lower in (True, False):
        soup = choose(2, lambda members: scores[members[0]] if len(members) == 1 else math.inf, lower_is_better=lower)
        plot_soup(soup, ["a", "b"], tmp_path / "soup.svg")
        assert (tmp_path / "soup.svg").read_bytes()


def test_bad_input_is_told() -> None:
    with pytest.raises(ConfigError, match="candidates: expected at least one, got none"):
        choose(0, lambda members: 1.0)
    with pytest.raises(ConfigError, match="tie: expected > or >=, got '='"):
        choose(1, lambda members: 1.0, tie="=")
    with pytest.raises(ConfigError, match="score: expected a number for one candidate at least, got NaN for all"):
        choose(2, lambda members: math.nan)
