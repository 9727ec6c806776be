"""Which head goes on which featuriser, in which order, in the recipe and in each of its ablations."""

import math

import pytest
import torch
from fake_training import PRETRAINED, PROBED, Recorder

from fmcompress.errors import ConfigError
from fmcompress.ratatouille import METHODS, Ratatouille

BODY, HEAD = "body.weight", "head.weight"


def test_the_five_steps():
    recorder = Recorder()
    dish = recorder.recipe().cook("ratatouille")["ratatouille"]
    calls = {job.name: (job, start) for job, start in recorder.calls}
    assert recorder.names == [
        "probe",
        "target-000-from-pretrained",
        "auxiliary-one",
        "target-001-from-one",
        "auxiliary-two",
        "target-002-from-two",
    ]
    for name in ("auxiliary-one", "auxiliary-two", "probe"):  # all see the pretrained featuriser, without a head
        assert calls[name][1] == {BODY: 10.0}
    assert calls["target-000-from-pretrained"][1] == {BODY: 10.0, HEAD: PROBED}
    assert calls["target-001-from-one"][1] == {BODY: 110.0, HEAD: PROBED}  # not the auxiliary head
    assert calls["target-002-from-two"][1] == {BODY: 210.0, HEAD: PROBED}
    assert dish.weights[BODY].item() == pytest.approx((10 + 1 + 110 + 2 + 210 + 3) / 3)
    assert dish.weights.keys() == PRETRAINED.keys()
    assert dish.chosen == tuple(name for name in recorder.names if name.startswith("target"))


def test_without_the_pretrained_start_every_run_is_recycled():
    recorder = Recorder()
    recorder.recipe(runs=4, with_pretrained=False).cook("ratatouille")
    starts = [job.start for job, _ in recorder.calls if job.kind == "target"]
    assert starts == ["one", "two", "one", "two"]


@pytest.mark.parametrize("method", ["erm", "soup", "diwa"])
def test_baselines_start_from_the_pretrained_featuriser_and_need_no_auxiliary(method):
    recorder = Recorder()
    recorder.recipe().cook(method)
    assert recorder.names == ["probe", *(f"target-00{number}-from-pretrained" for number in range(3))]
    assert all(start == {BODY: 10.0, HEAD: PROBED} for job, start in recorder.calls if job.kind == "target")


def test_fusing_averages_featurisers_before_one_fine_tuning():
    recorder = Recorder()
    recipe = recorder.recipe()
    recipe.cook("fusing")
    for job, start in recorder.calls:
        if job.kind == "target":
            shares = recipe.shares(job.number)
            fused = sum(share * body for share, body in zip(shares, (10.0, 110.0, 210.0), strict=True))
            assert sum(shares) == pytest.approx(1)
            assert max(shares) / min(shares) <= math.exp(4)
            assert start == {BODY: pytest.approx(fused), HEAD: PROBED}
    assert recipe.shares(0) != recipe.shares(1)


def test_all_methods_have_equally_many_fine_tunings_of_equal_seeds():
    recorder = Recorder()
    recipe = recorder.recipe(runs=5)
    dishes = recipe.cook()
    assert dishes.keys() == METHODS.keys()
    assert {len(dish.candidates) for dish in dishes.values()} == {5}
    assert len(recorder.names) == len(set(recorder.names))  # nothing is trained twice
    seeds: dict[int, set[int]] = {}
    for job, _ in recorder.calls:
        if job.kind == "target":
            seeds.setdefault(job.number, set()).add(job.seed)
    assert all(len(some) == 1 for some in seeds.values())
    assert len(set.union(*seeds.values())) == 5
    assert len({job.seed for job, _ in recorder.calls if job.kind != "target"}) == 3
    assert recorder.recipe(seed=1).probe().job.seed != recipe.probe().job.seed


def test_best_greedy_and_uniform_go_by_validation_alone():
    # bodies of the runs from the pretrained featuriser are 11, 12 and 13
    scores = {11: 0.5, 12: 0.9, 13: 0.7, 12.5: 0.9, 11.5: 0.1}
    recorder = Recorder(scores=scores)
    dishes = recorder.recipe().cook("erm", "soup", "diwa")
    names = [f"target-00{number}-from-pretrained" for number in range(3)]
    assert dishes["erm"].chosen == (names[1],)
    assert dishes["erm"].weights[BODY].item() == 12
    assert dishes["soup"].chosen == (names[1], names[2], names[0])  # best first; ties are kept
    assert dishes["diwa"].chosen == tuple(names)
    assert dishes["diwa"].weights[BODY].item() == 12
    worse = Recorder(scores={**scores, 12.5: 0.89, 11.5: 0.95}).recipe().cook("soup")["soup"]
    assert worse.chosen == (names[1], names[0])
    assert worse.validation == 0.95
    assert worse.candidates == {names[0]: 0.5, names[1]: 0.9, names[2]: 0.7}


def test_progress_counts_every_training_once():
    seen = []
    recorder = Recorder()
    recorder.recipe(progress=lambda *told: seen.append(told)).cook()
    assert [done for done, _, _ in seen] == list(range(1, len(recorder.names) + 1))
    assert {total for _, total, _ in seen} == {len(recorder.names)}
    assert [name for _, _, name in seen] == recorder.names


def test_what_a_training_gives_back_is_its_own():
    """A function that goes on to change what it returned, or what it got, spoils nothing."""
    held = []

    class Greedy(Recorder):
        def train(self, weights, job):
            held.append(weights)
            found = super().train(weights, job)
            held.append(found)
            return found

    recipe = Greedy().recipe()
    before = {run.job.name: run.weights[BODY].item() for run in recipe.family("recycled")}
    for weights in held:
        for tensor in weights.values():
            tensor.fill_(1e9)
    assert {run.job.name: run.weights[BODY].item() for run in recipe.family("recycled")} == before
    assert PRETRAINED[BODY].item() == 10.0


def _training(change):
    recorder = Recorder()

    def train(weights, job):
        return change(recorder.train(weights, job), job)

    return Ratatouille(PRETRAINED, "head", ["one", "two"], train, recorder.validate, runs=2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda w, job: w | {BODY: w[BODY] + 1} if job.kind == "probe" else w, "probe: the featuriser has changed"),
        (lambda w, job: {BODY: w[BODY]} if job.kind == "auxiliary" else w, "auxiliary-one: expected weights with a head"),
        (lambda w, job: w | {HEAD: torch.zeros(2)} if job.kind == "target" else w, "target-000.*head.weight: expected"),
        (lambda w, job: w | {"x": torch.zeros(2)} if job.kind == "target" else w, "target-000.*strange tensor 'x'"),
        (lambda w, job: {HEAD: w[HEAD]} if job.kind == "auxiliary" else w, "auxiliary-one: lacks tensor 'body.weight'"),
        (lambda w, job: w | {BODY: w[BODY] * math.nan} if job.kind == "target" else w, "target-000.*expected finite"),
    ],
)  # fmt: skip
def test_weights_that_were_not_asked_for_are_refused(change, message):
    with pytest.raises(ConfigError, match=message) as raised:
        _training(change).cook("ratatouille")
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"auxiliaries": []}, "auxiliaries: expected names"),
        ({"auxiliaries": ["one", "one"]}, "each once"),
        ({"auxiliaries": ["../one"]}, "got '../one'"),
        ({"auxiliaries": ["fused"]}, "got 'fused'"),
        ({"auxiliaries": [1]}, "got 1"),
        ({"runs": "3"}, "runs: expected a whole number, at least 1, got '3'"),
        ({"runs": 0}, "runs: expected a whole number, at least 1"),
        ({"head": "nowhere.else", "pretrained": {"nowhere.else.weight": torch.ones(1)}}, "no featuriser"),
        ({"validate": lambda weights: math.nan}, "validate: expected a finite number"),
        ({"pretrained": {BODY: torch.tensor([math.inf])}}, "pretrained: body.weight: expected finite"),
    ],
)
def test_bad_options_are_told_in_a_line(options, message):
    recorder = Recorder()
    given = {
        "pretrained": PRETRAINED, "head": "head", "auxiliaries": ["one"], "train": recorder.train,
        "validate": recorder.validate, "runs": 1, **options,
    }  # fmt: skip
    with pytest.raises(ConfigError, match=message) as raised:
        Ratatouille(**given).cook("erm")
    assert "\n" not in str(raised.value)


def test_unknown_methods_are_named():
    with pytest.raises(ConfigError, match=r"swad: no such method. Known: erm, soup"):
        Recorder().recipe().cook("erm", "swad")


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda recipe: recipe.family("one"), "one: no such family. Known: pretrained, recycled, fused"),
        (lambda recipe: recipe.target("three", 0), "three: no such start. Known: pretrained, fused, one, two"),
        (lambda recipe: recipe.auxiliary("pretrained"), "pretrained: no such auxiliary task. Known: one, two"),
    ],
)
def test_what_is_asked_for_is_known(ask, message):
    recorder = Recorder()
    with pytest.raises(ConfigError, match=message):
        ask(recorder.recipe())
    assert recorder.calls == []


def test_no_test_set_can_be_given():
    """Choices are made by validate(weights); nothing else that could be looked at is taken."""
    import inspect

    taken = set(inspect.signature(Ratatouille.__init__).parameters)
    assert taken == {
        "self", "pretrained", "head", "auxiliaries", "train", "validate", "runs", "seed", "with_pretrained",
        "settings", "folder", "progress", "recompute",
    }  # fmt: skip
