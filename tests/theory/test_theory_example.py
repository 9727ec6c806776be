"""The example of the documentation runs, and prints what it says."""

import contextlib
import io
import re

import pytest
from helpers import ROOT

from fmcompress.theory import TheoryError, from_graph, from_monoid, load_category

PAGES = [ROOT / "docs" / "theory.md"]


@pytest.fixture(scope="module")
def text():
    return "".join(page.read_text(encoding="utf-8") for page in PAGES)


def test_the_example_prints_what_its_comments_say(text):
    code = next(block for block in re.findall(r"```python\n(.*?)```", text, re.DOTALL) if "animals" in block)
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile(code, "docs", "exec"), {})
    lines = printed.getvalue().splitlines()
    told = [re.search(r"  # (.*)$", line) for line in code.splitlines() if line.startswith("print")]
    assert len(lines) == len(told) == 5
    for line, comment in zip(lines, told, strict=True):
        assert comment is None or line.startswith(comment[1].rstrip("…"))
    assert lines[-1].startswith("The structure transfers: the 3 morphisms")


def test_the_file_of_the_example_is_read(text, tmp_path):
    path = tmp_path / "c.yaml"
    path.write_text(next(block for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL) if "morphisms" in block))
    assert load_category(path).hom("x", "y") == ("f",)


def test_the_constructions_take_what_the_docs_write(text):
    for call in (
        "from_monoid([0, 1], [[0, 1], [1, 0]])",
        'from_graph({"f": ("x", "y"), "g": ("y", "x")}, [(("f", "g"), ()), (("g", "f"), ())])',
    ):
        assert call in text
    assert len(from_monoid([0, 1], [[0, 1], [1, 0]]).morphisms) == 2
    assert len(from_graph({"f": ("x", "y"), "g": ("y", "x")}, [(("f", "g"), ()), (("g", "f"), ())]).morphisms) == 4
    with pytest.raises(TheoryError):
        from_monoid([0, 1, 2], [[0, 1, 2], [1, 0, 1], [2, 2, 1]])
