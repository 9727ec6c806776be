"""Robust methods side by side, on groups in the numbers of Waterbirds."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from robust_cases import TRAIN, waterbirds

from fmcompress.clip.contrastive_adapter import ContrastiveAdapter
from fmcompress.clip.embedding_set import EmbeddingSet
from fmcompress.clip.group_dro import GroupDro
from fmcompress.clip.groups import group_report
from fmcompress.clip.logistic import sparse_logistic
from fmcompress.clip.robust import METHODS, Part, compare_robust, report, train_robust
from fmcompress.errors import ConfigError


def test_methods_side_by_side() -> None:
    train, val, test, text = waterbirds(np.random.default_rng(0))
    found = compare_robust(train, val, test, text, plan=ContrastiveAdapter(epochs=30))
    assert tuple(found) == METHODS
    assert found["linear"].worst > found["zeroshot"].worst + 0.3
    for method in ("contrastive", "dfr", "groupdro"):
        assert found[method].worst > found["linear"].worst + 0.03
        assert found[method].worst > found["erm"].worst
    weights = np.array(TRAIN) / sum(TRAIN)
    accuracies = [group.accuracy for group in found["erm"].groups]
    assert found["erm"].adjusted == pytest.approx(weights @ accuracies)


def test_groups_of_train_are_needed_by_groupdro_alone() -> None:
    train, val, test, text = waterbirds(np.random.default_rng(0))
    unknown = replace(train, groups=None)
    plan = ContrastiveAdapter(epochs=1)
    for method in METHODS:
        if method != "groupdro":
            assert (
                report(train_robust(method, unknown, val, text, plan=plan).classifier, unknown, test).adjusted is None
            )
    with pytest.raises(ConfigError, match="train: groups are needed here"):
        train_robust("groupdro", unknown, val, text)
    with pytest.raises(ConfigError, match="val: groups are needed here"):
        train_robust("erm", train, replace(val, groups=None), text)
    with pytest.raises(ConfigError, match="method: expected one of"):
        train_robust("magic", train, val, text)


def test_groupdro_shifts_weight_to_what_loses() -> None:
    dro = GroupDro(np.array([0, 0, 1, 3]), step_size=0.5)
    np.testing.assert_allclose(dro.weights, [1 / 3, 1 / 3, 0, 1 / 3])
    logits = torch.tensor([[2.0, 0.0], [2.0, 0.0], [2.0, 0.0], [0.0, 0.0]])
    targets = torch.tensor([0, 1, 1, 0])
    loss = dro(logits, targets, np.array([0, 1, 2, 3]))
    each = torch.nn.functional.cross_entropy(logits, targets, reduction="none").numpy()
    means = np.array([each[:2].mean(), each[2], 0, each[3]])
    grown = np.array([1, 1, 0, 1]) / 3 * np.exp(0.5 * means)
    np.testing.assert_allclose(dro.weights, grown / grown.sum(), rtol=1e-6)
    assert float(loss) == pytest.approx(float(means @ (grown / grown.sum())), rel=1e-6)


def test_groupdro_of_step_0_is_the_mean_of_groups() -> None:
    dro = GroupDro(np.array([0, 0, 0, 1]), step_size=0)
    logits, targets = torch.randn(4, 3, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 1, 2, 0])
    each = torch.nn.functional.cross_entropy(logits, targets, reduction="none")
    assert float(dro(logits, targets, np.arange(4))) == pytest.approx(float((each[:3].mean() + each[3]) / 2))


@pytest.mark.parametrize("classes", [2, 3])
def test_sparse_logistic_is_optimal(classes: int) -> None:
    """Of a minimum of loss + |W| the gradient is -sign(W) where W is not 0, and within [-1, 1] where it is."""
    draw = np.random.default_rng(0)
    x, labels, c = draw.standard_normal((200, 10)), draw.integers(0, classes, 200), 0.1
    x[:, 0] += labels
    weight, bias = sparse_logistic(x, labels, classes, c, steps=20_000, tolerance=1e-12)
    logits = x @ weight.T + bias
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    away = c * (shares - np.eye(classes)[labels])
    gradient = away.T @ x
    used = weight != 0
    assert 0 < used.sum() < used.size
    np.testing.assert_allclose(gradient[used], -np.sign(weight[used]), atol=1e-5)
    assert abs(gradient[~used]).max() <= 1 + 1e-5
    np.testing.assert_allclose(away.sum(axis=0), 0, atol=1e-6)


def test_dfr_reads_no_labels_of_train() -> None:
    train, val, test, text = waterbirds(np.random.default_rng(0))
    shuffled = replace(train, labels=np.random.default_rng(1).permutation(train.labels))
    one, other = (train_robust("dfr", each, val, text).classifier.predict(test.vectors) for each in (train, shuffled))
    np.testing.assert_array_equal(one, other)


def test_parts_need_labels() -> None:
    vectors = np.eye(3)
    part = Part.of(EmbeddingSet(vectors, labels=np.array([0, 1, 0]), classes=("a", "b")), "train")
    assert part.groups is None
    for rows in (EmbeddingSet(vectors), EmbeddingSet(vectors, labels=np.array([0, -1, 0]), classes=("a",))):
        with pytest.raises(ConfigError, match="train: expected a label for every row"):
            Part.of(rows, "train")


def test_the_worst_group_selects_and_the_average_only_between_equals(monkeypatch: pytest.MonkeyPatch) -> None:
    import fmcompress.clip.contrastive_adapter as module

    train, val, _, text = waterbirds(np.random.default_rng(0))
    real = group_report(val.labels, val.labels, val.groups)
    scripted = iter([(0.1, 0.9), (0.6, 0.2), (0.6, 0.3), (0.5, 0.8)])  # worst and average after each epoch

    def told(*_: object) -> object:
        worst, average = next(scripted)
        return replace(real, worst=worst, average=average)

    monkeypatch.setattr(module, "group_report", told)
    plan = ContrastiveAdapter(schedule="erm", epochs=4, hidden=4)
    assert plan.fit(train.vectors, train.labels, text, val=(val.vectors, val.labels, val.groups)).best == 2


def test_dfr_is_balanced_by_group_and_judged_on_the_other_half(monkeypatch: pytest.MonkeyPatch) -> None:
    import fmcompress.clip.robust as module

    train, val, _, text = waterbirds(np.random.default_rng(0))
    order = np.concatenate([np.flatnonzero(val.groups == g)[:n] for g, n in enumerate((150, 20, 20, 150))])
    uneven = Part(val.vectors[order], val.labels[order], val.groups[order])
    fitted: list[Part] = []
    judged: list[tuple[Part, int]] = []
    fit, worst = module._fit, module._worst

    def spy_fit(part: Part, *rest: object) -> object:
        fitted.append(part)
        return fit(part, *rest)

    def spy_worst(head: object, part: Part) -> object:
        judged.append((part, len(fitted)))
        return worst(head, part)

    monkeypatch.setattr(module, "_fit", spy_fit)
    monkeypatch.setattr(module, "_worst", spy_worst)
    train_robust("dfr", train, uneven, text)
    for part in fitted:
        counts = np.bincount(part.groups, minlength=4)
        assert counts.min() == counts.max() > 0
    rows = {vector.tobytes() for vector in fitted[0].vectors}
    assert len(judged) == len(module.PENALTIES)
    assert all(not rows & {vector.tobytes() for vector in part.vectors} for part, _ in judged)


def test_dfr_is_standardised_by_the_rows_of_training() -> None:
    train, val, _, text = waterbirds(np.random.default_rng(0))
    narrow = Part(train.vectors.copy(), train.labels, train.groups)
    narrow.vectors[:] = train.vectors[0]  # no column varies: weights are of rows as they are
    one, other = (train_robust("dfr", each, val, text).classifier.weights for each in (train, narrow))
    assert abs(one - other).max() > 1e-3


def test_dfr_needs_rows_of_every_class() -> None:
    train, val, _, text = waterbirds(np.random.default_rng(0))
    some = val.labels == 0
    with pytest.raises(ConfigError, match="val: class 1 has no row"):
        train_robust("dfr", train, Part(val.vectors[some], val.labels[some], val.groups[some]), text)


def test_groupdro_adds_what_small_groups_are_owed() -> None:
    dro = GroupDro(np.array([0, 0, 0, 0, 1]), step_size=1.0, adjustment=2.0)
    logits, targets = torch.zeros(2, 2), torch.tensor([0, 0])
    dro(logits, targets, np.array([0, 4]))
    grown = np.exp(np.log(2) + np.array([2 / 2, 2 / 1]))  # C / sqrt(rows): 4 and 1
    np.testing.assert_allclose(dro.weights, grown / grown.sum(), rtol=1e-6)
