"""Categories in files: read as they were meant, and refused in one line that names the file."""

import json
import subprocess
import sys

import pytest
import yaml

from fmcompress.errors import ConfigError, TheoryError
from fmcompress.theory import load_category

GOOD = {
    "objects": ["x", "y"],
    "morphisms": {"1x": ["x", "x"], "1y": ["y", "y"], "f": ["x", "y"]},
    "identities": {"x": "1x", "y": "1y"},
    "compose": [["f", "1x", "f"]],
}
MONOID = {
    "objects": ["*"],
    "morphisms": {one: ["*", "*"] for one in "1ab"},
    "identities": {"*": "1"},
    "compose": [["a", "a", "b"], ["a", "b", "b"], ["b", "a", "b"], ["b", "b", "a"]],
}


@pytest.mark.parametrize("suffix", [".json", ".yaml", ".yml"])
def test_what_is_written_is_read(tmp_path, suffix):
    path = tmp_path / f"c{suffix}"
    path.write_text(json.dumps(GOOD) if suffix == ".json" else yaml.safe_dump(GOOD))
    category = load_category(path)
    assert (category.objects, category.hom("x", "y")) == (("x", "y"), ("f",))


def test_a_table_that_is_not_associative_names_the_file_and_the_triple(tmp_path):
    path = tmp_path / "monoid.json"
    path.write_text(json.dumps(MONOID))
    with pytest.raises(TheoryError, match=r"monoid.json: composition: expected .* h = 'a', g = 'a', f = 'b'") as caught:
        load_category(path)
    assert caught.value.where == ("a", "a", "b")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"extra": 1}, "expected the keys objects, morphisms, identities, compose, got objects"),
        ({"objects": "xy"}, "objects: expected a list of names, got 'xy'"),
        ({"objects": ["x", 1]}, "objects: expected names, got 1. Put names that look like numbers in quotes"),
        ({"objects": ["x", ["y"]]}, "objects: expected names, got a list"),
        ({"objects": ["x", None]}, "objects: expected names, got None"),
        ({"morphisms": [["x", "y"]]}, "morphisms: expected names and their values, got a list"),
        ({"morphisms": {"f": ["x"]}}, "morphisms: 'f': expected a list of 2 names, got 1 entries"),
        ({"identities": {"x": 1, "y": "1y"}}, "identities: expected names, got 1"),
        ({"identities": {"x": "1x", "y": "2y"}}, "'2y': no such morphism"),
        ({"compose": {}}, r"compose: expected a list of \[g, f, composite\], got a dict"),
        ({"compose": [["f", "1x"]]}, "compose: entry 1: expected a list of 3 names, got 2 entries"),
        ({"compose": [["f", "1x", "f"], ["f", "1x", "1x"]]}, "entry 2 gives 'f' after '1x' a second composite"),
        ({"compose": [["f", "f", "f"]]}, "'f' after 'f': the one does not start where the other ends"),
    ],
)
def test_what_is_no_category_is_refused(tmp_path, change, told):
    path = tmp_path / "c.yaml"
    path.write_text(json.dumps({**GOOD, **change}))
    with pytest.raises((ConfigError, TheoryError), match=told) as caught:
        load_category(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("c.yaml", "objects: [x]\nobjects: [y]\n", "a key stands there twice"),
        ("c.json", '{"objects": [], "objects": []}', "a key stands there twice"),
        ("c.yaml", "objects: &a [*a]\n", r"the alias \*a is not allowed"),
        ("c.yaml", "a: &a {b: *a}\n", r"the alias \*a is not allowed"),
        ("c.yaml", "objects: !!python/object/apply:os.getcwd []\n", "cannot be read"),
        ("c.yaml", "objects: {[x]: y}\n", "cannot be read|expected"),
        ("c.yaml", "[" * 5000, "cannot be read"),
        ("c.json", "[" * 100000, "cannot be read"),
        ("c.json", "{", "cannot be read"),
        ("c.json", "[]", "got a list"),
        ("c.yaml", "", "got None"),
        ("c.txt", "x", "expected a category as .json or .yaml"),
        ("none.json", None, "No such file"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path, name, text, told):
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ConfigError, match=told) as caught:
        load_category(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_bytes_that_are_no_text_are_refused(tmp_path):
    path = tmp_path / "c.yaml"
    path.write_bytes(b"\xff\xfe\x00objects")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_category(path)


def test_the_theory_needs_no_torch_and_every_name_resolves():
    code = (
        "import sys, fmcompress.theory as theory\n"
        "for name in theory.__all__:\n    assert callable(getattr(theory, name)), name\n"
        "assert {*theory.__all__} <= {*dir(theory)}\n"
        "assert not {'torch', 'networkx', 'matplotlib', 'pydantic'} & {*sys.modules}\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
