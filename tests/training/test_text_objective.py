"""The loss over rows of text: parts, weights, micro-batches, and what a model is given."""

import pytest
import torch
from text_cases import EXAMPLES, objective, tokenizer
from torch.nn.functional import cross_entropy

from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.training.text_objective import TextObjective
from fmcompress.training.text_rows import IGNORED, Row, RowTokenizer

KINDS = ["t5", "llama"]


def gradients(what, step=0):
    what.model.zero_grad()
    for losses in what.losses(step):
        sum(losses.values()).backward()
    return {name: one.grad.clone() for name, one in what.model.named_parameters() if one.grad is not None}


def close(a, b, tolerance=1e-5):
    assert a.keys() == b.keys()
    scale = max(float(one.abs().max()) for one in a.values())
    for name in a:
        assert float((a[name] - b[name]).abs().max()) <= tolerance * scale, name


@pytest.mark.parametrize("kind", KINDS)
def test_weight_of_one_is_plain_fine_tuning_bit_for_bit(kind):
    both = objective(kind, {"label": 1.0, "why": 0.0})
    words = tokenizer()
    plain = TextObjective(objective(kind).model, words, [rows[:1] for rows in EXAMPLES], {"label": 1.0})
    ours, theirs = gradients(both), gradients(plain)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_linear_in_the_weights(kind):
    label, why = (gradients(objective(kind, {part: 1.0})) for part in ("label", "why"))
    for alpha in (0.25, 0.5, 0.9):
        mixed = gradients(objective(kind, {"label": alpha, "why": 1 - alpha}))
        close(mixed, {name: alpha * label[name] + (1 - alpha) * why[name] for name in label})


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("micro", [1, 5, 8])
def test_micro_batches_add_up_to_the_large_batch(kind, micro):
    close(gradients(objective(kind, micro_batch=micro)), gradients(objective(kind)))


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_a_part_is_the_mean_over_its_tokens_of_what_the_model_itself_says(kind):
    what = objective(kind, {"why": 1.0}, batch_size=3)
    (losses,) = list(what.losses(2))
    total, count = 0.0, 0
    for row in what.drawn(2):  # one at a time, without padding
        batch = what.tokenizer.batch([row], torch.device("cpu"))
        logits = what.model(**batch.inputs).logits[0]
        targets = torch.tensor(row.completion)
        total += float(cross_entropy(logits[-len(targets) :], targets, reduction="sum").detach())
        count += len(targets)
    assert float(losses["why"].detach()) == pytest.approx(total / count, rel=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_learned_is_what_is_asked_later(kind):
    """Prompt and completion have the tokens that TransformersLanguageModel gives and expects."""
    words = tokenizer()
    model = objective(kind).model
    row = RowTokenizer(model, words).tokens(Row("predict: 1 + 2", " 3", "label"))
    assert words.decode(row.prompt, skip_special_tokens=True).strip() == "predict: 1 + 2"
    assert words.decode(row.completion) == "3</s>" or words.decode(row.completion) == " 3</s>"
    batch = RowTokenizer(model, words).batch([row], torch.device("cpu"))
    counted = batch.labels[batch.labels != IGNORED]
    assert counted.tolist() == list(row.completion)
    if kind == "llama":  # the label of a position is the token after it
        whole = [*row.prompt, *row.completion]
        assert batch.inputs["input_ids"][0].tolist() == whole[:-1]
        assert batch.labels[0].tolist() == [IGNORED] * (len(row.prompt) - 1) + list(row.completion)
    else:
        assert batch.inputs["decoder_input_ids"][0].tolist() == [words.pad_token_id, *row.completion[:-1]]


def test_each_example_comes_once_an_epoch_with_all_its_rows():
    what = objective(batch_size=4)
    seen = [row for step in range(4) for row in what.drawn(step)]
    assert len(seen) == 32
    assert len(set(seen)) == 32
    assert what.drawn(4) != what.drawn(0)  # another order


@pytest.mark.parametrize("kind", KINDS)
def test_what_has_no_room_is_cut_and_counted(kind):
    what = objective(kind, longest_prompt=3, longest_completion=2)
    assert what.cut == 32
    assert all(len(row.prompt) <= 3 and len(row.completion) <= 2 for rows in what.examples for row in rows)
    assert objective(kind).cut == 0


def test_nothing_to_learn_from_is_told():
    words = tokenizer()
    model = objective().model
    with pytest.raises(CalibrationError, match="none has anything"):
        TextObjective(model, words, EXAMPLES, {"other": 1.0})
    with pytest.raises(CalibrationError, match="expected a text"):
        TextObjective(model, words, [[Row("predict: 1", "", "label")]], {"label": 1.0})
    with pytest.raises(ConfigError, match="weights"):
        TextObjective(model, words, EXAMPLES, {"label": -1.0})
    with pytest.raises(ConfigError, match="micro"):
        TextObjective(model, words, EXAMPLES, {"label": 1.0}, micro_batch=0)
