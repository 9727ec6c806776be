"""Teachers are measured over all rows; on the published completions the figures come out that are known of them."""

import pytest

from fmcompress.distillation.completions import with_teacher
from fmcompress.distillation.examples import Example
from fmcompress.distillation.raw_data import read_data
from fmcompress.distillation.tasks import task
from fmcompress.distillation.teacher_report import BOTH, TeacherReport, report_lines, reports_by_split, teacher_report

SVAMP = task("svamp")
TOLD = ["Hm. The answer is (1 + 1).", "Hm. The answer is (1 + 2).", "Hm.", "", "Hm. The answer is (x).", None]


def told(*texts, split=None, label="2"):
    return [with_teacher(Example(str(n), label, split=split, completion=t), SVAMP) for n, t in enumerate(texts)]


def test_what_does_not_parse_is_wrong_and_counted():
    report = teacher_report(told(*TOLD), SVAMP)
    assert report == TeacherReport(5, 5, 1, {"no answer": 1, "no text": 1}, {"no value": 1})
    assert report.accuracy == report.as_dict()["accuracy"] == 0.2


def test_rows_without_a_label_say_nothing_of_accuracy():
    report = teacher_report(told(*TOLD[:3], label=None), SVAMP)
    assert (report.rows, report.labelled, report.accuracy) == (3, 0, None)
    assert report.unparsed == {"no answer": 1}


def test_splits():
    some = [*told(*TOLD[:2], split="train"), *told(TOLD[0], split="valid"), *told(TOLD[2], split="test")]
    found = reports_by_split(some, SVAMP)
    assert {name: one.accuracy for name, one in found.items()} == {BOTH: 2 / 3, "train": 0.5, "valid": 1.0, "test": 0.0}
    assert list(reports_by_split(told(*TOLD), SVAMP)) == ["all"]
    assert reports_by_split(told(None), SVAMP) == {}
    lines = report_lines(found)
    assert lines[0].split() == ["split", "rows", "right", "accuracy", "unparsed", "unusable"]
    assert lines[1].split() == [*BOTH.split(), "3", "2", "0.6667", "0", "0"]
    assert lines[-1] == "test: no answer 1"


# of the released PaLM completions: rows, right, unparsed, as they are known from a second program
KNOWN = {
    "cqa": {BOTH: (9741, 7234, 3, 0.7426), "test": (1221, 943, 0, 0.7723)},
    "svamp": {BOTH: (800, 586, 13, 0.7325), "test": (200, 148, 2, 0.740)},
}


@pytest.mark.parametrize("name", KNOWN)
def test_the_published_completions(shared_data, name):
    folder = shared_data / "distilling-step-by-step" / name
    if not folder.is_dir():
        pytest.skip(f"no published completions: {folder} is not there.")
    found = read_data(task(name), folder, completions=list((folder / "palm").iterdir()))
    assert found.left_out == {}
    reports = reports_by_split([with_teacher(one, task(name)) for one in found.examples], task(name))
    for split, (rows, right, unparsed, accuracy) in KNOWN[name].items():
        report = reports[split]
        assert (report.rows, report.labelled, report.right) == (rows, rows, right)
        assert sum(report.unparsed.values()) == unparsed
        assert round(report.accuracy, 4) == accuracy


@pytest.mark.parametrize(
    ("name", "sizes"),
    [("distilling-step-by-step/cqa", (8766, 975, 1221)), ("distilling-step-by-step/svamp", (720, 80, 200)),
     ("esnli", (8854, 985, 9824)), ("gsm8k", (6725, 748, 1319))],
)  # fmt: skip
def test_real_splits_share_no_input(shared_data, name, sizes):
    if not (shared_data / name).is_dir():
        pytest.skip(f"no data: {shared_data / name} is not there.")
    known = task(name.split("/")[-1])
    examples = read_data(known, shared_data / name).examples
    families = {split: [known.family(one.input) for one in examples if one.split == split]
                for split in ("train", "valid", "test")}  # fmt: skip
    assert tuple(map(len, families.values())) == sizes
    assert sum(len(set(some)) for some in families.values()) == len({one for some in families.values() for one in some})
    assert all(known.right(one.label, one.label) for one in examples)
    with_reason = [one for one in examples if one.rationale]
    assert len(with_reason) == (len(examples) if known.name in ("esnli", "gsm8k") else 0)
    assert not any("<<" in one.rationale or "####" in one.rationale for one in with_reason)
