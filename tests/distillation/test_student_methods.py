"""What each method learns of an example, what it leaves out, and how the parts weigh."""

from dataclasses import replace

import pytest
import torch
from student_cases import SUMS, gradients, objective

from fmcompress.distillation.examples import Example
from fmcompress.distillation.methods import StudentPrompts, label_in, label_source, rows_of, weights_of
from fmcompress.distillation.splits import training_examples, validation_examples
from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.training.text_rows import Row

ONE = Example("1 + 2", "3", "2 after 1 is 3", "4")


def learned(method, example=ONE, **settings):
    rows = rows_of([example], method, StudentPrompts(), **settings)
    return [(row.prompt, row.completion, row.part) for some in rows.examples for row in some]


def test_each_method_learns_what_its_name_says():
    label, why = ("predict: 1 + 2", "3", "label"), ("explain: 1 + 2", "2 after 1 is 3", "rationale")
    assert learned("fine-tuning") == [label]
    assert learned("distillation") == [("predict: 1 + 2", "4", "label")]
    assert learned("step-by-step") == [label, why]
    assert learned("step-by-step", labels="teacher") == [("predict: 1 + 2", "4", "label"), why]
    assert learned("rationale-then-label") == [("predict: 1 + 2", "2 after 1 is 3 So the answer is 3", "label")]


def test_a_student_without_an_encoder_knows_where_its_input_ends():
    prompts = StudentPrompts("label: ", "why: ", "\nAnswer:")
    (rows,) = rows_of([ONE], "step-by-step", prompts).examples
    assert rows == (Row("label: 1 + 2\nAnswer:", " 3"), Row("why: 1 + 2\nAnswer:", " 2 after 1 is 3", "rationale"))
    assert StudentPrompts(separator="\n").completion("3") == "3"


@pytest.mark.parametrize(
    ("method", "label", "rationale", "rows", "left_out"),
    [
        ("step-by-step", None, "why", {"rationale_rows": 1}, 0),
        ("step-by-step", "3", None, {"label_rows": 1}, 0),
        ("step-by-step", "3", "  ", {"label_rows": 1}, 0),
        ("step-by-step", None, None, {}, 1),
        ("fine-tuning", None, "why", {}, 1),
        ("distillation", "3", "why", {}, 1),  # no teacher's label
        ("rationale-then-label", "3", None, {}, 1),
        ("rationale-then-label", None, "why", {}, 1),
    ],
)
def test_what_is_missing_is_counted_and_never_learned(method, label, rationale, rows, left_out):
    got = rows_of([Example("x", label, rationale), *SUMS], method, StudentPrompts()).counts
    both = {"label_rows": 16, **({"rationale_rows": 16} if method == "step-by-step" else {})}
    assert {name: got.get(name, 0) - each for name, each in both.items()} == {name: rows.get(name, 0) for name in both}
    assert (got["examples"], got["left_out"]) == (17, left_out)
    wanted = "teacher_label" if method == "distillation" else label
    assert got["without_label"] == (wanted in (None, "teacher_label"))
    assert got.get("without_rationale", 0) == (method not in ("fine-tuning", "distillation") and rationale != "why")


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_alpha_of_one_is_plain_fine_tuning_bit_for_bit(kind):
    bare = [replace(one, rationale=None) for one in SUMS[:3]] + SUMS[3:]
    ours = gradients(objective(kind, alpha=1.0, examples=bare, batch_size=8))
    theirs = gradients(objective(kind, "fine-tuning", examples=bare, batch_size=8))
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)
    other = gradients(objective(kind, alpha=0.9, examples=bare, batch_size=8))
    assert not all(torch.equal(other[name], theirs[name]) for name in theirs)


@pytest.mark.parametrize("kind", ["t5", "llama"])
def test_gradients_are_linear_in_alpha_and_the_papers_are_twice_the_codes(kind):
    label, why, half, paper = (
        gradients(objective(kind, **given))
        for given in ({"alpha": 1.0}, {"alpha": 0.0}, {"alpha": 0.25}, {"weight": 1.0})
    )
    scale = max(float(one.abs().max()) for one in paper.values())
    for name in half:
        torch.testing.assert_close(half[name], 0.25 * label[name] + 0.75 * why[name], atol=1e-5 * scale, rtol=0)
        torch.testing.assert_close(paper[name], label[name] + why[name], atol=1e-5 * scale, rtol=0)


def test_weights_and_labels_that_mean_nothing_are_told():
    for wrong in ({"alpha": 1.5}, {"alpha": float("nan")}, {"rationale_weight": -1.0}):
        with pytest.raises(ConfigError, match="alpha, rationale weight: expected"):
            weights_of("step-by-step", **wrong)
    for method, labels, other in (("distillation", "gold", "fine-tuning"), ("fine-tuning", "teacher", "distillation")):
        with pytest.raises(ConfigError, match=f"Choose --method {other}"):
            label_source(method, labels)


def test_a_label_is_read_from_what_was_written():
    assert label_in(" 3 ", StudentPrompts()) == "3"
    assert label_in("  ", StudentPrompts()) is None
    single = StudentPrompts(single=True)
    assert label_in("So the answer is 2, or So the answer is 3\n", single) == "3"
    assert label_in("3", single) is None


def test_larger_fractions_hold_smaller_ones_and_no_other_split():
    many = [Example(str(place), split=("train", None, "valid", "test")[place % 4]) for place in range(80)]
    shares = [training_examples(many, fraction, 3) for fraction in (0.05, 0.3, 1.0)]
    assert [len(share) for share in shares] == [2, 12, 40]
    assert {*shares[0]} < {*shares[1]} < {*shares[2]}
    assert {one.split for one in shares[2]} == {"train", None}
    assert shares[1] == sorted(shares[1], key=many.index)
    assert shares[1] != training_examples(many, 0.3, 4)
    assert validation_examples([*many, replace(many[2], label="1")]) == [replace(many[2], label="1")]
    with pytest.raises(CalibrationError, match="no example is of"):
        training_examples([Example("1", "1", split="test")])
