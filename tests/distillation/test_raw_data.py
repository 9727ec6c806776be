"""Raw data from files and folders: splits that share nothing, completions at their rows, one line for what is wrong."""

import gzip
import json
import lzma
from collections import Counter

import pytest

from fmcompress.distillation.examples import Example, write_examples
from fmcompress.distillation.raw_data import read_data
from fmcompress.distillation.tasks import task
from fmcompress.errors import CheckpointError, ConfigError

SVAMP = task("svamp")


def lines(path, *records):
    path.write_text("".join(json.dumps(one) + "\n" for one in records))
    return path


def rows(count, name="train"):
    return [{"input": f"{name} {n}", "label": f"( {n}.0 + 1.0 )"} for n in range(count)]


def folder(tmp_path, **counts):
    for name, count in counts.items():
        lines(tmp_path / f"svamp_{name}.json", *rows(count, name))
    return tmp_path


def splits(data):
    return dict(Counter(one.split for one in data.examples))


def test_a_tenth_of_train_becomes_valid_by_seed(tmp_path):
    path = folder(tmp_path, train=25, test=4)
    (tmp_path / "SVAMP.json").write_text("[]")  # the whole set beside its splits: no name of a split in it
    first, again, other = (read_data(SVAMP, path, seed=seed) for seed in (0, 0, 1))
    assert first == again != other
    assert splits(first) == splits(other) == {"train": 22, "valid": 3, "test": 4}  # 2.5, rounded up
    assert [one.input for one in first.examples][:25] == [f"train {n}" for n in range(25)]  # in the file's order
    assert splits(read_data(SVAMP, path, valid_share=0)) == {"train": 25, "test": 4}


def test_a_file_of_valid_is_valid_and_without_train_it_is_train(tmp_path):
    assert splits(read_data(SVAMP, folder(tmp_path, train=20, val=5, test=3))) == {"train": 20, "valid": 5, "test": 3}
    (tmp_path / "svamp_train.json").unlink()
    assert splits(read_data(SVAMP, tmp_path)) == {"train": 4, "valid": 1, "test": 3}
    assert splits(read_data(SVAMP, tmp_path / "svamp_test.json")) == {"test": 3}
    assert splits(read_data(SVAMP, lines(tmp_path / "some.json", *rows(3)))) == {None: 3}


def table(path, *records):
    names = ("premise", "hypothesis", "label", "explanation_1")
    with lzma.open(path, "wt") as file:
        file.writelines("\t".join(one) + "\n" for one in (names, *records))


def test_a_premise_is_in_one_split_and_pairs_without_gold_label_are_counted(tmp_path):
    pairs = [(f"p{n // 3}", f"h{n}", "neutral", "why") for n in range(60)]
    table(tmp_path / "esnli_dev.tsv.xz", *pairs, ("p0", "h", "-", "why"))
    table(tmp_path / "esnli_test.tsv.xz", ("p7", "h21", "neutral", "why"), ("q", "h", "-", ""))
    found = read_data(task("esnli"), tmp_path, valid_share=0.2)
    assert found.left_out == {"no gold label": 2, "in valid or test too": 3}
    assert splits(found) == {"train": 45, "valid": 12, "test": 1}
    premises = {
        split: {one.input.split("\n")[0] for one in found.examples if one.split == split} for split in splits(found)
    }
    assert not premises["train"] & premises["valid"]
    assert not (premises["train"] | premises["valid"]) & premises["test"]
    assert found.examples[0].rationale == "why"


def test_completions_are_put_to_the_rows_of_their_split(tmp_path):
    path = folder(tmp_path, train=12, test=2)
    files = [tmp_path / "train_CoT_10.list", tmp_path / "train_CoT_9.list", tmp_path / "test_CoT_0.json.gz"]
    files[0].write_text(json.dumps([f"text {n}" for n in range(9, 12)]))
    files[1].write_text(json.dumps([f"text {n}" for n in range(9)]))  # 9 goes before 10
    with gzip.open(files[2], "wt") as file:
        json.dump(["t0", "t1"], file)
    (tmp_path / "data").mkdir()
    for one in path.glob("svamp_*"):
        one.rename(tmp_path / "data" / one.name)
    found = read_data(SVAMP, tmp_path / "data", completions=files)
    assert [one.completion for one in found.examples] == [*(f"text {n}" for n in range(12)), "t0", "t1"]
    assert splits(found)["valid"] == 2  # and what was carved has its own completion still
    with pytest.raises(ConfigError, match=r"completions: expected 12, one for each row of .*, got 3"):
        read_data(SVAMP, tmp_path / "data", completions=files[:1])
    with pytest.raises(ConfigError, match=r"completions of test: .* has no such rows"):
        read_data(SVAMP, tmp_path / "data" / "svamp_train.json", completions=files)


def test_files_of_examples_keep_what_they_say(tmp_path):
    some = [Example("a", "1", "why", split="test"), Example("b", None, None, "2", "train")]
    write_examples(tmp_path / "e.jsonl", some)
    assert read_data(task("cqa"), tmp_path / "e.jsonl").examples == some
    write_examples(tmp_path / "train.jsonl", [Example("a", "1"), Example("b", None)])
    assert splits(read_data(task("text"), tmp_path / "train.jsonl", valid_share=0.5)) == {"train": 1, "valid": 1}


def test_the_same_input_is_in_one_split_and_something_is_left_to_train(tmp_path):
    lines(tmp_path / "train.json", *rows(1) * 8, *rows(2)[1:], {"input": "test 0", "label": "1"})
    found = read_data(SVAMP, folder(tmp_path, test=1) / "train.json", valid_share=0.99)
    assert len({one.split for one in found.examples if one.input == "train 0"}) == 1
    assert "train" in splits(found)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("train.json", "{", "train.json, line 1: is no JSON"), ("train.json", "[1", "train.json: is no JSON"),
        ("train.json", "[1]", "train.json, record 1: is no record of task svamp"), ("train.json", "", "got none"),
        ("train.json", '{"input": "x", "label": "1"}\n3', "record 2"), ("train.tsv", "a\tb\n1", "row 2: expected 2 columns"),
        ("train.txt", "x", "expected a file ending in .json, .jsonl, .tsv"), ("train.json.gz", "x", "does not unpack"),
        ("train.json.xz", "x", "does not unpack"), ("train.json", "\udcff", "UTF-8"),
        ("train.json", '{"input": "\\ud800", "label": "1"}', "train.json, line 1: holds half of a surrogate pair"),
    ],
)  # fmt: skip
def test_bad_files_are_told_in_one_line(tmp_path, name, text, told):
    path = tmp_path / name
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises((ConfigError, CheckpointError)) as error:
        read_data(SVAMP, path)
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def test_folders_and_options_that_do_not_fit(tmp_path):
    for path in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(ConfigError, match=r"expected a file, or a folder with files such as train\.jsonl"):
            read_data(SVAMP, path)
    with pytest.raises(ConfigError, match=r"valid share: expected 0 or more and less than 1, got 1"):
        read_data(SVAMP, tmp_path, valid_share=1)
    lines(tmp_path / "test.json", {"no": "list"})
    with pytest.raises(ConfigError, match="expected a JSON list of texts"):
        read_data(SVAMP, tmp_path, completions=[tmp_path / "test.json"])
