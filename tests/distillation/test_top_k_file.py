"""A file of logits: written whole or not at all, read with checks whatever its bytes are."""

import json

import pytest
import torch
from helpers import invoke, make_text
from hypothesis import given, settings
from hypothesis import strategies as st
from recover_cases import checkpoint

from fmcompress.checkpoint.layout import read_header_text
from fmcompress.distillation.teacher_logits import write_teacher_logits
from fmcompress.distillation.top_k_code import top_k
from fmcompress.distillation.top_k_logits import METADATA, About, LogitsFile, LogitsWriter
from fmcompress.errors import CalibrationError, ConfigError, FmcompressError, PayloadError
from fmcompress.runtime import load

ABOUT = About(k=4, vocabulary=50, windows=3, length=6, teacher="t", tokenizer="w")


def rows(count, seed=0):
    return top_k(torch.randn(count, 50, generator=torch.Generator().manual_seed(seed)), 4)


def write(path, about=ABOUT, counts=(7, 8)):
    tokens = torch.arange(about.windows * about.length).view(about.windows, about.length)
    with LogitsWriter(path, about, tokens) as writer:
        for number, count in enumerate(counts):
            writer.add(rows(count, number))
    return path


def test_rows_come_back_window_by_window(tmp_path):
    found = LogitsFile(write(tmp_path / "some.safetensors"))
    assert found.about.model_copy(update={"crc32": {}}) == ABOUT
    assert torch.equal(found.tokens, torch.arange(18).view(3, 6))
    expected = torch.cat([rows(7, 0).ids, rows(8, 1).ids])
    assert torch.equal(found.read([0, 1, 2]).ids, expected)
    assert torch.equal(found.read([2, 0]).ids, torch.cat([expected[10:], expected[:5]]))
    assert list(tmp_path.iterdir()) == [tmp_path / "some.safetensors"]


def test_it_is_written_whole_or_not_at_all(tmp_path):
    path = tmp_path / "some.safetensors"
    with pytest.raises(ConfigError, match="expected 15 rows"):
        write(path, counts=(7,))
    with pytest.raises(IndexError), LogitsWriter(path, ABOUT, torch.zeros(3, 6).long()) as writer:
        writer.add(rows(7).ids[9])
    assert not list(tmp_path.iterdir())
    write(path)
    before = path.read_bytes()
    with pytest.raises(ConfigError, match="expected 15 rows"):
        write(path, counts=(7,))
    assert path.read_bytes() == before


def changed(path, **fields):
    """The same file with other words about it."""
    text, _ = read_header_text(path)
    header = json.loads(text)
    header["__metadata__"][METADATA] = json.dumps({**json.loads(header["__metadata__"][METADATA]), **fields})
    data = path.read_bytes()[8 + len(text) :]
    new = json.dumps(header).encode()
    path.write_bytes(len(new).to_bytes(8, "little") + new + data)
    return path


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"version": 2}, "version"),
        ({"k": 60}, "top-k"),
        ({"k": 3}, "wrong checksum"),
        ({"k": 20}, "expected torch.uint8"),
        ({"temperature": 1.5}, "wrong checksum"),
        ({"teacher": "another"}, "wrong checksum"),
        ({"windows": 4}, "tokens: expected"),
        ({"length": 1}, "length"),
        ({"vocabulary": 17}, "expected|below 17"),
        ({"temperature": "1"}, "temperature"),
        ({"bits": 5}, "bits"),
        ({"more": 1}, "more"),
        ({"crc32": {}}, "wrong checksum"),
    ],
)
def test_words_that_do_not_fit_are_refused(tmp_path, fields, told):
    with pytest.raises(PayloadError, match=told):
        LogitsFile(changed(write(tmp_path / "some.safetensors"), **fields))


def test_tokens_outside_of_the_vocabulary_are_refused(tmp_path):
    path = tmp_path / "some.safetensors"
    with LogitsWriter(path, ABOUT, torch.full((3, 6), 50)) as writer:
        writer.add(rows(15))
    with pytest.raises(PayloadError, match="below 50"):
        LogitsFile(path)


def test_another_safetensors_file_is_none_of_logits(tmp_path):
    with pytest.raises(PayloadError, match="no file of logits"):
        LogitsFile(checkpoint(tmp_path / "model") / "model.safetensors")
    with pytest.raises(ConfigError, match="no such file"):
        LogitsFile(tmp_path / "none.safetensors")


@settings(deadline=None, max_examples=120)
@given(st.integers(0, 1 << 30), st.integers(1, 255))
def test_no_damaged_byte_goes_unseen(tmp_path_factory, place, flip):
    path = write(tmp_path_factory.mktemp("damaged") / "some.safetensors")
    data = bytearray(path.read_bytes())
    data[place % len(data)] ^= flip
    path.write_bytes(data)
    try:
        found = LogitsFile(path)
    except FmcompressError as error:
        assert "\n" not in str(error)
        return
    # JSON has more than one way to say the same
    expected = torch.cat([rows(7, 0).ids, rows(8, 1).ids])
    assert torch.equal(found.read([0, 1, 2]).ids, expected)


@pytest.mark.parametrize("cut", [0, 1, 100, -1])
def test_a_file_cut_short_is_told(tmp_path, cut):
    path = write(tmp_path / "some.safetensors")
    path.write_bytes(path.read_bytes()[:cut])
    with pytest.raises(PayloadError, match=r"cut short|not a safetensors"):
        LogitsFile(path)


@pytest.mark.parametrize(("k", "bits"), [(16, 8), (16, 4), (3000, 8)])
def test_a_teacher_run_block_by_block_says_what_it_says_in_memory(tmp_path, k, bits, monkeypatch):
    monkeypatch.setattr("fmcompress.evaluation.LOGIT_BYTES", 4 * 2048 * 20)  # slices of one window
    model, text = checkpoint(tmp_path / "model"), make_text(tmp_path / "text.txt", 4000)
    out = tmp_path / "logits.safetensors"
    facts = write_teacher_logits(model, text, out, k=k, sequence_length=32, max_windows=5, bits=bits, temperature=1.5)
    file = LogitsFile(out)
    assert (file.about.k, file.about.length, file.about.windows) == (min(k, 2048), 32, 5)
    assert file.about.temperature == 1.5
    with torch.no_grad():
        logits = load(model)(input_ids=file.tokens).logits[:, :-1].flatten(0, 1)
    expected, found = top_k(logits, file.about.k, 1.5), file.read([0, 1, 2, 3, 4])
    assert float((expected.ids == found.ids).float().mean()) > 0.999  # the last of k may be as likely as the next one
    assert float((expected.log_p.exp() - found.log_p.exp()).abs().max()) < (2e-3 if bits == 8 else 2e-2)
    assert facts["bytes_per_token"] * facts["tokens"] < facts["bytes"] == out.stat().st_size
    assert 0 <= facts["kl_mean"] <= facts["kl_max"] < (1e-3 if bits == 8 else 5e-2)
    assert facts["kept"] == pytest.approx(float(expected.log_p.exp().sum(1).mean()), rel=1e-4)


def test_the_command_writes_it_once(tmp_path, capsys):
    model, text = checkpoint(tmp_path / "model"), make_text(tmp_path / "text.txt", 4000)
    out = tmp_path / "logits.safetensors"
    options = ["distill", "logits", model, text, out, "--top-k", 8, "--sequence-length", 16, "--max-windows", 3]
    told = invoke(capsys, *options, "--json")
    assert told.code == 0, told.stderr
    assert json.loads(told.stdout)["tokens"] == 45
    again = invoke(capsys, *options)
    assert again.code == 2
    assert "is there already" in again.stderr
    line = invoke(capsys, *options, "--force")
    assert line.code == 0
    assert "45 tokens in 3 windows of 16" in line.stdout


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--bits", 5], "4 or 8"),
        (["--temperature", 0], "more than 0"),
        (["--sequence-length", 128, "--max-windows", 1, "--temperature", "nan"], "more than 0"),
    ],
)
def test_what_cannot_be_done_is_told_in_a_line(tmp_path, capsys, options, told):
    model, text = checkpoint(tmp_path / "model"), make_text(tmp_path / "text.txt", 4000)
    result = invoke(capsys, "distill", "logits", model, text, tmp_path / "x.safetensors", *options)
    assert result.code == 2
    assert told in result.stderr
    assert result.stderr.count("\n") == 1
    assert not (tmp_path / "x.safetensors").exists()


def test_a_text_too_short_is_told(tmp_path):
    model = checkpoint(tmp_path / "model")
    (tmp_path / "text.txt").write_text("a")
    with pytest.raises(CalibrationError, match="shorter than one sequence"):
        write_teacher_logits(model, tmp_path / "text.txt", tmp_path / "x.safetensors", sequence_length=32)
