"""Labels as CSV, matched by name; names of classes and templates."""

import numpy as np
import pytest
from clip_cases import unit_rows

from fmcompress.clip import EmbeddingSet, read_labels
from fmcompress.clip.lists import read_names, read_templates
from fmcompress.errors import ConfigError

NAMES = ("cat/1.png", "cat/2.png", "dog/3.png")


def labelled(tmp_path, text, names=NAMES, **options):
    path = tmp_path / "labels.csv"
    path.write_text(text, encoding="utf-8")
    return read_labels(path, EmbeddingSet(unit_rows(3), names, **options))


@pytest.mark.parametrize("form", [str, lambda n: n.split("/")[1], lambda n: n.split("/")[1].split(".")[0]])
def test_rows_are_matched_by_name_in_any_order(tmp_path, form):
    lines = [f"{form(name)},{label},{group},{split}" for name, label, group, split in
             zip(NAMES, ("x", "y", ""), ("g", "", "h"), ("train", "val", "test"), strict=True)]  # fmt: skip
    found = labelled(tmp_path, "\n".join(["name,label,group,split", *reversed(lines)]))
    assert (found.labels.tolist(), found.classes) == ([0, 1, -1], ("x", "y"))
    assert (found.groups.tolist(), found.group_names) == ([0, -1, 1], ("g", "h"))
    assert found.splits == ("train", "val", "test")


def test_without_names_the_order_counts(tmp_path):
    found = labelled(tmp_path, "label\r\nb\r\na\r\nb\r\n", names=())
    assert (found.labels.tolist(), found.classes) == ([1, 0, 1], ("a", "b"))
    with pytest.raises(ConfigError, match="expected 3 rows, one an embedding, got 2"):
        labelled(tmp_path, "label\na\nb\n")


def test_numbers_are_sorted_by_value_and_quotes_are_read(tmp_path):
    assert labelled(tmp_path, "label\n10\n9\n2\n").classes == ("2", "9", "10")
    assert labelled(tmp_path, '\ufefflabel\n"a, b"\nc\nc\n').classes == ("a, b", "c")


def test_the_classes_of_the_set_stay(tmp_path):
    found = labelled(tmp_path, "label\ndog\ncat\ndog\n", labels=np.array([0, 0, 1]), classes=("cat", "dog"))
    assert (found.labels.tolist(), found.classes) == ([1, 0, 1], ("cat", "dog"))
    with pytest.raises(ConfigError, match="label 'cow' is none of 2, such as 'cat'"):
        labelled(tmp_path, "label\ncow\ncat\ndog\n", classes=("cat", "dog"))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,label\ncat/1.png,a\ncat/2.png,b\n", "has no row for 1 of 3, such as 'dog/3.png'"),
        ("name,label\n1,a\n2,a\n3,a\n4,a\n", "embeddings do not have, 1 of 3, such as '4'"),
        ("name,label\n1,a\n2,a\n2,a\n3,a\n", "'2' stands there twice"),
        ("name,label\nx,a\ny,a\nz,a\n", "has no row for 3 of 3, such as 'cat/1.png'"),
        ("name,colour\n1,a\n", "expected a first line of some of name, label, group, split"),
        ("label,label\na,a\n", "expected a first line"),
        ("", "expected a first line"),
        ("label\na\nb,c\nd\n", "row 2 has 2 values for 1 columns"),
        ("label,split\na,train\na,tset\na,test\n", "split: expected one of train, val, test, got 'tset'"),
        ('label\n"a\n', "not CSV in UTF-8"),
    ],
)
def test_what_does_not_match_is_told_in_a_line(tmp_path, text, told):
    with pytest.raises(ConfigError, match=told) as raised:
        labelled(tmp_path, text)
    assert "\n" not in str(raised.value)


def test_names_that_mean_two_rows_are_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"several embeddings are called '1\.png'"):
        labelled(tmp_path, "name,label\n1.png,a\n3.png,b\n", names=("cat/1.png", "dog/1.png", "dog/3.png"))
    with pytest.raises(ConfigError, match="the embeddings have none"):
        labelled(tmp_path, "name,label\na,b\n", names=())
    with pytest.raises(ConfigError, match="cannot be read"):
        read_labels(tmp_path / "absent.csv", EmbeddingSet(unit_rows(1)))


def write(tmp_path, name, text):
    (tmp_path / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    return tmp_path / name


def test_names_of_lines_lists_and_keys(tmp_path):
    assert read_names(write(tmp_path, "a.txt", "cat\r\n\nice cream \n")) == ("cat", "ice cream")
    assert read_names(write(tmp_path, "a.json", '["cat", "dog"]')) == ("cat", "dog")
    assert read_names(write(tmp_path, "a.json", '{"cat": ["x"], "dog": []}')) == ("cat", "dog")
    for name, text, told in (
        ("a.txt", "", "expected names"),
        ("a.json", "[1]", "expected names"),
        ("a.json", "3", "expected a JSON list or object, got int"),
        ("a.json", "[", "not UTF-8 text or valid JSON"),
        ("a.json", '{"a": [], "a": []}', "a key stands there twice"),
        ("a.txt", b"\xff\xfe", "not UTF-8 text"),
        ("a.txt", "cat\ndog\ncat", "'cat' stands there twice"),
    ):
        with pytest.raises(ConfigError, match=told):
            read_names(write(tmp_path, name, text))


def test_templates_for_all_and_for_each(tmp_path):
    assert read_templates(write(tmp_path, "a.txt", "a {}\nthe {}\n")) == ["a {}", "the {}"]
    assert read_templates(write(tmp_path, "a.json", '{"cat": ["x", "y"]}')) == {"cat": ["x", "y"]}
    for text in ("[]", "{}", '{"cat": "x"}', '{"cat": []}', "[1]"):
        with pytest.raises(ConfigError, match="expected templates"):
            read_templates(write(tmp_path, "a.json", text))


def test_a_table_is_no_list_of_names(tmp_path):
    (tmp_path / "labels.csv").write_text("name,label\na.png,cat\n")
    with pytest.raises(ConfigError, match=r"expected a list, \.txt or \.json, got a table"):
        read_names(tmp_path / "labels.csv")
