"""Stage 3 of BEST: sentences, the candidate most like the image, and which of its sentences stay."""

import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmcompress.errors import ConfigError
from fmcompress.vision_language.visual_clues import filter_sentences, select, split_sentences


@pytest.mark.parametrize(
    ("paragraph", "sentences"),
    [
        ("", []),
        (" \n ", []),
        ("A cat sits", ["A cat sits"]),
        ("A cat sits. a dog runs!Is it", ["A cat sits.", "a dog runs!Is it"]),
        ("Mr. Smith and Dr. Lee see 3.5 cats. They left", ["Mr. Smith and Dr. Lee see 3.5 cats.", "They left"]),
        ('He says "Stop!" and goes. "Go." She went.', ['He says "Stop!" and goes.', '"Go."', "She went."]),
        ("“Stop!” she said. (In brackets.) End", ["“Stop!” she said.", "(In brackets.)", "End"]),
        ("At 5 p.m. The sun sets.", ["At 5 p.m.", "The sun sets."]),
        ("The U.S. Army is here. J. Smith, e.g. Foo.", ["The U.S. Army is here.", "J. Smith, e.g. Foo."]),
        ("Cats, dogs, etc. are here. Fish etc. The end.", ["Cats, dogs, etc. are here.", "Fish etc.", "The end."]),
        ("It goes on... and on. Dots... More", ["It goes on... and on.", "Dots...", "More"]),
        ("No. The cat. See Fig. 2 there. 1. A list", ["No.", "The cat.", "See Fig. 2 there.", "1. A list"]),
        ("一只猫。坐着！好", ["一只猫。", "坐着！", "好"]),
        ("Une tasse. Élan vital", ["Une tasse.", "Élan vital"]),
        ("First\n\nSecond\nline. Third", ["First", "Second\nline.", "Third"]),
    ],
)
def test_a_sentence_ends_where_a_reader_says(paragraph, sentences):
    assert split_sentences(paragraph) == sentences


@given(st.text(st.sampled_from("aA. \n!?…\"'Mr.3,()。猫“”"), max_size=60) | st.text(max_size=60))
def test_no_letter_is_lost_by_cutting(paragraph):
    found = split_sentences(paragraph)
    assert "".join("".join(found).split()) == "".join(paragraph.split())
    assert all(sentence == sentence.strip() != "" for sentence in found)


def test_the_highest_cosine_is_chosen_and_the_first_among_equals():
    found = select([1, 0], [[0, 1], [2, 0], [1, 0], [1, 1]])
    assert found.index == 1
    assert found.scores == pytest.approx([0, 1, 1, 2**-0.5])
    assert isinstance(found.index, int)


@given(st.integers(0, 1000), st.floats(1e-3, 1e3), st.integers(0, 4))
def test_positive_scales_change_nothing_and_more_likeness_only_helps(seed, scale, row):
    generator = np.random.default_rng(seed)
    image, rows = generator.normal(size=6), generator.normal(size=(5, 6))
    found = select(image, rows)
    other = rows.copy()
    other[row] *= scale
    again = select(image * scale, other)
    assert again.index == found.index
    assert again.scores == pytest.approx(found.scores)
    rows[found.index] = rows[found.index] / np.linalg.norm(rows[found.index]) + image
    assert select(image, rows).index == found.index
    rows[row] = image
    assert select(image, rows).scores[row] == pytest.approx(1)
    assert select(image, np.concatenate([rows[:, ::-1], rows]))  # any order may be given


def test_scaled_twins_are_equal_though_their_last_bits_differ():
    generator = np.random.default_rng(3)
    for _ in range(50):
        image, row = generator.normal(size=(2, 64))
        assert select(image, [row, row * 3, row / 7]).index == 0


@pytest.mark.parametrize(
    ("image", "rows", "told"),
    [
        ([1, 0], np.empty((0, 2)), "candidates: expected at least one"),
        ([1, 0], [[1, 0, 0]], "expected 2 columns"),
        ([[1, 0]], [[1, 0]], r"image vector: expected numbers \[dim\], got \[1, 2\]"),
        ([1, 0], [1, 0], r"candidates: expected numbers \[rows, dim\], got \[2\]"),
        ([1, np.nan], [[1, 0]], "image vector: expected finite"),
        ([1, 0], [[1, np.inf]], "candidates: expected finite"),
        ([1, 0], [[1, 0], [0, 0]], r"zeros \(row 1\)"),
        ([1, 0], [["a", "b"]], "candidates: expected numbers"),
        ([1, 0], [[1, 0], [1]], "candidates: expected numbers"),
        ([], np.empty((1, 0)), "image vector: expected numbers"),
    ],
)
def test_what_has_no_cosine_is_told_in_a_line(image, rows, told):
    with pytest.raises(ConfigError, match=told):
        select(image, rows)


SENTENCES = ["A cat.", "A dog.", "a  cat!", "A red cat."]
VECTORS = [[1, 0.0], [0, 1], [1, 0], [1, 1]]


def test_sentences_below_the_threshold_and_repeated_ones_go_with_their_reasons():
    found = filter_sentences([1, 0], SENTENCES, VECTORS, 0.5)
    assert found.paragraph == "A cat. A red cat."
    assert [one.reason for one in found.sentences] == [
        "1.000 reaches the threshold 0.5",
        "0.000 is below the threshold 0.5",
        "repeats sentence 1",
        "0.707 reaches the threshold 0.5",
    ]
    assert not found.fell_back
    assert [one.score for one in found.sentences] == pytest.approx([1, 0, 1, 2**-0.5])


def test_a_threshold_of_minus_one_keeps_all_even_what_points_away():
    found = filter_sentences([0.1, 0.2], ["one", "two"], [[-0.1, -0.2], [0.1, 0.2]], -1)
    assert found.paragraph == "one two"


def test_above_one_nothing_stays_but_the_best_and_that_is_told():
    found = filter_sentences([1, 0], SENTENCES, VECTORS, 1.01)
    assert found.fell_back
    assert found.paragraph == "A cat."
    assert "the best of them" in found.sentences[0].reason
    assert [one.kept for one in found.sentences] == [True, False, False, False]


@given(st.integers(0, 500), st.floats(-1, 1), st.floats(-1, 1))
def test_a_higher_threshold_keeps_no_more(seed, low, high):
    generator = np.random.default_rng(seed)
    image, rows = generator.normal(size=4), generator.normal(size=(5, 4))
    low, high = sorted((low, high))
    kept = [[s.kept for s in filter_sentences(image, list("abcde"), rows, t).sentences] for t in (low, high)]
    assert kept[0] >= kept[1] or all(a or not b for a, b in zip(*kept, strict=True))
    assert any(kept[1])


def test_no_sentences_are_an_empty_paragraph_and_other_numbers_of_vectors_are_refused():
    assert filter_sentences([1, 0], [], [], 0.5).paragraph == ""
    with pytest.raises(ConfigError, match="expected 2 rows, one a sentence, got 1"):
        filter_sentences([1, 0], ["a", "b"], [[1, 0]], 0.5)
    with pytest.raises(ConfigError, match="threshold: expected a number"):
        filter_sentences([1, 0], ["a"], [[1, 0]], float("nan"))


def test_the_package_needs_neither_torch_nor_transformers():
    script = "import sys, fmcompress.vision_language.visual_clues as v; v.parse_graph('a cat'); "
    script += "assert not {'torch', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", script], check=True)
