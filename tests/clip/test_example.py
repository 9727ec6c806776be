"""The example's seeded table and the measurement of compression, shortened so that they run in every test run."""

import sys

import numpy as np
import pytest
from conftest import ROOT

from fmcompress.clip import normalised

pytest.importorskip("sklearn")
sys.path.insert(0, str(ROOT / "examples" / "clip"))

import digits
import table
import train


def test_the_usual_colour_is_as_usual_as_was_asked_for_and_only_in_training():
    splits = digits.split(*digits.read(None), seed=3)
    usual = [(part.colours == digits.usual_colour(part.labels)).mean() for part in (splits.encoder, splits.test)]
    assert 0.92 < usual[0] < 0.98
    assert 0.4 < usual[1] < 0.6
    red, green = (splits.test.pixels[splits.test.colours == number] for number in (0, 1))
    assert red[..., 0].sum() > red[..., 1].sum()
    assert green[..., 1].sum() > green[..., 0].sum()


def test_no_image_is_in_two_splits():
    grey, labels = digits.read(None)
    rows = np.arange(len(grey), dtype=np.uint8 if len(grey) < 256 else np.int64)
    numbered = np.broadcast_to(rows[:, None, None], grey.shape)
    splits = digits.split(numbered, labels, seed=1)
    parts = [part.grey[:, 0, 0] for part in (splits.encoder, splits.train, splits.val, splits.test)]
    assert np.array_equal(np.sort(np.concatenate(parts)), rows)


def test_captions_say_what_is_there():
    some = digits.coloured(*digits.read(None), 0.5, np.random.default_rng(0))
    for text, label, colour in zip(
        digits.captions(some, np.random.default_rng(0)), some.labels, some.colours, strict=True
    ):
        other = list(digits.COLOURS)[1 - colour]
        assert other not in text
        named = text.split(" which")[0].strip(".,").split()
        assert not any(digit in named for digit in digits.DIGITS if digit != digits.DIGITS[label])


@pytest.mark.slow
def test_the_table_of_an_encoder_that_has_hardly_learnt(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "RUNS", (("text", "ul", "grip"), ("text", "trzsl", "fpl"), ("text", "ssl", "fpl")))
    monkeypatch.setattr(table, "ITERATIONS", {"text": 2, "image": 1, "multimodal": 1})
    rows = table.measure(None, 0, 60, tmp_path)
    assert list(rows)[:2] == ["zero-shot", "RoboShot, reject"]
    assert {f"trained, {name}" for name in ("linear", "erm", "contrastive", "dfr", "groupdro")} < set(rows)
    assert all(0 <= share <= 1 for row in rows.values() for share in row.values())
    assert rows["trained, dfr"]["average"] > 0.3  # its rows are digits, whatever the encoder knows
    text = table.table([rows, rows])
    assert text.count("\n") == len(rows) + 1
    assert "± 0.0" in text


def test_training_gives_a_checkpoint_that_is_read_back(tmp_path, capsys):
    some = digits.split(*digits.read(None), seed=0).encoder
    train.save(*train.train(some, seed=0, steps=3, batch=64), tmp_path)
    encoder = table.TransformersEncoder(tmp_path, device="cpu")
    embedded = table.embedded(encoder, some)
    again = encoder.model.get_image_features(pixel_values=train.pixels_of(some)[:8])
    expected = again.pooler_output if hasattr(again, "pooler_output") else again
    assert np.allclose(embedded[:8], normalised(expected.numpy()), atol=1e-5)
