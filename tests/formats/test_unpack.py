"""From a packed checkpoint back to the files of a dense run, byte for byte; from compressed-tensors to its values."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import all_bits, bare_checkpoint, random_weight, run
from helpers import folder_bytes, invoke, make_checkpoint, make_text, write_raw
from hostile import contents, write

from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import INDEX, PACKED_INDEX, PACKED_SINGLE, SINGLE, read_header_text
from fmcompress.errors import CheckpointError, ConfigError, DiskError
from fmcompress.formats import open_checkpoint
from fmcompress.formats.unpack import unpack_checkpoint
from fmcompress.workspace import FACTS


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("unpack")
    make_checkpoint(home / "single", blocks=1, hidden=64, dtype=torch.bfloat16)
    make_checkpoint(home / "sharded", blocks=2, hidden=64, dtype=torch.float16, shards=3)
    (home / "sharded" / "README.md").write_text("# A model\n\nGood.\n")
    make_text(home / "text.txt", 6_000)
    return home


def unpacked_name(name: str) -> str:
    return {PACKED_SINGLE: SINGLE, PACKED_INDEX: INDEX}.get(name, name)


def assert_restored(model: Path, tmp_path: Path, text: Path | None = None, **options: Any) -> Path:
    """Pack and unpack; nothing but the facts may differ from a dense run. Returns the packed folder."""
    run(model, tmp_path / "packed", text, format="packed", **options)
    run(model, tmp_path / "dense", text, format="dense", **options)
    unpack_checkpoint(tmp_path / "packed", tmp_path / "again")
    packed, dense, again = (folder_bytes(tmp_path / name) for name in ("packed", "dense", "again"))
    assert again.keys() == dense.keys()
    assert {name for name in dense if again[name] != dense[name]} <= {FACTS, "README.md"}  # they tell of unpacking
    assert {unpacked_name(name) for name in packed} == dense.keys()
    assert not list(tmp_path.glob("*.partial"))
    return tmp_path / "packed"


OPTIONS: dict[str, dict[str, Any]] = {
    "half": {"sparsity": 0.5, "method": "magnitude"},
    "2:4 solved": {"pattern": "2:4"},
    "4:8": {"pattern": "4:8", "method": "magnitude"},
    "4 bits": {"method": "rtn", "bits": 4, "group_size": 48},
    "3 bits asymmetric solved": {"bits": 3, "group_size": "row", "symmetric": False},
    "half and 4 bits solved": {"sparsity": 0.5, "bits": 4, "group_size": 32, "block_size": 64},
    "nothing pruned": {"sparsity": 0.0, "method": "magnitude"},
}


@pytest.mark.parametrize("model", ["single", "sharded"])
@pytest.mark.parametrize("case", OPTIONS)
def test_packed_comes_back_to_the_byte(home: Path, tmp_path: Path, case: str, model: str) -> None:
    text = home / "text.txt" if "solved" in case else None
    packed = assert_restored(home / model, tmp_path, text, **OPTIONS[case])
    assert all_bits(open_checkpoint(packed)) == all_bits(Checkpoint(tmp_path / "dense"))
    if case != "nothing pruned":
        assert open_checkpoint(packed).total_bytes < Checkpoint(tmp_path / "dense").total_bytes


def rewritten(folder: Path, spell: Callable[[dict[str, Any]], bytes], order: Callable[[list[str]], list[str]]) -> None:
    """Write model.safetensors with the bytes of its tensors in another order and its header spelt another way."""
    source = Checkpoint(folder)
    header: dict[str, Any] = json.loads(read_header_text(folder / SINGLE)[0])
    data, entries = b"", {}
    for name in order([name for name in header if name != "__metadata__"]):
        part = source.read(name).contiguous().view(-1).view(torch.uint8).numpy().tobytes()
        entries[name] = {**header[name], "data_offsets": [len(data), len(data) + len(part)]}
        data += part
    write_raw(folder / SINGLE, spell(entries), data)


SPELLINGS: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "indented": lambda header: json.dumps(header, indent=3).encode(),
    "padded": lambda header: json.dumps(header).encode() + b" " * 77,
    "no metadata, other key order": lambda header: json.dumps(dict(reversed(header.items()))).encode(),
    "escapes": lambda header: json.dumps({"__metadata__": {"ü": "\u2028 \U0001f600"}, **header}).encode(),
    "raw UTF-8": lambda header: json.dumps(
        {"__metadata__": {"ü": "ß \U0001f600"}, **header}, ensure_ascii=False
    ).encode(),
    "line ends": lambda header: b"\r\n" + json.dumps(header, indent=1).replace("\n", "\r\n").encode() + b"\r\n\t ",
    "keys of an entry": lambda header: json.dumps(header, sort_keys=True).encode(),
}


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_odd_headers_come_back(tmp_path: Path, spelling: str) -> None:
    tensors = {f"layer.{n}.weight": random_weight(16, 32, torch.bfloat16, n) for n in range(3)}
    extra = {"norm": torch.ones(5), "empty": torch.zeros(0, 4), "scalar": torch.tensor(3, dtype=torch.int64)}
    model = bare_checkpoint(tmp_path / "model", {**tensors, **extra})
    rewritten(model, SPELLINGS[spelling], lambda names: sorted(names, key=lambda name: name[::-1]))
    assert_restored(model, tmp_path, pattern="2:4", method="magnitude")


@pytest.mark.parametrize("spell", [lambda text: text.replace("\n", "\r\n"), lambda text: " " + text + "\n\n"])
def test_odd_index_comes_back(home: Path, tmp_path: Path, spell: Callable[[str], str]) -> None:
    model = Path(shutil.copytree(home / "sharded", tmp_path / "model"))
    index = json.loads((model / INDEX).read_text())
    turned = {**index, "more": "ü", "weight_map": dict(reversed(index["weight_map"].items()))}
    (model / INDEX).write_bytes(spell(json.dumps(turned, indent=1, ensure_ascii=False)).encode())
    assert_restored(model, tmp_path, sparsity=0.5, method="magnitude")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32-le"])
def test_headers_that_are_not_utf8_are_refused_at_once(tmp_path: Path, encoding: str) -> None:
    """The format asks for UTF-8, and nothing else could be remembered as text."""
    model = bare_checkpoint(tmp_path / "model", {"layer.0.weight": random_weight(8, 32)})
    rewritten(model, lambda header: json.dumps(header).encode(encoding), list)
    with pytest.raises(CheckpointError, match=SINGLE):
        run(model, tmp_path / "out", method="rtn", format="packed")


@pytest.mark.parametrize("spelt", [b"\\ud800", b"\\uDFFF", b"\xed\xa0\x80", b"\xff"])
def test_text_that_nobody_could_write_is_refused(tmp_path: Path, spelt: bytes) -> None:
    """Half a character, which Python's json would take: as names of files and in messages it would be trouble."""
    model = bare_checkpoint(tmp_path / "model", {"layer.0.weight": random_weight(8, 32)})
    rewritten(model, lambda header: b'{"__metadata__":{"a":"%s"},' % spelt + json.dumps(header).encode()[1:], list)
    with pytest.raises(CheckpointError, match=f"{SINGLE}: the safetensors header is not valid JSON"):
        run(model, tmp_path / "out", method="rtn", format="packed")


@pytest.mark.parametrize("model", ["single", "sharded"])
@pytest.mark.parametrize(
    "options",
    [{"group_size": 32}, {"group_size": "row", "symmetric": False}, {"group_size": 64, "sparsity": 0.5, "bits": 4}],
    ids=["4", "4 asymmetric", "half and 4"],
)
def test_compressed_tensors_become_dense(home: Path, tmp_path: Path, options: dict[str, Any], model: str) -> None:
    method = "magnitude" if "sparsity" in options else "rtn"
    run(home / model, tmp_path / "quantized", format="compressed-tensors", method=method, **options)
    run(home / model, tmp_path / "dense", format="dense", method=method, **options)
    written = unpack_checkpoint(tmp_path / "quantized", tmp_path / "again")
    assert all_bits(written) == all_bits(Checkpoint(tmp_path / "dense"))
    assert type(open_checkpoint(tmp_path / "again")) is Checkpoint
    config, before = (json.loads((tmp_path / n / "config.json").read_text()) for n in ("again", "dense"))
    assert config == before
    assert [path.name for path in written.shards] == [path.name for path in Checkpoint(home / model).shards]
    if model == "sharded":
        assert json.loads((tmp_path / "again" / INDEX).read_text())["weight_map"].keys() == written.tensors.keys()


def test_refusals(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="its weights are dense already"):
        unpack_checkpoint(home / "single", tmp_path / "out")
    with pytest.raises(CheckpointError, match="no such folder"):
        unpack_checkpoint(tmp_path / "nowhere", tmp_path / "out")
    run(home / "single", tmp_path / "packed", method="rtn", format="packed")
    with pytest.raises(ConfigError, match="is no folder"):
        unpack_checkpoint(tmp_path / "packed", tmp_path / "no" / "where")
    for name in ("out", "out.partial"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "mine").write_text("keep me")
        with pytest.raises(ConfigError, match=f"{name} exists"):
            unpack_checkpoint(tmp_path / "packed", tmp_path / "out")
        assert (tmp_path / name / "mine").read_text() == "keep me"
        shutil.rmtree(tmp_path / name)
    with pytest.raises(ConfigError, match="exists"):
        unpack_checkpoint(tmp_path / "packed", tmp_path / "packed")
    monkeypatch.setattr(Path, "rename", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
    with pytest.raises(DiskError, match="the disk is full"):
        unpack_checkpoint(tmp_path / "packed", tmp_path / "out")
    assert {path.name for path in tmp_path.iterdir()} == {"packed"}


@pytest.mark.parametrize("form", ["packed", "compressed-tensors"])
def test_the_facts_tell_of_the_dense_form(home: Path, tmp_path: Path, form: str) -> None:
    facts = run(home / "single", tmp_path / "small", method="rtn", group_size=32, format=form)
    unpack_checkpoint(tmp_path / "small", tmp_path / "dense")
    written = json.loads((tmp_path / "dense" / FACTS).read_text())
    assert (written["format"], written["bits_per_weight"]) == ("dense", 16)
    assert written["bytes_after"] == written["bytes_before"] == facts["bytes_before"] > facts["bytes_after"]
    assert written["layers"] == facts["layers"]
    (tmp_path / "small" / FACTS).write_text("[]")  # nothing depends on it
    unpack_checkpoint(tmp_path / "small", tmp_path / "other")


@pytest.mark.parametrize("form", ["packed", "compressed-tensors"])
def test_the_card_tells_how_the_weights_are_stored(home: Path, tmp_path: Path, form: str) -> None:
    """Also of a model that was compressed and unpacked before: the last note is the one that changes."""
    source = home / "sharded"
    for number in range(2):
        run(source, tmp_path / f"small{number}", method="rtn", group_size=32, symmetric=False, format=form)
        unpack_checkpoint(tmp_path / f"small{number}", source := tmp_path / f"dense{number}")
    small, dense = ((tmp_path / name / "README.md").read_text() for name in ("small1", "dense1"))
    sentence = {"packed": "`fmcompress unpack` makes them dense again", "compressed-tensors": "dequantize=True"}[form]
    assert [text.count(sentence) for text in (small, dense)] == [1, 0]
    assert [text.count("They are dense again") for text in (small, dense)] == [1, 2]
    assert dense.startswith("# A model\n\nGood.\n")
    again = run(home / "single", tmp_path / "no card", method="rtn", group_size=32, format=form)
    assert again["format"] == form
    assert not (tmp_path / "no card" / "README.md").exists()


def test_out_may_be_an_empty_folder(home: Path, tmp_path: Path) -> None:
    run(home / "single", tmp_path / "packed", method="rtn", format="packed")
    (tmp_path / "out").mkdir()
    unpack_checkpoint(tmp_path / "packed", tmp_path / "out")
    assert type(open_checkpoint(tmp_path / "out")) is Checkpoint
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="file exists"):
        unpack_checkpoint(tmp_path / "packed", tmp_path / "file")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "out", "packed"]


def test_errors_tell_reading_from_writing(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run(home / "single", tmp_path / "packed", method="rtn", format="packed")
    real = shutil.copyfile

    def copyfile(source: Path, target: Path) -> Any:
        if Path(source).name == "tokenizer.json":
            raise PermissionError(13, "Permission denied", str(source))
        return real(source, target)

    monkeypatch.setattr(shutil, "copyfile", copyfile)
    for attempt in (
        lambda: unpack_checkpoint(tmp_path / "packed", tmp_path / "out"),
        lambda: run(home / "single", tmp_path / "out", method="rtn", format="packed"),
        lambda: run(home / "single", tmp_path / "out", method="rtn", format="dense", force=True),
    ):
        with pytest.raises(DiskError, match=r"tokenizer\.json: cannot be read \(Permission denied\)"):
            attempt()
    shutil.rmtree(tmp_path / "out.partial", ignore_errors=True)
    monkeypatch.setattr(Path, "mkdir", lambda *_, **__: (_ for _ in ()).throw(PermissionError(13, "Permission denied")))
    for attempt in (
        lambda: unpack_checkpoint(tmp_path / "packed", tmp_path / "out"),
        lambda: run(home / "single", tmp_path / "out", method="rtn", format="packed"),
    ):
        with pytest.raises(DiskError, match=r"out\.partial: cannot be written \(Permission denied\)"):
            attempt()


NASTY = "l.0[/b] \x1b[31m:bug:\n.weight"


def test_names_are_printed_as_they_are(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """No markup, no pictures, and nothing that moves a terminal's cursor."""
    spelt = r"l.0[/b] \x1b[31m:bug:\n.weight"
    model, out = bare_checkpoint(tmp_path / "model", {NASTY: random_weight(32, 64)}), tmp_path / "out[dim][" / "x]"
    out.parent.mkdir()
    outcome = invoke(capsys, "quantize", model, tmp_path / "packed", "--method", "rtn", "--format", "packed")
    assert outcome.code == 0
    assert f"block 1/1 · {spelt} · " in outcome.stderr
    outcome = invoke(capsys, "unpack", tmp_path / "packed", out)
    assert (outcome.code, outcome.stderr) == (0, "")
    assert outcome.stdout.startswith(f"{out}: 1 tensors")
    assert spelt in invoke(capsys, "inspect", out).stdout
    (model / "config.json").write_text("{}")
    outcome = invoke(capsys, "quantize", model, tmp_path / "again", "--method", "rtn", "--group-size", "7")
    assert outcome.code == 2
    assert outcome.stderr.count("\n") == 1
    assert outcome.stderr.startswith(f"error: {spelt}: ")


def test_packed_and_quantized_models_are_no_sources(home: Path, tmp_path: Path) -> None:
    for form in ("packed", "compressed-tensors"):
        run(home / "single", tmp_path / form, method="rtn", group_size=32, format=form)
        with pytest.raises(ConfigError, match=r"packed or quantized already.*fmcompress unpack"):
            run(tmp_path / form, tmp_path / "out", method="magnitude", sparsity=0.5)


def test_a_folder_that_remembers_nothing_is_not_restored_to_the_byte(home: Path, tmp_path: Path) -> None:
    """As another writer of the format may leave it."""
    run(home / "single", tmp_path / "packed", method="rtn", format="packed")
    texts, tensors = contents(tmp_path / "packed")
    write(tmp_path / "other", {k: text for k, text in texts.items() if k != "fmcompress.source_header"}, tensors)
    for folder, expected in (("packed", 0), ("other", 1)):
        notes: list[str] = []
        unpack_checkpoint(tmp_path / folder, tmp_path / f"{folder} dense", note=notes.append)
        assert len(notes) == expected
    first, second = (Checkpoint(tmp_path / f"{folder} dense") for folder in ("packed", "other"))
    assert all_bits(first) == all_bits(second)


@pytest.mark.parametrize("form", ["packed", "compressed-tensors"])
def test_progress(home: Path, tmp_path: Path, form: str) -> None:
    run(home / "single", tmp_path / "small", method="rtn", group_size=32, format=form)
    told: list[tuple[int, int, str]] = []
    written = unpack_checkpoint(tmp_path / "small", tmp_path / "dense", lambda *step: told.append(step))
    total = len(written.tensors)
    assert [step[:2] for step in told] == [(done, total) for done in range(total)]
    assert {step[2] for step in told} == written.tensors.keys()


@pytest.mark.parametrize("form", ["packed", "compressed-tensors"])
def test_by_the_command_line(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], form: str) -> None:
    run(home / "single", tmp_path / "packed", method="rtn", group_size=32, format=form)
    outcome = invoke(capsys, "unpack", tmp_path / "packed", tmp_path / "a", "--json")
    assert outcome.code == 0, outcome.stderr
    told, source = json.loads(outcome.stdout), Checkpoint(home / "single")
    notes = [] if form == "packed" else ["not the source's to the byte"]
    assert [note[-28:] for note in told["notes"]] == notes
    expected = {"out": str(tmp_path / "a"), "tensors": len(source.tensors), "bytes": source.total_bytes}
    assert {key: told[key] for key in expected} == expected
    spoken = invoke(capsys, "unpack", tmp_path / "packed", tmp_path / "b")
    assert f"{len(source.tensors)} tensors" in spoken.stdout
    assert folder_bytes(tmp_path / "a") == folder_bytes(tmp_path / "b")
    again = invoke(capsys, "unpack", tmp_path / "packed", tmp_path / "b")
    assert (again.code, again.stdout) == (2, "")
    assert again.stderr.startswith("error: OUT: ")
