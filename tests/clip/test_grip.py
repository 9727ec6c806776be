"""The whole loop of pseudo-labels on matrices and on a tiny model: what each choice does, and what none may do."""

import itertools
import math

import numpy as np
import pytest
import torch
from prompt_cases import clip, clouds, digest, made

from fmcompress.clip.grip import fit
from fmcompress.clip.prompt_models import LinearPrompt
from fmcompress.clip.prompt_training import lr_factor
from fmcompress.clip.pseudolabel_config import PseudolabelConfig
from fmcompress.errors import CalibrationError, ConfigError

NAMES = tuple("abcd")
QUICK = {"epochs": 3, "warmup_epochs": 1, "iterations": 3, "batch_size": 8, "k": 4}
PARADIGMS, STRATEGIES = ("ssl", "trzsl", "ul"), ("fpl", "ifpl", "grip")


def run(paradigm="ul", strategy="grip", text=None, **options):
    own_text, images, labels = clouds()
    text = own_text if text is None else text
    if paradigm == "ul":
        return fit(
            LinearPrompt(text, 20.0), images, NAMES, paradigm=paradigm, strategy=strategy, **{**QUICK, **options}
        )
    rest = np.isin(labels, [2, 3]) if paradigm == "trzsl" else np.arange(len(labels)) >= 12
    return fit(
        LinearPrompt(text, 20.0), images[rest], NAMES, paradigm=paradigm, strategy=strategy,
        labelled=images[~rest], labels=labels[~rest], **{**QUICK, **options},
    )  # fmt: skip


def same(one, other):
    """Whether both took the same pseudo-labels and learned the same bits."""
    for a, b in zip(one.history, other.history, strict=True):
        if not (
            np.array_equal(a.labels.images, b.labels.images) and np.array_equal(a.labels.classes, b.labels.classes)
        ):
            return False
    state, other_state = one.model.state_dict(), other.model.state_dict()
    return all(torch.equal(state[name], other_state[name]) for name in state)


def test_the_rate_rises_and_falls_as_released():
    assert [lr_factor(epoch, 150) for epoch in (0, 1, 4, 5)] == [0, 0.2, 0.8, 1]
    assert lr_factor(150, 150) == pytest.approx(0, abs=1e-15)
    assert lr_factor(5 + 145 // 2, 150) == pytest.approx(0.5 * (1 + math.cos(math.pi * 72 / 145)))
    assert lr_factor(0, 10, 0) == 1


def test_defaults_are_those_of_the_released_code():
    config = PseudolabelConfig()
    assert (config.k, config.iterations, config.epochs, config.batch_size) == (16, 10, 150, 16)
    assert (config.weight_decay, config.warmup_epochs, config.weighting) == (0.1, 5, "paper")
    assert LinearPrompt.lr == 0.1


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_strategies_take_as_many_pseudo_labels_as_they_promise(paradigm):
    targets = 2 if paradigm == "trzsl" else 4
    count = {"ul": 100, "ssl": 88, "trzsl": 50}[paradigm]
    step = count // 3
    grip = [i * step // targets for i in (1, 2, 3)]
    for strategy, ks in (("fpl", [4]), ("ifpl", [4, 4, 4]), ("grip", grip)):
        history = run(paradigm, strategy).history
        assert [one.k for one in history] == ks
        assert [len(one.labels) for one in history] == [k * targets for k in ks]


@pytest.mark.parametrize("paradigm", PARADIGMS)
def test_one_iteration_of_equal_k_is_the_same_whatever_the_strategy(paradigm):
    k = {"ul": 25, "ssl": 22, "trzsl": 25}[paradigm]
    results = [run(paradigm, strategy, k=k, iterations=1) for strategy in STRATEGIES]
    assert same(results[0], results[1])
    assert same(results[0], results[2])


def test_without_labels_the_truth_decides_nothing():
    _, images, labels = clouds()
    wrong = np.random.default_rng(1).permutation(labels)
    one = run(truth=labels, evaluate=(images, labels))
    other = run(truth=wrong, evaluate=(images, wrong))
    assert same(one, other)
    assert one.history[0].label_accuracy != other.history[0].label_accuracy


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_trzsl_labels_no_image_as_of_a_seen_class(strategy):
    found = run("trzsl", strategy)
    assert found.seen == (0, 1)
    for one in found.history:
        assert set(one.labels.classes.tolist()) <= {2, 3}


def test_grip_gains_where_clouds_are_apart_and_text_is_off():
    """Zero-shot text that is off by as much as the clouds are apart; nearly all labels are true in the end."""
    text, _, _ = clouds(off=1.3)
    _, images, labels = clouds(seed=5)
    found = run(
        text=text, epochs=30, iterations=4, truth=clouds()[2], evaluate=(images, labels), lr=0.5, weight_decay=0.0
    )
    assert found.zero_shot.accuracy < 0.9
    assert found.history[-1].evaluation.accuracy >= found.zero_shot.accuracy + 0.1
    assert found.history[-1].label_accuracy > 0.95
    assert found.evaluate(images, labels) == found.history[-1].evaluation


def test_accuracy_by_class_is_counted_on_that_classes_pseudo_labels():
    _, _, labels = clouds()
    one = run("ul", "fpl", truth=labels).history[0]
    for number in range(4):
        chosen = one.labels.classes == number
        assert one.class_accuracy[number] == (labels[one.labels.images[chosen]] == number).mean()
    assert one.label_accuracy == pytest.approx(np.mean(one.class_accuracy))
    _, _, rest = clouds()
    unseen = run("trzsl", "fpl", truth=rest[np.isin(rest, [2, 3])]).history[0]
    assert np.isnan(unseen.class_accuracy[:2]).all()
    assert not np.isnan(unseen.class_accuracy[2:]).any()


def test_a_seen_and_unseen_evaluation_adds_up():
    text, images, labels = clouds(off=1.3)
    found = run("trzsl", text=text, evaluate=(images, labels))
    told, right = found.evaluate(images, labels), found.predict(images) == labels
    assert told.seen == right[labels < 2].mean()
    assert told.unseen == right[labels >= 2].mean()
    assert told.harmonic == pytest.approx(2 * told.seen * told.unseen / (told.seen + told.unseen))
    assert told.score == told.harmonic
    assert told.accuracy == right.mean()
    with pytest.raises(ConfigError, match="an unseen class"):
        found.evaluate(images[labels < 2], labels[labels < 2])


def test_weights_are_the_papers_unless_the_released_ones_are_asked_for():
    def weights(**options):
        return PseudolabelConfig(**options).loss_weights(20, 100)

    assert weights(paradigm="ssl", strategy="grip") == (5, 1)
    assert weights(paradigm="ssl", strategy="grip", weighting="released") == (0.2, 1)
    assert weights(paradigm="ssl", strategy="ifpl", weighting="released") == (0.2, 1)
    assert weights(paradigm="ssl", strategy="fpl", weighting="released") == (5, 1)
    for weighting in ("paper", "released"):
        assert weights(paradigm="trzsl", weighting=weighting) == (1, 0.2)
    assert PseudolabelConfig(paradigm="ul").loss_weights(0, 100) == (0, 1)
    assert not same(run("ssl"), run("ssl", weighting="released"))
    assert same(run("trzsl"), run("trzsl", weighting="released"))


def test_equal_seeds_give_equal_bits_and_others_do_not():
    assert same(run(), run())
    assert not same(run(), run(seed=1))


def test_without_reinit_an_iteration_begins_where_the_last_ended():
    first = run(strategy="ifpl", iterations=1)
    state = {name: values.clone() for name, values in first.model.state_dict().items()}
    starts = []

    class Watched(LinearPrompt):
        def logits(self, images, classes):
            starts.append(self.residual.detach().clone())
            return super().logits(images, classes)

    text, images, _ = clouds()
    for reinit in (True, False):
        starts.clear()
        fit(Watched(text, 20.0), images, NAMES, strategy="ifpl", reinit=reinit, **{**QUICK, "iterations": 2})
        trained = [one for one in starts if torch.equal(one, state["residual"])]
        steps = 3 * -(-16 // 8)  # of an iteration; then comes the labelling, and then the next one's first step
        assert torch.equal(starts[steps + 1], torch.zeros_like(state["residual"])) == reinit
        assert len(trained) == (1 if reinit else 1 + 2 + 1)  # labelling, and two steps that stand still before one


def test_held_out_pseudo_labels_are_measured_and_not_trained_on():
    trained = []

    class Counting(LinearPrompt):
        def logits(self, images, classes):
            trained.extend([len(images)] if torch.is_grad_enabled() else [])
            return super().logits(images, classes)

    text, images, _ = clouds()
    for k, validation, used in ((12, 0.0, 48), (12, 0.2, 39), (9, 0.2, 36)):  # of few none are held out, as released
        trained.clear()
        options = {**QUICK, "k": k, "validation": validation}
        one = fit(Counting(text, 20.0), images, NAMES, strategy="fpl", **options).history[0]
        assert sum(trained) == 3 * used
        assert len(one.labels) == 4 * k
        assert (one.validation_accuracy is None) == (used == 4 * k)


@pytest.mark.parametrize("paradigm", ["ssl", "trzsl"])
def test_the_baseline_uses_labelled_images_alone(paradigm):
    found = run(paradigm, "labelled")
    assert [(one.k, len(one.labels)) for one in found.history] == [(0, 0)]
    residual = found.model.state_dict()["residual"]
    assert residual[:2].abs().sum() > 0
    assert (residual[2:].abs().sum() == 0) == (paradigm == "trzsl")  # it tells seen classes apart, as released


def test_the_observer_sees_every_epoch():
    told = []
    found = run(strategy="ifpl", observer=lambda *seen: told.append(seen))
    assert [one[:3] for one in told] == [(i, 3, epoch) for i in range(3) for epoch in range(3)]
    assert [one[3] for one in told] == [loss for one in found.history for loss in one.losses]


COMBINATIONS = list(itertools.product(("text", "image", "multimodal"), PARADIGMS, STRATEGIES))


@pytest.mark.parametrize(("modality", "paradigm", "strategy"), COMBINATIONS)
def test_all_27_combinations_change_the_prompt_and_nothing_else(modality, paradigm, strategy):
    model = clip()
    prompt, _ = made(modality, model)
    before, start = digest(model), [p.detach().clone() for p in prompt.parameters()]
    generator = torch.Generator().manual_seed(4)
    images = torch.randn(16, 3, 16, 16, generator=generator, dtype=torch.float64)
    if prompt.takes == "embeddings":
        images = torch.nn.functional.normalize(model.get_image_features(pixel_values=images).pooler_output, dim=-1)
    known = (
        {}
        if paradigm == "ul"
        else {"labelled": images[:4], "labels": [0, 1, 0, 1] if paradigm == "trzsl" else [0, 1, 2, 3]}
    )
    found = fit(
        prompt, images[4:] if known else images, NAMES, paradigm=paradigm, strategy=strategy,
        evaluate=(images[:4], [0, 1, 2, 3]), epochs=2, warmup_epochs=1, iterations=2, k=2, **known,
    )  # fmt: skip
    assert digest(model) == before
    assert len(found.history) == (1 if strategy == "fpl" else 2)
    assert not all(torch.equal(a, b) for a, b in zip(start, prompt.parameters(), strict=True))
    assert all(p.grad is None for p in model.parameters())
    assert (found.history[-1].evaluation.harmonic is None) == (paradigm != "trzsl")


def test_a_loss_that_grows_without_end_is_told():
    with pytest.raises(CalibrationError, match=r"the loss is (nan|inf)"):
        run(lr=1e300, epochs=5)


def test_the_first_prompt_is_the_seeds():
    """With a rate too low to move anything, what remains is where training began."""
    from prompt_cases import clip, made

    images = torch.nn.functional.normalize(torch.randn(8, 12, generator=torch.Generator().manual_seed(0)), dim=1)
    for seed in (0, 3):
        model, _ = made("text", clip())
        fit(model, images.double(), NAMES, strategy="fpl", k=1, seed=seed, lr=1e-12, epochs=2, warmup_epochs=0)
        left = model.context.detach().clone()
        model.reset(torch.Generator().manual_seed(seed))
        assert torch.allclose(left, model.context, rtol=0, atol=1e-9)
        model.reset(torch.Generator().manual_seed(seed + 1))
        assert not torch.allclose(left, model.context, rtol=0, atol=1e-3)
