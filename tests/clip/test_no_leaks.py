"""What a review found: rows of other splits in training, answers cut in two, palettes that look alike."""

import numpy as np
import pytest
from PIL import Image

from fmcompress.clip import EmbeddingSet, normalised
from fmcompress.clip.adapters import Adapter, Shape
from fmcompress.clip.cache import item_key
from fmcompress.clip.contrastive_adapter import ContrastiveAdapter
from fmcompress.clip.robust_run import parts_of
from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.language_model import Recorded, ScriptedLanguageModel

ROWS = normalised(np.random.default_rng(0).normal(size=(20, 4)))


def test_rows_of_val_and_test_are_not_trained_on_where_no_row_is_of_train():
    labels = np.arange(20) % 2
    splits = ("val",) * 10 + ("test",) * 10
    images = EmbeddingSet(ROWS, labels=labels, classes=("a", "b"), splits=splits)
    text = EmbeddingSet(ROWS[:2], names=("a", "b"))
    with pytest.raises(ConfigError, match="no row is of split 'train'"):
        parts_of(images, None, None, text)


def test_an_answer_with_a_line_separator_of_unicode_is_read_back(tmp_path):
    path = tmp_path / "answers.jsonl"
    first = Recorded(ScriptedLanguageModel(["one\u2028two\u0085three"]), path)
    assert first.generate(["p"]) == [["one\u2028two\u0085three"]]
    again = Recorded(ScriptedLanguageModel([]), path)
    assert again.generate(["p"]) == [["one\u2028two\u0085three"]]


def test_a_file_that_is_none_of_answers_is_left_as_it_is(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_text("first line\nlast line without an end")
    with pytest.raises(Exception, match="expected a JSON object"):
        Recorded(ScriptedLanguageModel([]), path)
    assert path.read_text() == "first line\nlast line without an end"


def test_equal_indices_of_two_palettes_are_two_images():
    images = []
    for colour in ((255, 0, 0), (0, 0, 255)):
        image = Image.new("P", (2, 2), 0)
        image.putpalette(list(colour))
        images.append(item_key(image, "image"))
    assert images[0] != images[1]


def test_an_adapter_leaves_the_global_generator_alone_and_tells_of_divergence():
    import torch

    before = torch.get_rng_state()
    Adapter(Shape(4, 3), seed=1)
    assert torch.equal(torch.get_rng_state(), before)
    labels = np.arange(20) % 2
    plan = ContrastiveAdapter(schedule="erm", hidden=3, epochs=5, learning_rate=1e30)
    with pytest.raises(CalibrationError, match="Lower learning_rate"):
        plan.fit(ROWS, labels, ROWS[:2], val=(ROWS, labels, labels))
