"""The page about descriptions: all intermediates, nothing from elsewhere, and quiet in Chromium."""

import base64
import io
import re

import test_report_page as report
from clue_cases import picture
from report_cases import HOSTILE, Page

from fmcompress.report import printable
from fmcompress.vision_language.visual_clues import Clue, Description, DetectedObject, VisualClues
from fmcompress.vision_language.visual_clues.description import Candidate
from fmcompress.vision_language.visual_clues.page import LONGEST, page_of
from fmcompress.vision_language.visual_clues.selection import Sentence

chromium = report.chromium
THING = DetectedObject(Clue(HOSTILE, 0.75), (0, 0.5, 0.5, 1), (Clue("red"),), (Clue("a red thing"),))
FOUND = Description(
    HOSTILE, VisualClues((Clue(HOSTILE, 0.25),), (THING,), (Clue("two colours"),)), f"Line one\n{HOSTILE}",
    (Candidate("worst", -0.1), Candidate("It is red. It barks.", 0.3), Candidate("middle", 0.1)), 1,
    (Sentence("It is red.", 0.4, True, "is like it"), Sentence("It barks.", 0.05, False, "is below")), "It is red.",
    0.2, {"language_model": "writer <1>"}, ("a note & more",),
)  # fmt: skip


def test_all_intermediates_are_on_the_page():
    text = page_of([FOUND], [picture()])
    page = Page(text)
    for words in (
        printable(HOSTILE), "two colours", "(red), large, lower left: a red thing", "Line one", "0.250", "0.750", "is like it",
        "writer <1>", "a note & more", "3 candidates, from 0.300 to -0.100", "Kept from a cosine of 0.200 on.",
    ):  # fmt: skip
        assert words in page.text
    assert page.count("script") == 0
    assert re.search(r"<del>It barks\.</del> <small>is below</small>", text)
    assert re.findall(r'class="chosen">.*?<div>([^<]*)</div></li>', text) == ["It is red. It barks."]
    bars = re.findall(r'class="bar" width="([\d.]+)"', text)
    assert bars == ["100", "53", "6"]  # by falling score, over the range from the lowest
    assert '<rect class="box" stroke-width' in text
    assert 'x="0" y="10" width="20" height="10"' in text  # in the picture's 40 x 20
    assert "http://" not in text.replace("http-equiv", "")
    unfiltered = Description(**{**vars(FOUND), "threshold": None})
    assert "Not filtered." in page_of([unfiltered], [picture()])


def test_pictures_are_made_small_and_lie_in_the_page():
    from PIL import Image

    text = page_of([FOUND, FOUND], [picture().resize((3000, 1500)), picture()])
    found = re.findall(r'href="data:image/jpeg;base64,([^"]+)"', text)
    sizes = [Image.open(io.BytesIO(base64.b64decode(data))).size for data in found]
    assert sizes == [(LONGEST, LONGEST // 2), (40, 20)]


def test_opens_without_a_word_on_the_console(chromium, tmp_path):
    text = page_of([FOUND], [picture()])
    page, faults = report.opened(chromium, tmp_path, text)
    assert faults == []
    assert page.count("image") == 1
    for more in ("<script>alert(1)</script>", "<img src='https://example.com/a.png'>", "<p style='color: red'>"):
        _, faults = report.opened(chromium, tmp_path, text.replace("<main>", f"<main>{more}", 1))
        assert any("Content Security Policy" in fault for fault in faults)
