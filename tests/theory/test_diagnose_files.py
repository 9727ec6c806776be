"""Files of scores, labels and hierarchies: every form reads alike, and what is wrong is told in a line."""

import json

import numpy as np
import pytest

from fmcompress.clip import EmbeddingSet, normalised, write_embeddings
from fmcompress.errors import CheckpointError, ConfigError
from fmcompress.theory.hierarchy import read_hierarchy
from fmcompress.theory.score_files import Scores, read_scores, scores_of_embeddings
from fmcompress.theory.tasks import labels_of, read_labels

VALUES = np.array([[0.25, 0.5, 1], [0, -2, 3e-1]])
OBJECTS, PROMPTS = ("cat", "a, b"), ("p", "q r", "s")

HUGE = b"{'descr': '<f8', 'fortran_order': False, 'shape': (100000000000, 100000), }"  # 71 PiB


def test_every_form_of_scores_reads_alike(tmp_path):
    (tmp_path / "a.csv").write_text('name,p,q r,s\ncat,0.25,0.5,1\n"a, b",0,-2,3e-1\n\n', encoding="utf-8-sig")
    (tmp_path / "a.tsv").write_text("\tp\tq r\ts\r\ncat\t0.25\t0.5\t1\r\na, b\t0\t-2\t.3\r\n")
    np.savez(tmp_path / "a.npz", scores=VALUES, objects=np.array(OBJECTS), prompts=np.array(PROMPTS))
    (tmp_path / "a.json").write_text(json.dumps({"scores": VALUES.tolist(), "objects": OBJECTS, "prompts": PROMPTS}))
    for suffix in ("csv", "tsv", "npz", "json"):
        found = read_scores(tmp_path / f"a.{suffix}")
        assert (found.values == VALUES).all(), suffix
        assert (found.objects, found.prompts) == (OBJECTS, PROMPTS)


def test_scores_without_names_take_them_from_files(tmp_path):
    np.save(tmp_path / "a.npy", VALUES.astype(np.float32))
    np.savez(tmp_path / "a.npz", VALUES)
    (tmp_path / "a.json").write_text(json.dumps(VALUES.tolist()))
    (tmp_path / "objects.txt").write_text("\n".join(OBJECTS))
    (tmp_path / "prompts.json").write_text(json.dumps(PROMPTS))
    for suffix in ("npy", "npz", "json"):
        bare = read_scores(tmp_path / f"a.{suffix}")
        assert (bare.objects, bare.prompts, bare.object_name(1)) == ((), ("0", "1", "2"), "row 1")
        named = read_scores(tmp_path / f"a.{suffix}", tmp_path / "objects.txt", tmp_path / "prompts.json")
        assert (named.objects, named.prompts, named.object_name(1)) == (OBJECTS, PROMPTS, "a, b")
        assert named.values.dtype == np.float64


def test_embeddings_become_cosines(tmp_path):
    generator = np.random.default_rng(0)
    ours, theirs = (normalised(generator.normal(size=(count, 8))) for count in (3, 2))
    write_embeddings(tmp_path / "o.safetensors", EmbeddingSet(ours, ("a", "b", "c"), identity={"model": 1}))
    write_embeddings(tmp_path / "p.safetensors", EmbeddingSet(theirs, ("x", "y"), identity={"model": 1}))
    found = scores_of_embeddings(tmp_path / "o.safetensors", tmp_path / "p.safetensors")
    assert np.allclose(found.values, ours @ theirs.T)
    assert (found.objects, found.prompts) == (("a", "b", "c"), ("x", "y"))
    np.save(tmp_path / "o.npy", (10 * ours).astype(np.float16))
    again = scores_of_embeddings(tmp_path / "o.npy", tmp_path / "p.safetensors", normalise=True)
    assert abs(again.values - found.values).max() < 2e-3
    with pytest.raises(ConfigError, match="expected rows of length 1"):
        scores_of_embeddings(tmp_path / "o.npy", tmp_path / "p.safetensors")
    write_embeddings(tmp_path / "q.safetensors", EmbeddingSet(theirs, ("x", "y"), identity={"model": 2}))
    with pytest.raises(ConfigError, match="expected embeddings of the model that the objects are of"):
        scores_of_embeddings(tmp_path / "o.safetensors", tmp_path / "q.safetensors")


def test_texts_of_classes_name_their_prompts(tmp_path):
    rows = np.eye(2)
    write_embeddings(tmp_path / "p.safetensors", EmbeddingSet(rows, (), np.array([0, 1]), ("x", "y")))
    assert scores_of_embeddings(tmp_path / "p.safetensors", tmp_path / "p.safetensors").prompts == ("x", "y")


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("a.csv", "", "expected a table, got an empty file"),
        ("a.csv", "name,p\n", "expected a line of prompts and a line an object, got 0 objects"),
        ("a.csv", "name,p\ncat,x\n", "expected numbers behind each name, but could not convert string to float: 'x'"),
        ("a.csv", "name,p\ncat,1\ndog\n", "row 3 has 1 cells, the first 2"),
        ("a.csv", "name,p\ncat,nan\n", "expected finite numbers up to 1e+100, got nan in row 0, column 0"),
        ("a.csv", "name,p\ncat,1e101\n", "expected finite numbers up to 1e+100, got 1e+101"),
        ("a.csv", "name,p\ncat,-inf\n", "expected finite numbers up to 1e+100, got -inf in row 0, column 0 (1 such)"),
        ("a.csv", "name,p\ncat,1\ncat,0\n", "objects: 'cat' stands there twice"),
        ("a.csv", "name,p,p\ncat,1,0\n", "prompts: 'p' stands there twice"),
        ("a.csv", "name,p\n,1\n", "objects: expected names, got ''"),
        ("a.csv", 'name,p\n"cat,1\n', "not a CSV table"),
        ("a.csv", b"\xff\xfe\x00", "expected text in UTF-8"),
        ("a.txt", "1 2", "expected scores as .csv, .tsv, .npy, .npz or .json"),
        ("a.json", "{", "not UTF-8 text or valid JSON"),
        ("a.json", "[[1, 2], [3]]", "expected scores as lists of numbers, each as long as the others"),
        ("a.json", "[]", "expected scores as lists of numbers"),
        ("a.json", '[["1"]]', "expected scores as lists of numbers"),
        ("a.json", "[[NaN, 1]]", "expected finite numbers up to 1e+100, got nan"),
        ("a.json", "[[1e999]]", "expected finite numbers up to 1e+100, got inf"),
        ("a.json", '{"scores": [[1]], "object": ["a"]}', "expected scores, and objects and prompts if any"),
        ("a.json", '{"scores": [[1]], "objects": "a"}', "expected objects and prompts as lists of names"),
        ("a.json", '{"scores": [[1]], "objects": [1]}', "objects: expected names, got 1"),
        ("a.json", '{"scores": [[1]], "objects": ["a", "b"]}', "objects: expected 1 names, one for each, got 2"),
        ("a.npy", b"", "no array that numpy reads without pickle"),
        ("a.npy", b"\x93NUMPY\x01\x00", "no array that numpy reads without pickle"),
        (
            "a.npy",
            b"\x93NUMPY\x01\x00\x76\x00" + HUGE.ljust(117) + b"\n",
            "no array that numpy reads without pickle (Unable",
        ),
        ("a.npz", b"PK\x03\x04rubbish", "no array that numpy reads without pickle"),
        ("a.npy", np.array([[object()]], object), "no array that numpy reads without pickle"),
        ("a.npy", np.array(["a"]), "expected a matrix [objects, prompts] of numbers, got [1] of <U1"),
        (
            "a.npy",
            np.zeros((2, 2), complex),
            "expected a matrix [objects, prompts] of numbers, got [2, 2] of complex128",
        ),
        ("a.npy", np.zeros((0, 3)), "expected a matrix [objects, prompts] of numbers, got [0, 3]"),
        ("a.npy", np.zeros(3), "got [3] of float64"),
    ],
)
def test_wrong_scores_are_told_in_a_line(tmp_path, name, content, told):
    path = tmp_path / name
    if isinstance(content, np.ndarray):
        np.save(path, content, allow_pickle=True)
    else:
        path.write_bytes(content.encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError) as caught:
        read_scores(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_twice_given_and_missing_files_are_told(tmp_path):
    (tmp_path / "a.csv").write_text("name,p\ncat,1\n")
    (tmp_path / "names.txt").write_text("cat\n")
    with pytest.raises(ConfigError, match="names its objects itself"):
        read_scores(tmp_path / "a.csv", tmp_path / "names.txt")
    np.savez(tmp_path / "two.npz", a=VALUES, b=VALUES)
    with pytest.raises(ConfigError, match="expected an array 'scores', got a, b"):
        read_scores(tmp_path / "two.npz")
    for name in ("none.csv", "none.npy", "none.json"):
        with pytest.raises(ConfigError, match=name):
            read_scores(tmp_path / name)
    with pytest.raises((ConfigError, CheckpointError), match=r"none\.npy"):
        scores_of_embeddings(tmp_path / "none.npy", tmp_path / "none.npy")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("l.csv", "name,label\nb,yes\na,no\nc,\n"),
        ("l.csv", "label,name\nyes,b\nno,a\n-1,c\n"),
        ("l.tsv", "name\tlabel\nc\t\nb\tyes\na\tno\n"),
        ("l.csv", "label\nno\nyes\n-1\n"),
        ("l.json", '{"b": "yes", "a": "no", "c": null}'),
        ("l.json", '["no", "yes", -1]'),
        ("l.txt", "no\nyes\n-1\n\n"),
    ],
)
def test_every_form_of_labels_reads_alike(tmp_path, name, content):
    (tmp_path / name).write_text(content)
    found = read_labels(tmp_path / name, ("a", "b", "c"), 3)
    assert (found.classes, found.numbers.tolist(), found.unknown) == (("no", "yes"), [0, 1, -1], 1)
    assert [(task, yes.tolist()) for task, yes in found.tasks()] == [("yes", [False, True, False])]


def test_labels_are_tasks_by_kind():
    for given, tasks in (
        ([0, 1, 1], ["1"]),
        ([True, False], ["1"]),
        (["False", "True"], ["True"]),
        ([1, 2], ["1", "2"]),
        (["Yes", "no"], ["Yes"]),
        (["1.0", "0.0", "", "-1.0"], ["1.0"]),
        ([10, 9, 2], ["2", "9", "10"]),
        (["9", "1" + 5000 * "0", "08"], ["08", "9", "1" + 5000 * "0"]),
        (["dog", "cat", "dog"], ["cat", "dog"]),
        (["no", "yes", "maybe"], ["maybe", "no", "yes"]),
    ):
        assert [name for name, _ in labels_of(given).tasks()] == tasks


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("l.csv", "", "expected a table, got an empty file"),
        ("l.csv", "name,class\na,1\n", "expected a first line of name and label, got ['name', 'class']"),
        ("l.csv", "name,label\na,1\nb,0\n", "no label for objects, 1 such, as 'c'"),
        ("l.csv", "name,label\na,1\nb,0\nc,0\nd,1\n", "names no object has, 1 such, as 'd'"),
        ("l.csv", "name,label\na,1\na,0\nc,0\n", "names: 'a' stands there twice"),
        ("l.csv", "name,label\na,1\nb,1\nc,\n", "expected objects of at least two classes, got only '1'"),
        ("l.csv", "name,label\na,-1\nb,\nc,\n", "expected objects of at least two classes, got none"),
        ("l.csv", "label\n1\n0\n", "expected 3 labels, one an object, got 2"),
        ("l.json", '{"a": 1, "a": 0}', "a key stands there twice"),
        ("l.json", "[1, 0, 0.5]", "expected texts or whole numbers, got 0.5"),
        ("l.json", "[1, 0, [0]]", "expected texts or whole numbers, got [0]"),
        ("l.txt", "", "expected 3 labels, one an object, got 0"),
        ("l.xml", "", "expected labels as .csv, .tsv, .json or .txt"),
    ],
)
def test_wrong_labels_are_told_in_a_line(tmp_path, name, content, told):
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_labels(tmp_path / name, ("a", "b", "c"), 3)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert told in str(caught.value)


def test_names_on_one_side_alone_are_told(tmp_path):
    (tmp_path / "l.csv").write_text("name,label\na,1\nb,0\n")
    with pytest.raises(ConfigError, match="has names, but the scores have none"):
        read_labels(tmp_path / "l.csv", (), 2)
    (tmp_path / "l.txt").write_text("1\n0\n")
    with pytest.raises(ConfigError, match="as a hierarchy has no order"):
        read_labels(tmp_path / "l.txt", ("a", "b"), 2, partial=True)
    with pytest.raises(ConfigError, match="cannot be read"):
        read_labels(tmp_path / "none.txt", (), 2)


def test_every_form_of_hierarchy_reads_alike(tmp_path):
    (tmp_path / "h.csv").write_text("child,parent\ndog,animal\ncat,animal\ncat,pet\n")
    (tmp_path / "h.tsv").write_text("dog\tanimal\ncat\tanimal\ncat\tpet\n")
    (tmp_path / "h.json").write_text('{"dog": "animal", "cat": ["animal", "pet"]}')
    (tmp_path / "pairs.json").write_text('[["dog", "animal"], ["cat", "animal"], ["cat", "pet"]]')
    for name in ("h.csv", "h.tsv", "h.json", "pairs.json"):
        found = read_hierarchy(tmp_path / name)
        assert found.objects == ("dog", "animal", "cat", "pet")
        assert found.below.astype(int).tolist() == [[1, 1, 0, 0], [0, 1, 0, 0], [0, 1, 1, 1], [0, 0, 0, 1]]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("h.csv", "a,b\nb,a\n", "hierarchy: 'a' < 'b' < 'a' is a cycle of 2"),
        ("h.csv", "a,b,c\n", "expected two columns, child and parent, got 3"),
        ("h.csv", "child,parent\n", "expected edges of a child and a parent, got none"),
        ("h.json", '{"a": 1}', "expected pairs of names, child and parent, got ['a', 1]"),
        ("h.json", '[["a", "b", "c"]]', "expected pairs of names, child and parent, got ['a', 'b', 'c']"),
        ("h.txt", "a b", "expected a hierarchy as .csv, .tsv or .json"),
    ],
)
def test_wrong_hierarchies_are_told_in_a_line(tmp_path, name, content, told):
    (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError) as caught:
        read_hierarchy(tmp_path / name)
    assert str(caught.value).startswith(f"{tmp_path / name}: ")
    assert told in str(caught.value)


def test_scores_of_arrays_are_checked():
    assert Scores(np.array([[True, False]])).values.tolist() == [[1, 0]]
    with pytest.raises(ConfigError, match="prompts: expected 2 names, one for each, got 1"):
        Scores(np.eye(2), ("a", "b"), ("p",))
