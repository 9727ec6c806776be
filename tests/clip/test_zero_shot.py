"""Classes by their names: prompts, ensembles, nearest rows, probabilities and how honest these are."""

import numpy as np
import pytest
from clip_cases import HashEncoder, unit_rows

from fmcompress.clip import (
    class_embeddings,
    expected_calibration_error,
    normalised,
    predict,
    probabilities,
    top_k,
    zero_shot,
)
from fmcompress.clip.zero_shot import FEW_CLASSES, _nearest, fill, top_k_accuracy
from fmcompress.errors import ConfigError

ENCODE = HashEncoder().encode_text


def test_templates_have_one_place():
    assert fill("a photo of a {}.", "cat") == fill("a photo of a {c}.", "cat") == "a photo of a cat."
    for template in ("a photo", "{} and {}"):
        with pytest.raises(ConfigError, match=r"expected one \{\} for the name"):
            fill(template, "cat")


def test_an_ensemble_is_the_normalised_mean():
    rows = class_embeddings(["cat", "dog"], ["a {}", "the {}"], ENCODE)
    for row, name in zip(rows, ["cat", "dog"], strict=True):
        assert abs(row - normalised(ENCODE([f"a {name}", f"the {name}"]).mean(0, keepdims=True))[0]).max() < 1e-7


def test_prompts_of_each_class_may_differ_in_number():
    rows = class_embeddings(["cat", "dog"], {"dog": ["x"], "cat": ["y", "z"], "cow": ["w"]}, ENCODE)
    assert abs(rows[1] - ENCODE(["x"])[0]).max() < 1e-7


@pytest.mark.parametrize(
    ("classes", "templates", "told"),
    [
        ([], ["{}"], "classes: expected different names, got 0"),
        (["a", "a"], ["{}"], "got 2 of which 1 differ"),
        (["a"], [], "templates: expected at least one"),
        (["a", "b"], {"a": ["x"], "b": []}, "class 'b' has no prompts"),
    ],
)
def test_classes_without_prompts_are_told(classes, templates, told):
    with pytest.raises(ConfigError, match=told):
        class_embeddings(classes, templates, ENCODE)


@pytest.mark.parametrize("chunk_rows", [1, 3, 1000])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_nearest_row_wins(chunk_rows, dtype):
    images, text = unit_rows(50, 16, dtype=dtype), unit_rows(7, 16, 1, dtype)
    expected = [max(range(7), key=lambda k: float(np.dot(image, text[k]))) for image in images]
    assert predict(images, text, chunk_rows=chunk_rows).tolist() == expected
    ranked, cosines = top_k(images, text, 3, chunk_rows=chunk_rows)
    assert ranked[:, 0].tolist() == expected
    assert (np.diff(cosines, axis=1) <= 0).all()
    assert abs(cosines - np.take_along_axis(images @ text.T, ranked, 1)).max() < 1e-6
    assert top_k_accuracy(ranked, ranked[:, 2]) == 1
    assert top_k_accuracy(ranked[:, :2], ranked[:, 2]) == 0


def test_of_equal_rows_the_first_wins():
    text = np.repeat(unit_rows(1), 3, axis=0)
    assert predict(unit_rows(9, seed=1), text).tolist() == [0] * 9
    assert top_k(unit_rows(2, seed=1), text, 3)[0].tolist() == [[0, 1, 2]] * 2


@pytest.mark.parametrize("classes", [1, FEW_CLASSES, FEW_CLASSES + 1])
@pytest.mark.parametrize("kinds", [(np.float32, np.float32), (np.float32, np.float64), (np.float64, np.float32)])
def test_few_and_many_classes_in_any_memory_agree(classes, kinds):
    images, text = unit_rows(50, 16, dtype=kinds[0]), unit_rows(classes, 16, 1, kinds[1])
    products = images.astype(float) @ text.astype(float).T
    for rows in (images, np.asfortranarray(images), np.repeat(images, 2, axis=0)[::2]):
        found, cosines = top_k(rows, text, 1)
        assert found[:, 0].tolist() == predict(rows, text).tolist() == products.argmax(1).tolist()
        assert cosines.dtype == np.result_type(*kinds)
        assert abs(cosines[:, 0] - products.max(1)).max() < 1e-6


@pytest.mark.parametrize("kinds", [(np.float32, np.float64), (np.float32, np.float32)])
def test_only_rows_as_they_lie_go_to_the_kernel(kinds, monkeypatch):
    """It would need a copy of all others."""
    images, text = unit_rows(9, dtype=kinds[0]), unit_rows(3, dtype=kinds[1])
    taken = []
    monkeypatch.setattr(zero_shot, "_nearest", lambda *both: taken.append(both) or _nearest(*both))
    predict(images, text)
    assert len(taken) == (kinds[0] == kinds[1])
    predict(np.asfortranarray(images), text)
    assert len(taken) == (kinds[0] == kinds[1])


def test_lengths_overflow_in_the_dtype_of_the_images():
    images = unit_rows(3)
    images[1] *= 1e30
    for kind in (np.float32, np.float64):
        with pytest.raises(ConfigError, match=r"images: expected finite numbers.* in 1 of 3 .*first is 1"):
            predict(images, unit_rows(2, dtype=kind))


def test_no_images_are_no_predictions():
    assert predict(np.empty((0, 8), np.float32), unit_rows(2)).shape == (0,)


def test_bad_rows_are_told_wherever_they_stand():
    images = unit_rows(3000)
    images[2999, 3] = np.nan
    for method in (predict, lambda *both: top_k(*both, 1)):
        with pytest.raises(ConfigError, match=r"images: expected finite numbers.* in 1 of 3000 .*first is 2999"):
            method(images, unit_rows(2))
    with pytest.raises(ConfigError, match="text: expected 8 columns, got 9"):
        predict(unit_rows(3), unit_rows(2, 9))
    with pytest.raises(ConfigError, match="text: expected at least one class"):
        predict(unit_rows(3), np.empty((0, 8)))
    with pytest.raises(ConfigError, match="top k: expected 1 to 2"):
        top_k(unit_rows(3), unit_rows(2), 3)


def test_both_heads_like_the_same_class_best_and_softmax_sums_to_one():
    images, text = unit_rows(40, 16), unit_rows(5, 16, 1)
    soft = probabilities(images, text, logit_scale=100.0)
    sigmoid = probabilities(images, text, logit_scale=10.0, logit_bias=-12.9, head="sigmoid")
    assert abs(soft.sum(1) - 1).max() < 1e-6
    assert (soft.argmax(1) == sigmoid.argmax(1)).all()
    assert abs(sigmoid - 1 / (1 + np.exp(12.9 - 10 * images.astype(float) @ text.T))).max() < 1e-6
    assert np.isfinite(probabilities(images, text, logit_scale=1e6, head="sigmoid")).all()
    assert np.isfinite(probabilities(images, text, logit_scale=1e6)).all()
    with pytest.raises(ConfigError, match="head: expected softmax or sigmoid"):
        probabilities(images, text, head="relu")


def test_calibration_error_by_hand():
    shares = np.array([[0.9, 0.1], [0.9, 0.1], [0.6, 0.4], [0.3, 0.7]])
    # confidences 0.9, 0.9 (one right), 0.6 (right), 0.7 (wrong), each in a bin of its own but the first two
    expected = (abs(1 - 1.8) + abs(1 - 0.6) + abs(0 - 0.7)) / 4
    assert expected_calibration_error(shares, [0, 1, 0, 0]) == pytest.approx(expected)
    edge = np.array([[0.6, 0.4], [0.55, 0.45]])  # of five bins 0.6 is the upper edge of the third
    assert expected_calibration_error(edge, [0, 1], bins=5) == pytest.approx(abs(1 - 1.15) / 2)
    assert expected_calibration_error(np.eye(3), [0, 1, 2]) == 0
    assert expected_calibration_error(np.eye(3), [1, 2, 0]) == 1
    with pytest.raises(ConfigError, match="probabilities: expected"):
        expected_calibration_error(shares * 2, [0, 1, 0, 0])
