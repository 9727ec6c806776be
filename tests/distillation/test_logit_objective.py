"""The loss from a teacher's logits: against loops in float64, its gradient, and who may teach whom."""

import math

import pytest
import torch
from recover_cases import checkpoint, tokenizer_of

from fmcompress.distillation.logit_objective import (
    LogitObjective,
    TeacherModel,
    divergence,
    shared_vocabulary,
    top_k_divergence,
)
from fmcompress.distillation.top_k_code import TopK, top_k
from fmcompress.errors import CheckpointError, ConfigError
from fmcompress.training.start import load_trainable


def drawn(rows=6, vocabulary=11, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [3 * torch.randn(rows, vocabulary, generator=generator, dtype=torch.float64) for _ in range(2)]


def softmax(row):
    highest = max(row)
    weights = [math.exp(value - highest) for value in row]
    return [weight / sum(weights) for weight in weights]


def golden(student, teacher, temperature, kept=None):
    """KL in loops; with `kept` tokens of each row one by one and the others as one outcome."""
    found = []
    for number, (theirs, own) in enumerate(zip(teacher.tolist(), student.tolist(), strict=True)):
        p, q = softmax([v / temperature for v in theirs]), softmax([v / temperature for v in own])
        if kept is not None:
            some = kept[number].tolist()
            others = [i for i in range(len(p)) if i not in some]
            p = [p[i] for i in some] + [sum(p[i] for i in others)]
            q = [q[i] for i in some] + [sum(q[i] for i in others)]
        found.append(temperature**2 * sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0))
    return torch.tensor(found, dtype=torch.float64)


@pytest.mark.parametrize("temperature", [1.0, 0.5, 3.0])
def test_the_divergence_is_that_of_the_loops(temperature):
    student, teacher = drawn()
    found = divergence(student, teacher, temperature)
    assert torch.allclose(found.double(), golden(student, teacher, temperature), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 2.0])
@pytest.mark.parametrize("k", [1, 4, 10])
def test_the_rest_is_one_outcome(k, temperature):
    student, teacher = drawn()
    known = top_k(teacher, k, temperature)
    found = top_k_divergence(student, known, temperature)
    assert torch.allclose(found.double(), golden(student, teacher, temperature, known.ids), rtol=1e-4, atol=1e-6)
    assert bool((found <= divergence(student, teacher, temperature) + 1e-5).all())


def test_all_tokens_are_the_whole_divergence():
    student, teacher = drawn()
    found = top_k_divergence(student, top_k(teacher, teacher.shape[1], 1.5), 1.5)
    assert torch.allclose(found, divergence(student, teacher, 1.5), rtol=1e-4, atol=1e-6)


def test_a_student_that_says_the_same_has_nothing_to_learn():
    _student, teacher = drawn()
    assert float(divergence(teacher, teacher).abs().max()) < 1e-6
    assert float(top_k_divergence(teacher + 5, top_k(teacher, 3)).abs().max()) < 1e-5


@pytest.mark.parametrize("k", [3, 7])
def test_gradients_are_those_of_small_changes(k):
    student, teacher = drawn(rows=2, vocabulary=7, seed=1)
    known = top_k(teacher, k)
    student.requires_grad_(True)
    top_k_divergence(student, known).sum().backward()
    for place in [(0, 0), (1, 3), (1, 6)]:
        step = torch.zeros_like(student)
        step[place] = 1e-3
        kept = known.ids
        up, down = (golden(student.detach() + s, teacher, 1.0, kept).sum() for s in (step, -step))
        assert float(student.grad[place]) == pytest.approx(float(up - down) / 2e-3, abs=1e-4)


def test_what_the_teacher_rules_out_costs_nothing_and_breaks_no_gradient():
    student, teacher = drawn()
    teacher[:, 5:] = -torch.inf
    student.requires_grad_(True)
    for found in (divergence(student, teacher), top_k_divergence(student, top_k(teacher, 5))):
        assert bool(found.isfinite().all())
        (gradient,) = torch.autograd.grad(found.sum(), student)
        assert bool(gradient.isfinite().all())
    nothing_left = TopK(torch.tensor([[1, 2]]), torch.tensor([[0.5, 0.5]]).log(), torch.tensor([-torch.inf]))
    assert float(top_k_divergence(torch.zeros(1, 4), nothing_left)) == pytest.approx(math.log(2), rel=1e-5)


def losses_and_gradients(what, step=0):
    what.model.zero_grad()
    sums = {}
    for losses in what.losses(step):
        sum(losses.values()).backward()
        for name, value in losses.items():
            sums[name] = sums.get(name, 0.0) + float(value.detach())
    return sums, {n: one.grad.clone() for n, one in what.model.named_parameters() if one.grad is not None}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("models")
    student, _ = load_trainable(checkpoint(folder / "student", seed=1))
    teacher, _ = load_trainable(checkpoint(folder / "teacher", seed=2))
    return student, teacher.requires_grad_(False)


def objective(models, weight, **options):
    student, teacher = models
    windows = torch.randint(2048, (10, 12), generator=torch.Generator().manual_seed(0))
    return LogitObjective(
        student, windows, TeacherModel(teacher), vocabulary=2048, teacher_weight=weight, batch_size=4, **options
    )


def test_the_losses_mix_by_their_weight(models):
    (only, teacher_gradients), (text, text_gradients) = (losses_and_gradients(objective(models, w)) for w in (1.0, 0.0))
    assert only.keys() == {"teacher"}
    assert text.keys() == {"text"}
    mixed, gradients = losses_and_gradients(objective(models, 0.25))
    assert mixed["teacher"] == pytest.approx(0.25 * only["teacher"], rel=1e-5)
    assert mixed["text"] == pytest.approx(0.75 * text["text"], rel=1e-5)
    for name, one in gradients.items():
        expected = 0.25 * teacher_gradients[name] + 0.75 * text_gradients[name]
        assert torch.allclose(one, expected, rtol=1e-3, atol=1e-6), name


def test_micro_batches_add_up(models):
    whole, split = objective(models, 0.5), objective(models, 0.5)
    split.micro_batch = 3
    (one, gradients), (other, same) = losses_and_gradients(whole, 3), losses_and_gradients(split, 3)
    assert one == pytest.approx(other, rel=1e-5)
    assert all(torch.allclose(gradients[name], same[name], rtol=1e-3, atol=1e-6) for name in gradients)


def test_weights_that_are_none_are_told(models):
    with pytest.raises(ConfigError, match="teacher weight"):
        objective(models, 1.5)
    with pytest.raises(ConfigError, match="temperature"):
        objective(models, 0.5, temperature=0.0)
    with pytest.raises(ConfigError, match="without a teacher"):
        LogitObjective(models[0], torch.zeros(2, 4).long(), None, vocabulary=2048, teacher_weight=0.5)


def test_models_padded_to_other_sizes_share_the_smaller_one(tmp_path):
    words = tokenizer_of(checkpoint(tmp_path / "model"))
    assert shared_vocabulary(words, words, (2064, 2048), ("a", "b")) == 2048
    assert shared_vocabulary(words, words, (2048, 2100), ("a", "b")) == 2048
    with pytest.raises(CheckpointError, match="b: expected logits of all"):
        shared_vocabulary(words, words, (2048, 100), ("a", "b"))
    other = tokenizer_of(checkpoint(tmp_path / "other", own_tokenizer=True))
    with pytest.raises(CheckpointError, match="other tokens"):
        shared_vocabulary(words, other, (2048, 2048), ("a", "b"))
