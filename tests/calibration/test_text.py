"""Documents from files, one stream of tokens, windows of it."""

import gzip
import json
import lzma
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import DEMO

from fmcompress.calibration import cut_windows, load_tokenizer, read_documents, sample_windows, token_stream
from fmcompress.errors import CalibrationError, CheckpointError

TEXT = "first line\n\nGrüße, 世界\n"


@pytest.mark.parametrize("ending", ["", ".gz", ".xz"])
def test_plain_and_json_lines(tmp_path: Path, ending: str) -> None:
    opener: Any = {"": open, ".gz": gzip.open, ".xz": lzma.open}[ending]
    with opener(tmp_path / f"a.txt{ending}", "wt", encoding="utf-8") as file:
        file.write(TEXT)
    with opener(tmp_path / f"a.b.jsonl{ending}", "wt", encoding="utf-8") as file:
        file.write(
            json.dumps({"text": TEXT, "more": 1}) + "\n\n" + json.dumps({"text": "b"}, ensure_ascii=False) + "\n"
        )
    assert list(read_documents(tmp_path / f"a.txt{ending}")) == [TEXT]
    assert list(read_documents(tmp_path / f"a.b.jsonl{ending}")) == [TEXT, "b"]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.pdf", b"", "expected a file ending in"),
        ("a.gz", b"", "expected a file ending in"),
        ("a.txt", None, "no such file"),
        ("a.txt", b"\xff\xfe\x00", "cannot be read as UTF-8"),
        ("a.txt.gz", b"no gzip", "cannot be read as UTF-8"),
        ("a.txt.gz", gzip.compress(b"text" * 99)[:-9], "cannot be read as UTF-8"),
        ("a.txt.xz", b"no xz", "cannot be read as UTF-8"),
        ("a.txt.xz", lzma.compress(b"text" * 99)[:-9], "cannot be read as UTF-8"),
        ("a.jsonl", b'{"text": "a"}\n{"text": 7}\n', r"line 2: expected \"text\" to be a string"),
        ("a.jsonl", b'{"text": "a"}\n\nnonsense\n', "line 3: expected a JSON object"),
        ("a.jsonl", b"[1]\n", "line 1: expected a JSON object"),
        ("a.jsonl", b"{}\n", "line 1: expected a JSON object"),
        ("a.jsonl", b"[" * 100_000, "line 1: expected a JSON object"),
    ],
)
def test_bad_files_are_named(tmp_path: Path, name: str, content: bytes | None, message: str) -> None:
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(CalibrationError, match=message) as raised:
        list(read_documents(tmp_path / name))
    assert str(tmp_path / name) in str(raised.value)


def test_gz_with_broken_content(tmp_path: Path) -> None:
    """A flipped bit inside of the compressed data is an error of zlib's own kind."""
    data = bytearray(gzip.compress(b"".join(b"%d " % number for number in range(5000))))
    data[len(data) // 2] ^= 0xFF
    data[20] ^= 0xFF
    (tmp_path / "a.txt.gz").write_bytes(data)
    with pytest.raises(CalibrationError, match=r"a\.txt\.gz"):
        list(read_documents(tmp_path / "a.txt.gz"))


def test_stream_has_an_end_token_between_documents_only(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(DEMO / "model")
    path = tmp_path / "a.jsonl"
    documents = ["Some words.", "Others, and more.", "The end"]
    path.write_text("".join(json.dumps({"text": text}) + "\n" for text in documents))
    stream = token_stream(tokenizer, path)
    parts = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in documents]
    end = [tokenizer.eos_token_id]
    assert stream.tolist() == parts[0] + end + parts[1] + end + parts[2]
    assert stream.dtype == torch.int64
    assert tokenizer.decode(token_stream(tokenizer, _write(tmp_path / "b.txt", TEXT))) == TEXT


def _write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_no_tokenizer(tmp_path: Path) -> None:
    with pytest.raises(
        CheckpointError, match=r"its tokenizer does not load .*Copy .*tokenizer\.json and tokenizer_config\.json"
    ):
        load_tokenizer(tmp_path)


@pytest.mark.parametrize(("tokens", "length", "count"), [(10, 3, 3), (9, 3, 3), (3, 3, 1), (5, 3, 1)])
def test_windows_follow_each_other(tokens: int, length: int, count: int) -> None:
    windows = cut_windows(torch.arange(tokens), length, "a.txt")
    assert windows.tolist() == torch.arange(count * length).view(count, length).tolist()


def test_too_short() -> None:
    with pytest.raises(CalibrationError, match=r"a\.txt: 2 tokens, shorter than one sequence of 3"):
        cut_windows(torch.arange(2), 3, "a.txt")
    with pytest.raises(CalibrationError, match="0 tokens"):
        cut_windows(torch.arange(0), 3, "a.txt")


def test_samples_depend_on_the_seed_alone() -> None:
    windows = torch.arange(40).view(20, 2)
    torch.manual_seed(1)
    first = sample_windows(windows, 6, 0)
    torch.manual_seed(2)
    assert sample_windows(windows, 6, 0).equal(first)
    assert not sample_windows(windows, 6, 1).equal(first)
    assert sample_windows(windows, 9, 0)[:6].equal(first)  # more samples add to fewer
    assert len({tuple(window) for window in first.tolist()}) == 6
    assert sorted(sample_windows(windows, 99, 3)[:, 0].tolist()) == windows[:, 0].tolist()
