import json

import pytest

from fmcompress.errors import CalibrationError
from fmcompress.pairs import Pair, class_names, read_pairs, require_media


def manifest(folder, *lines):
    path = folder / "pairs.jsonl"
    path.write_text("".join((line if isinstance(line, str) else json.dumps(line)) + "\n" for line in lines))
    return path


def test_every_kind_of_pair_is_read(tmp_path):
    path = manifest(
        tmp_path,
        {"image": "a.png", "text": " a cat "},
        "  ",
        {"video": "/films/b.npy", "label": "running", "split": "test"},
        {"image": "c/d.png", "question": "what?", "answer": "a cat", "text": None},
    )
    assert read_pairs(path) == [
        Pair(tmp_path / "a.png", False, text="a cat", line=1),
        Pair(type(tmp_path)("/films/b.npy"), True, label="running", split="test", line=3),
        Pair(tmp_path / "c" / "d.png", False, question="what?", answer="a cat", line=4),
    ]


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("{", "JSON object"),
        ("[1]", "JSON object"),
        ("[" * 5000, "JSON object"),
        ('{"image": "a.png", "image": "b.png", "text": "c"}', "no key twice"),
        ('{"image": "a.png", "text": "half a letter \\ud800"}', '"text" to be a string'),
        ({"text": "a cat"}, '"image" or "video", got neither'),
        ({"image": "a", "video": "b", "text": "c"}, "got image and video"),
        ({"image": "a"}, "got none of them"),
        ({"image": "a", "text": "b", "label": "c"}, "got text, label"),
        ({"image": "a", "question": "b"}, "got question"),
        ({"image": "a", "answer": "b", "text": "c"}, "got text, answer"),
        ({"image": "a", "text": 3}, 'expected "text" to be a string'),
        ({"image": " ", "text": "a"}, 'expected "image" to be a string'),
        ({"image": "a\0b", "text": "a"}, 'expected "image" to be a string'),
        ({"image": "a", "text": "b", "split": 1}, 'expected "split"'),
    ],
)
def test_line_that_is_no_pair_is_named(line, told, tmp_path):
    path = manifest(tmp_path, {"image": "a.png", "text": "a cat"}, "", line)
    with pytest.raises(CalibrationError, match=told) as caught:
        read_pairs(path)
    assert "pairs.jsonl, line 3: expected" in str(caught.value)


def test_unknown_keys_are_told(tmp_path):
    told: list[str] = []
    lines = [{"image": "a", "text": "b", "caption": "c"}] * 2 + [{"image": "a", "text": "b", "id": 1}]
    assert len(read_pairs(manifest(tmp_path, *lines), note=told.append)) == 3
    assert [line.partition(": ")[2] for line in told] == [
        "the key 'caption' of 2 lines is not known and does nothing.",
        "the key 'id' of 1 lines is not known and does nothing.",
    ]
    with pytest.warns(UserWarning, match="caption"):
        read_pairs(manifest(tmp_path, *lines[:2]))


def test_manifests_that_are_none_are_refused(tmp_path):
    with pytest.raises(CalibrationError, match="no such file"):
        read_pairs(tmp_path / "none.jsonl")
    with pytest.raises(CalibrationError, match="holds no pairs"):
        read_pairs(manifest(tmp_path, "", ""))
    (tmp_path / "x.jsonl").write_bytes(b"\xff\xfe")
    with pytest.raises(CalibrationError, match="UTF-8"):
        read_pairs(tmp_path / "x.jsonl")


def test_missing_files_are_counted_and_the_first_is_named(tmp_path):
    (tmp_path / "there.png").touch()
    names = ["there.png", "gone.png", "there.png", "gone.png", "lost.npy"]
    pairs = read_pairs(manifest(tmp_path, *({"image": name, "text": "a"} for name in names)))
    with pytest.raises(CalibrationError, match=r"gone\.png: 2 of 3 images and videos are not there.* of line 2"):
        require_media(pairs)
    require_media(pairs[:1])


def test_name_too_long_is_no_file_and_a_byte_order_mark_no_letter(tmp_path):
    path = manifest(tmp_path, "\ufeff" + json.dumps({"image": "a" * 300, "text": "x"}))
    with pytest.raises(CalibrationError, match="1 of 1 images and videos are not there"):
        require_media(read_pairs(path))


def test_classes_are_numbered_by_name(tmp_path):
    lines = [{"image": "a", "label": "dog"}, {"video": "b", "label": "cat"}, {"image": "a", "label": "dog"}]
    assert class_names(read_pairs(manifest(tmp_path, *lines, {"image": "a", "text": "zebra"}))) == ["cat", "dog"]
