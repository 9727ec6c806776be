"""Adapters: sizes, the contrastive loss, schedules, selection and files."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from robust_cases import waterbirds

from fmcompress.clip import group_report
from fmcompress.clip.adapters import Adapter, FittedAdapter, Shape, trainable
from fmcompress.clip.contrastive_adapter import ContrastiveAdapter
from fmcompress.clip.contrastive_loss import contrastive_loss
from fmcompress.clip.resampling import SCHEDULES, balanced_cells, fixed_cells, subsampled_errors, upsampled_errors
from fmcompress.errors import CheckpointError, ConfigError

QUICK = ContrastiveAdapter(epochs=4, hidden=16)


@pytest.fixture(scope="module")
def birds() -> tuple:
    train, val, _, text = waterbirds(np.random.default_rng(0))
    return (train.vectors, train.labels, text), (val.vectors, val.labels, val.groups)


@pytest.mark.parametrize(
    ("dim", "batch_norm", "expected"),
    [(1024, False, 263_296), (1024, True, 263_424), (768, False, 197_504), (512, False, 131_712)],
)
def test_parameter_counts(dim: int, batch_norm: bool, expected: int) -> None:
    assert trainable(Adapter(Shape(dim, batch_norm=batch_norm))) == expected


def test_residual_adds_its_input() -> None:
    x = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    plain, added = Adapter(Shape(8, 4)), Adapter(Shape(8, 4, residual=True))
    torch.testing.assert_close(added(x), plain(x) + x)
    assert not torch.equal(Adapter(Shape(8, 4), seed=1).up.weight, plain.up.weight)


def by_definition(a: np.ndarray, positives: np.ndarray, negatives: np.ndarray, t: float) -> float:
    def e(x: np.ndarray) -> float:
        return np.exp(a @ x / np.linalg.norm(a) / np.linalg.norm(x) / t)

    far = sum(e(x) for x in negatives)
    return float(np.mean([-np.log(e(x) / (e(x) + far)) for x in positives]))


def test_contrastive_loss_is_what_it_is_defined_as() -> None:
    draw = np.random.default_rng(0)
    a, p, n = draw.standard_normal((4, 6)), draw.standard_normal((4, 5, 6)), draw.standard_normal((4, 7, 6))
    expected = [by_definition(*each, 0.1) for each in zip(a, p, n, strict=True)]
    given = [torch.from_numpy(x) for x in (a, p, n)]
    np.testing.assert_allclose(contrastive_loss(*given), expected, rtol=1e-9)
    few_p, few_n = torch.arange(5) < 3, torch.arange(7) < 2
    masked = contrastive_loss(*given, positive_mask=few_p.expand(4, -1), negative_mask=few_n.expand(4, -1))
    expected = [by_definition(x, y[:3], z[:2], 0.1) for x, y, z in zip(a, p, n, strict=True)]
    np.testing.assert_allclose(masked, expected, rtol=1e-9)


def test_contrastive_loss_at_its_ends() -> None:
    a = torch.tensor([[1.0, 0.0]], dtype=torch.float64, requires_grad=True)
    same, apart = torch.tensor([[[1.0, 0.0]]]).double(), torch.tensor([[[-1.0, 0.0]]]).double()
    far = contrastive_loss(a, apart, same, 1e-4).detach()  # e^20000 overflows
    assert float(far) == pytest.approx(2e4)
    assert float(contrastive_loss(a, same, apart, 1e-4).detach()) == 0
    none = contrastive_loss(a, apart, same, negative_mask=torch.zeros(1, 1, dtype=torch.bool))
    assert float(none.detach()) == 0
    none.sum().backward()
    assert torch.isfinite(a.grad).all()


def test_what_cross_entropy_sees() -> None:
    draw = np.random.default_rng(0)
    labels = np.repeat([0, 1], [70, 30])
    predicted = np.concatenate([np.repeat([0, 1], [60, 10]), np.repeat([0, 1], [5, 25])])

    def cells(rows: np.ndarray) -> list[int]:
        return np.bincount(labels[rows] * 2 + predicted[rows], minlength=4).tolist()

    assert cells(fixed_cells(labels, predicted, 20, draw)) == [20] * 4
    assert len(set(fixed_cells(labels, predicted, 5, draw))) == 20
    even = cells(balanced_cells(labels, predicted, 0, draw))
    assert even[0] == even[1]
    assert even[2] == even[3]
    assert cells(upsampled_errors(labels, predicted, 0, draw)) == [60, 25, 60, 25]
    assert cells(subsampled_errors(labels, predicted, 0, draw)) == [5, 10, 5, 10]
    assert cells(SCHEDULES["errors"][0](labels, predicted, 0, draw)) == [0, 10, 5, 0]
    assert cells(SCHEDULES["erm"][0](labels, predicted, 0, draw)) == [60, 10, 5, 25]


@pytest.mark.parametrize("schedule", list(SCHEDULES))
def test_schedules(birds: tuple, schedule: str) -> None:
    train, val = birds
    fitted = replace(QUICK, schedule=schedule).fit(*train, val=val)
    kinds = [epoch.kind for epoch in fitted.history]
    expected = {"contrastive": ["contrastive"], "alternate": ["contrastive", "cross-entropy"]}
    cycle = expected.get(schedule.removesuffix("_balanced"), ["cross-entropy"])
    assert kinds == (cycle * 4)[:4]
    report = group_report(val[1], fitted.predict(val[0]), val[2])
    best = fitted.history[fitted.best]
    assert (report.worst, report.average) == (best.worst, best.average)
    assert (best.worst, best.average) == max((epoch.worst, epoch.average) for epoch in fitted.history)


def test_equal_seeds_give_equal_adapters(birds: tuple, tmp_path: Path) -> None:
    train, val = birds
    plan = replace(QUICK, batch_norm=True, residual=True)
    one, other = plan.fit(*train, val=val), plan.fit(*train, val=val)
    assert one.history == other.history
    one.save(tmp_path / "a.safetensors")
    read = FittedAdapter.load(tmp_path / "a.safetensors")
    np.testing.assert_array_equal(read.logits(val[0]), other.logits(val[0]))
    assert (read.history, read.best, read.adapter.shape) == (one.history, one.best, one.adapter.shape)
    assert replace(plan, seed=1).fit(*train, val=val).history != one.history
    np.testing.assert_allclose(np.linalg.norm(read.transform(val[0]), axis=1), 1, atol=1e-6)


def test_a_class_without_errors_is_told_of(birds: tuple) -> None:
    (x, y, text), val = birds
    right = (x @ text.T).argmax(axis=1) == y
    some = right | (y == 1)
    fitted = QUICK.fit(x[some], y[some], text, val=val)
    assert fitted.notes == ("class 0: no contrastive anchors, since zero-shot is right about all of its rows",)
    fitted = QUICK.fit(x[right], y[right], text, val=val)
    assert fitted.notes[-1] == "no contrastive anchors at all: trained by cross-entropy alone"
    assert {epoch.kind for epoch in fitted.history} == {"cross-entropy"}
    for schedule in ("contrastive", "errors"):
        with pytest.raises(ConfigError, match="zero-shot makes no errors"):
            replace(QUICK, schedule=schedule).fit(x[right], y[right], text, val=val)


def test_bad_input(birds: tuple, tmp_path: Path) -> None:
    (x, y, text), val = birds
    for told, call in (
        ("schedule: expected one of", lambda: ContrastiveAdapter(schedule="none")),  # type: ignore[arg-type]
        ("epochs: expected at least 1", lambda: ContrastiveAdapter(epochs=0)),
        ("embeddings: expected 32 columns", lambda: QUICK.fit(x[:, :8] * 2, y, text, val=val)),
        ("labels: expected numbers of 2 classes", lambda: QUICK.fit(x, y + 1, text, val=val)),
        ("labels of val", lambda: QUICK.fit(x, y, text, val=(val[0], y, val[2]))),
        ("activation: expected relu or gelu", lambda: Shape(8, activation="tanh")),  # type: ignore[arg-type]
        ("batch_norm: goes with relu", lambda: Shape(8, activation="gelu", batch_norm=True)),
    ):
        with pytest.raises(ConfigError, match=told):
            call()
    (tmp_path / "a.safetensors").write_bytes(b"no")
    with pytest.raises(CheckpointError, match="cannot be read as an adapter"):
        FittedAdapter.load(tmp_path / "a.safetensors")
