"""What fit refuses, in one line each."""

import numpy as np
import pytest
from prompt_cases import clip, clouds, made

from fmcompress.clip.grip import fit
from fmcompress.clip.prompt_models import LinearPrompt
from fmcompress.errors import ConfigError

NAMES = tuple("abcd")
QUICK = {"epochs": 3, "warmup_epochs": 1, "iterations": 3, "batch_size": 8, "k": 4}
LABELLED = {"paradigm": "ssl", "labelled": clouds()[1][:8], "labels": clouds()[2][:8]}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"labelled": np.eye(12), "labels": np.zeros(12, int)}, "labels: ul uses none"),
        ({"paradigm": "ssl"}, "ssl needs labelled images"),
        ({"paradigm": "ssl", "labels": [0]}, "one without the other"),
        ({**LABELLED, "labels": np.full(8, 4)}, "numbers of 4 classes"),
        ({**LABELLED, "labelled": np.eye(5)}, "expected 12 columns"),
        ({"paradigm": "trzsl", "labelled": clouds()[1][:99], "labels": clouds()[2][:99]}, "fewer than all of 4"),
        (
            {"paradigm": "trzsl", "labelled": np.eye(12)[:2], "labels": [0, 1], "seen": [1, 2]},
            "the 2 classes of the labels",
        ),
        ({"truth": [0]}, "truth: expected 100"),
        ({"evaluate": (np.eye(12), [0])}, "labels to evaluate on: expected 12"),
        ({"evaluate": (np.ones((2, 12)), [0, 1])}, "rows of length 1"),
        ({"names": ("a", "b")}, "classes: expected 4 different names"),
        ({"names": ("a", "b", "b", "c")}, "classes: expected 4 different names"),
        ({"iterations": 101}, "unlabelled: expected at least one image"),
        ({"epochs": 1, "warmup_epochs": 1}, "warmup_epochs: expected fewer than 1"),
        ({"k": 0}, "k: expected a whole number from 1"),
        ({"seed": 0.5}, "seed: expected a whole number"),
        ({"lr": 0}, "lr: expected a number above 0"),
        ({"weight_decay": -1}, "weight_decay: expected a number from 0"),
        ({"validation": 1}, "validation: expected a number from 0 to below 1"),
        ({"paradigm": "all"}, "paradigm: expected one of ssl, trzsl, ul"),
        ({"select": "topk"}, "select: expected one of column_topk"),
        ({"strategy": "labelled"}, "labelled needs labels"),
        ({"shots": 2}, "shots: no such option"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(options, told):
    text, images, _ = clouds()
    options = {**QUICK, **options}
    with pytest.raises(ConfigError, match=told) as error:
        fit(LinearPrompt(text, 20.0), images, options.pop("names", NAMES), **options)
    assert "\n" not in str(error.value)


def test_pixels_are_checked_too():
    prompt, images = made("image", clip())
    for wrong in (images[0], images.long(), images * float("nan")):
        with pytest.raises(ConfigError, match="expected pixels"):
            fit(prompt, wrong, NAMES, **QUICK)
    with pytest.raises(ConfigError, match="as the unlabelled"):
        fit(prompt, images, NAMES, paradigm="ssl", labelled=images[..., :8], labels=[0, 1, 2], **QUICK)
