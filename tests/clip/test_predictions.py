"""Predictions as CSV, what they are worth, and one method beside another."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from clip_cases import unit_rows

from fmcompress.clip import EmbeddingSet, expected_calibration_error, normalised, predict, probabilities
from fmcompress.clip.evaluation import reports_of, zero_shot_evaluation
from fmcompress.clip.predictions import read_group_counts, read_predictions, write_predictions, zero_shot_predictions
from fmcompress.errors import ConfigError, DiskError

TEXT = EmbeddingSet(unit_rows(3, 16, dtype=np.float64), ("ape", "cat, big", "dog"), logit_scale=20.0)
LABELS = np.array([0, 1, 2, 0, 1, 2, -1, 0])
NEAR = TEXT.vectors[[0, 1, 2, 1, 1, 0, 2, 0]]  # rows 3 and 5 look like another class
IMAGES = EmbeddingSet(
    normalised(NEAR + 0.1 * unit_rows(8, 16, 1, np.float64)),
    tuple(f"{number}.png" for number in range(8)),
    LABELS,
    ("ape", "cat, big", "dog"),
    np.array([0, 0, 1, 1, 0, 1, 1, 0]),
    ("land", "water"),
    ("train", "train", "test", "test", "test", "test", "test", "train"),
)


def test_a_split_is_measured_and_training_weights_groups():
    found = zero_shot_evaluation(IMAGES, TEXT, k=2)
    assert found.split == "test"  # since there is one
    assert found.report.average == pytest.approx(2 / 4)  # rows 2 to 5: right, wrong, right, wrong
    assert found.report.worst == pytest.approx(1 / 3)
    assert found.report.worst_group == "water"
    assert found.report.adjusted == pytest.approx(1.0)  # training has rows on land alone
    assert found.top_k_accuracy >= found.report.average
    assert 0 < found.calibration_error < 1
    assert found.notes == ["1 of 5 rows have no label: they are not counted"]
    whole = zero_shot_evaluation(IMAGES, TEXT, split="all")
    assert whole.report.average == pytest.approx(5 / 7)
    assert whole.as_dict()["rows"] == 8


def test_without_groups_classes_are_and_without_labels_nothing_is():
    found = zero_shot_evaluation(replace(IMAGES, groups=None, group_names=()), TEXT, split="all")
    assert [group.name for group in found.report.groups] == ["ape", "cat, big", "dog"]
    assert "no groups are known: each class is one" in found.notes
    bare = zero_shot_evaluation(EmbeddingSet(IMAGES.vectors), replace(TEXT, logit_scale=None))
    assert bare.report is None
    assert len(bare.predictions.predicted) == 8


def test_rows_with_a_label_but_no_group_are_told():
    lost = replace(IMAGES, groups=np.where(np.arange(8) == 3, -1, IMAGES.groups))
    with pytest.raises(ConfigError, match="groups: 1 of 7 rows with a label have none"):
        zero_shot_evaluation(lost, TEXT, split="all")


@pytest.mark.parametrize("k", [1, 3])
def test_a_file_gives_the_same_report(tmp_path, k):
    found = zero_shot_predictions(IMAGES, TEXT, k)
    write_predictions(tmp_path / "a.csv", found)
    again = read_predictions(tmp_path / "a.csv")
    assert again.report([1, 1]) == found.report([1, 1])
    assert (again.names, again.splits, again.unlabelled) == (IMAGES.names, IMAGES.splits, 1)
    lines = (tmp_path / "a.csv").read_text().splitlines()
    assert lines[0].startswith("name,label,group,split,predicted,cosine")
    assert lines[2].startswith('1.png,"cat, big",land,train,"cat, big",0.9')
    assert len(lines) == 9
    with pytest.raises(DiskError):
        write_predictions(tmp_path / "no" / "a.csv", found)


def test_predictions_of_others_are_read(tmp_path):
    (tmp_path / "a.csv").write_text("predicted,label\n10,9\n9,9\n9,\n")
    found = read_predictions(tmp_path / "a.csv")
    assert (found.classes, found.report().average) == (("9", "10"), 0.5)
    for text, told in (
        ("label\na\n", "expected a first line of label, predicted and some of"),
        ("label,predicted\n", "expected a prediction in each of its rows, got 0"),
        ("label,predicted\na,\n", "expected a prediction in each"),
    ):
        (tmp_path / "b.csv").write_text(text)
        with pytest.raises(ConfigError, match=told):
            read_predictions(tmp_path / "b.csv")


def write(path, predicted, groups="ggh"):
    rows = [f"{n},a,{group},{p}" for n, (group, p) in enumerate(zip(groups, predicted, strict=True))]
    path.write_text("\n".join(["name,label,group,predicted", *rows]))
    return path


def test_methods_are_held_beside_each_other_on_equal_rows_alone(tmp_path):
    one, other = write(tmp_path / "one.csv", "abb"), write(tmp_path / "other.csv", "aaa")
    reports, notes = reports_of([one, other], None)
    assert {name: report.worst for name, report in reports.items()} == {"one": 0, "other": 1}
    assert notes == []
    (tmp_path / "train.csv").write_text("group,split\ng,train\ng,test\nh,train\nh,train\n")
    reports, _ = reports_of([one], tmp_path / "train.csv")
    assert reports["one"].adjusted == pytest.approx(0.5 / 3)
    with pytest.raises(ConfigError, match="expected the labels and groups of the first file"):
        reports_of([one, write(other, "aaa", "ghh")], None)
    with pytest.raises(ConfigError, match="expected predictions of the same rows"):
        reports_of([one, write(other, "aaaa", "gghh")], None)
    with pytest.raises(ConfigError, match="called alike"):
        reports_of([one, one], None)


def test_memory_is_a_few_numbers_a_row():
    rows = 20_000
    images = EmbeddingSet(unit_rows(rows, 256), labels=np.arange(rows) % 3, classes=TEXT.names)
    text = replace(TEXT, vectors=unit_rows(3, 256))
    for work in (lambda: predict(images.vectors, text.vectors), lambda: zero_shot_evaluation(images, text, k=2)):
        tracemalloc.start()
        work()
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        assert peak < 0.25 * images.vectors.nbytes


def test_siglip_is_measured_by_its_own_probabilities():
    images, text = (replace(each, logit_scale=10.0, logit_bias=-5.0) for each in (IMAGES, TEXT))
    found = zero_shot_evaluation(images, text, split="all")
    shares = probabilities(images.vectors[LABELS >= 0], text.vectors, logit_scale=10.0, logit_bias=-5.0, head="sigmoid")
    expected = expected_calibration_error(shares, LABELS[LABELS >= 0])
    assert found.calibration_error == pytest.approx(expected)


def test_groups_of_training_must_be_known(tmp_path):
    (tmp_path / "train.csv").write_text("group\ng\nx\n")
    with pytest.raises(ConfigError, match="group 'x' is none of 2"):
        read_group_counts(tmp_path / "train.csv", ("g", "h"))
    with pytest.raises(ConfigError, match="of the rows that are measured none is known"):
        read_group_counts(tmp_path / "train.csv", ())
