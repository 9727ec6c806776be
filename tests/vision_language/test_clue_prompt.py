"""Positions in words, and prompts that read back as what they were made of."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fmcompress.errors import ConfigError
from fmcompress.vision_language.visual_clues import Clue, DetectedObject, VisualClues
from fmcompress.vision_language.visual_clues.position import POSITIONS, position_of, size_of
from fmcompress.vision_language.visual_clues.prompt import HEAD, STOP, read_prompt, to_prompt, told

GRID = [
    ["upper left", "upper centre", "upper right"],
    ["middle left", "centre", "middle right"],
    ["lower left", "lower centre", "lower right"],
]
DOG = DetectedObject(Clue("dog", 0.9), (0, 0, 0.5, 0.5), (Clue("brown"), Clue("wet")), (Clue("a dog, running"),))
BALL = DetectedObject(Clue("ball"), (0.8, 0.8, 0.9, 0.9))
PARK = VisualClues((Clue("park", 0.3), Clue("grass", 0.2)), (DOG, BALL), (Clue("A dog: it runs."),))


@pytest.mark.parametrize("half", [0.01, 1 / 6])
def test_positions_on_the_grid_of_centres(half):
    centres = (1 / 6, 3 / 6, 5 / 6)
    found = [[position_of((x - half, y - half, x + half, y + half)) for x in centres] for y in centres]
    assert found == GRID
    assert [word for row in GRID for word in row] == list(POSITIONS)


def test_a_centre_on_a_border_lies_in_the_middle():
    assert position_of((0, 0, 2 / 3, 2 / 3)) == "centre"
    assert position_of((0.5, 0.5, 5 / 6, 5 / 6)) == "centre"
    assert position_of((0, 0, 0.666, 0.7)) == "middle left"
    assert position_of((0.6, 0.7, 0.74, 0.7)) == "lower right"


@pytest.mark.parametrize(
    ("box", "size"),
    [((0, 0, 0.25, 0.15), "small"), ((0, 0, 0.25, 0.25), "medium"), ((0, 0, 0.5, 0.49), "medium"),
     ((0.5, 0.5, 1, 1), "large"), ((0, 0, 1, 1), "large"), ((0.1, 0, 0.1, 1), "small")],
)  # fmt: skip
def test_sizes_by_area(box, size):
    assert size_of(box) == size


def test_the_prompt_says_all_clues():
    assert to_prompt(PARK, instruction="Tell.\nAll.") == (
        "Clues of an image\nTags: park, grass\nCaptions:\n- A dog: it runs.\nObjects:\n"
        '- dog (brown, wet), large, upper left: "a dog, running"\n- ball, small, lower right\n'
        "Task: Tell. All.\nDescription:"
    )
    assert "upper left" not in to_prompt(PARK, locate=False)
    assert "large" not in to_prompt(PARK, "story", locate=False)


def test_the_story_says_all_clues():
    assert to_prompt(PARK, "story") == (
        "There is a picture with park, grass. In it is a large brown wet dog in the upper left. In it is a small ball "
        "in the lower right. A dog: it runs. a dog, running. In the picture,"
    )


@pytest.mark.parametrize("style", ["best", "story"])
def test_examples_stand_before(style):
    known = VisualClues((Clue("cat"),))
    prompt = to_prompt(PARK, style, examples=[(known, "A cat\n\nsleeps.")])
    first, second = prompt.split("\n\n")
    assert first == to_prompt(known, style) + " A cat sleeps."
    assert second == to_prompt(PARK, style)
    assert prompt.find(STOP[0], len(first) + 2) == -1


words = st.text(max_size=12) | st.sampled_from(
    [
        "a, b",
        'say "x"',
        "Task: stop",
        HEAD,
        "x\ny",
        "(x)",
        "- dog",
        "Tags: x",
        "\\",
        "\\n",
        " ",
        "",
        "\u2028",
        "a; b",
        '"x"',
        "\ud800",
    ]
)
clue = st.builds(Clue, words)
several = st.lists(clue, max_size=3).map(tuple)
share = st.floats(0, 1)
objects = st.builds(DetectedObject, clue, st.tuples(share, share, share, share), several, several)
any_clues = st.builds(VisualClues, several, st.lists(objects, max_size=3).map(tuple), several)


@given(any_clues, st.booleans(), st.lists(any_clues, max_size=2), words)
def test_a_prompt_reads_back(clues, locate, examples, other):
    if VisualClues() in (clues, *examples):
        with pytest.raises(ConfigError, match="expected tags, captions or objects"):
            to_prompt(clues, examples=[(one, other) for one in examples])
        return
    prompt = to_prompt(clues, locate=locate, examples=[(one, other) for one in examples], instruction=other)
    assert read_prompt(prompt) == told(clues, locate)
    assert all(map(str.isprintable, prompt.split("\n")))


@given(any_clues)
def test_a_story_is_one_line(clues):
    if clues != VisualClues():
        assert to_prompt(clues, "story").isprintable()


@pytest.mark.parametrize(
    ("prompt", "message"),
    [("Hello", "expected a line"), (f"{HEAD}\nTags: a", "begins with"), (f"{HEAD}\nCats: a", "got 'Cats: a'"),
     (f'{HEAD}\nTags: "\\q"\nTask: x', "quoted text"), (f'{HEAD}\nCaptions:\n- "a" b', "quoted text"),
     (f"{HEAD}\nObjects:\n- dog (x", "expected a clue"), (to_prompt(PARK, "story"), "expected a line")],
)  # fmt: skip
def test_other_texts_are_no_prompts(prompt, message):
    with pytest.raises(ConfigError, match=message):
        read_prompt(prompt)
    with pytest.raises(ConfigError, match="style: expected one of best, story"):
        to_prompt(PARK, "poem")
