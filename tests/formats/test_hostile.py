"""Packed and quantized checkpoints from strangers: they read, or are refused by name; nothing else may happen."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import bare_checkpoint, bits_of, random_weight, run
from hostile import JUNK, MANY, contents, damaged, peak_kib, read_all, reset_peak_kib, survives, write
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from fmcompress import memory
from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import INDEX, PACKED_SINGLE, SINGLE, entry_file, read_header_text
from fmcompress.errors import PayloadError
from fmcompress.formats import packed

HALF, PLACES, PAIRS, LEVELS, JOINT, PLAIN = (f"layer.{n}.weight" for n in range(6))
OPTIONS: dict[str, dict[str, Any]] = {
    HALF: {"method": "magnitude", "sparsity": 0.5},
    PLACES: {"method": "magnitude", "pattern": "1:5"},
    PAIRS: {"method": "magnitude", "pattern": "2:8"},
    LEVELS: {"method": "rtn", "bits": 4, "group_size": 32},
    JOINT: {"method": "magnitude", "sparsity": 0.5, "bits": 3, "group_size": "row", "symmetric": False},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One file with every kind of packed tensor."""
    home = tmp_path_factory.mktemp("hostile")
    parts: dict[str, Tensor] = {PLAIN: random_weight(4, 40, torch.bfloat16)}
    texts: dict[str, str] = {}
    for name, options in OPTIONS.items():
        model = bare_checkpoint(home / name, {name: random_weight(4, 40, torch.bfloat16)})
        run(model, home / f"{name}.out", format="packed", **options)
        source = Checkpoint(home / f"{name}.out")
        parts.update({part: source.read(part) for part in source.tensors})
        texts.update(json.loads(read_header_text(source.shards[0])[0])["__metadata__"])
    del texts["fmcompress.source_header"]
    write(home / "packed", texts, parts)
    return home


def test_undamaged(home: Path) -> None:
    assert read_all(home / "packed").keys() == {*OPTIONS, PLAIN}


# descriptions


def described(home: Path, tmp_path: Path, key: str, change: Callable[[Any], Any]) -> Path:
    texts, tensors = contents(home / "packed")
    fields = json.loads(texts[key])
    changed = change(fields)
    texts[key] = json.dumps(fields if changed is None else changed)
    return write(tmp_path / "changed", texts, tensors)


FIELDS: dict[str, tuple[str, Callable[[Any], Any], str]] = {
    "negative rows": (HALF, lambda d: d.update(rows=-4), "rows"),
    "huge rows": (HALF, lambda d: d.update(rows=1 << 39), "bitmask: expected"),
    "rows beyond all numbers": (HALF, lambda d: d.update(rows=10**30), "rows"),
    "rows as text": (HALF, lambda d: d.update(rows="4"), "rows"),
    "rows as a fraction": (HALF, lambda d: d.update(rows=4.0), "rows"),
    "rows as truth": (HALF, lambda d: d.update(rows=True), "rows"),
    "more rows": (HALF, lambda d: d.update(rows=5), "bitmask: expected"),
    "fewer columns": (HALF, lambda d: d.update(cols=39), "does not decode|bitmask"),
    "other columns": (LEVELS, lambda d: d.update(cols=41, kept=164), "codes: expected"),
    "kept beyond": (HALF, lambda d: d.update(kept=161), "keeps 161 of 160"),
    "kept fewer": (HALF, lambda d: d.update(kept=79), "values: expected"),
    "kept negative": (HALF, lambda d: d.update(kept=-1), "kept"),
    "kept not all": (LEVELS, lambda d: d.update(kept=159), "keeps 159 of 160"),
    "dtype": (HALF, lambda d: d.update(dtype="F64"), "dtype"),
    "other dtype": (HALF, lambda d: d.update(dtype="F16"), "values: expected F16"),
    "bits 5": (LEVELS, lambda d: d["grid"].update(bits=5), "grid.bits"),
    "bits 0": (LEVELS, lambda d: d["grid"].update(bits=0), "grid.bits"),
    "bits as text": (LEVELS, lambda d: d["grid"].update(bits="4"), "grid.bits"),
    "other bits": (LEVELS, lambda d: d["grid"].update(bits=8), "codes: expected"),
    "group size 0": (LEVELS, lambda d: d["grid"].update(group_size=0), "grid.group_size"),
    "group size huge": (LEVELS, lambda d: d["grid"].update(group_size=1 << 40), "grid.group_size"),
    "other group size": (LEVELS, lambda d: d["grid"].update(group_size=8), "scale: expected"),
    "no zero-points": (JOINT, lambda d: d["grid"].update(symmetric=True), "checksums of other parts"),
    "zero-points": (LEVELS, lambda d: d["grid"].update(symmetric=False), "checksums of other parts"),
    "no grid": (LEVELS, lambda d: d.update(grid=None), "checksums of other parts"),
    "pattern does not divide": (PLACES, lambda d: d["pattern"].update(group=6), "pattern does not fit"),
    "pattern keeps too many": (PLACES, lambda d: d["pattern"].update(keep=6), "pattern does not fit"),
    "pattern of nothing": (PLACES, lambda d: d["pattern"].update(keep=0), "pattern.keep"),
    "pattern too wide": (PLACES, lambda d: d["pattern"].update(group=129), "pattern.group"),
    "other pattern": (PLACES, lambda d: d["pattern"].update(keep=2) or d.update(kept=64), "indices: expected"),
    "pattern and mask": (PLACES, lambda d: d.update(masked=True), "pattern does not fit"),
    "wrong checksum": (HALF, lambda d: d["crc32"].update(values=1), "values: wrong checksum"),
    "checksum as text": (HALF, lambda d: d["crc32"].update(values="1"), "crc32.values"),
    "checksum missing": (HALF, lambda d: d["crc32"].pop("values") and None, "checksums of other parts"),
    "checksum too many": (HALF, lambda d: d["crc32"].update(codes=1), "checksums of other parts"),
    "field missing": (HALF, lambda d: d.pop("masked") and None, "masked"),
    "field too many": (HALF, lambda d: d.update(more=1), "more"),
    "a list": (HALF, lambda d: [d], "description"),
    "nothing": (HALF, lambda d: 0, "description"),
    "nested": (HALF, lambda d: d.update(pattern={"keep": {"keep": 1}, "group": 4}), "pattern"),
    "NaN": (HALF, lambda d: d.update(rows=float("nan")), "description"),
}


@pytest.mark.parametrize("case", FIELDS)
def test_descriptions(home: Path, tmp_path: Path, case: str) -> None:
    name, change, message = FIELDS[case]
    with pytest.raises(PayloadError, match=f"^{name}: .*{message}"):
        read_all(described(home, tmp_path, packed.PREFIX + name, change))


@pytest.mark.parametrize("text", ["", "{", "[" * 100_000, "null", '{"rows": 9' + "9" * 5000 + "}"])
def test_texts_that_are_no_description(home: Path, tmp_path: Path, text: str) -> None:
    texts, tensors = contents(home / "packed")
    with pytest.raises(PayloadError, match=f"^{HALF}: the description's"):
        read_all(write(tmp_path / "changed", {**texts, packed.PREFIX + HALF: text}, tensors))


@pytest.mark.parametrize("version", ["2", "", "1.0", "01", None])
def test_versions(home: Path, tmp_path: Path, version: str | None) -> None:
    texts, tensors = contents(home / "packed")
    texts = {key: text for key, text in texts.items() if key != packed.VERSION_KEY}
    folder = write(tmp_path / "changed", texts if version is None else {**texts, packed.VERSION_KEY: version}, tensors)
    remedy = "The file is damaged" if version is None else "Update fmcompress"
    with pytest.raises(PayloadError, match=rf"{SINGLE}: packed format version {version}, known is 1\. {remedy}"):
        read_all(folder)


def test_missing_and_extra_parts(home: Path, tmp_path: Path) -> None:
    texts, tensors = contents(home / "packed")
    for name in tensors:
        if name != PLAIN:
            rest = {other: tensor for other, tensor in tensors.items() if other != name}
            with pytest.raises(PayloadError, match=f"holds no tensor '{name}', which its metadata describes"):
                read_all(write(tmp_path / "changed", texts, rest))
    more = write(tmp_path / "changed", texts, {**tensors, f"{HALF}.codes": tensors[f"{LEVELS}.codes"]})
    assert f"{HALF}.codes" in read_all(more)  # a tensor like any other
    twin = write(tmp_path / "changed", texts, {**tensors, HALF: tensors[PLAIN]})
    with pytest.raises(PayloadError, match=f"'{HALF}' both packed and dense"):
        read_all(twin)


def test_few_bytes_are_no_gigabytes(tmp_path: Path) -> None:
    """No rows, so no bytes, but columns without end."""
    for cols in (1 << 31, 1 << 40):
        pattern = {"keep": 1, "group": 4}
        fields = {"dtype": "F32", "rows": 0, "cols": cols, "kept": 0, "masked": False, "grid": None}
        parts = {"values": torch.empty(0, cols // 4), "indices": torch.empty(0, cols // 16, dtype=torch.uint8)}
        text = json.dumps({**fields, "pattern": pattern, "crc32": dict.fromkeys(parts, 0)})
        texts = {packed.VERSION_KEY: "1", packed.PREFIX + HALF: text}
        survives(write(tmp_path / "changed", texts, {f"{HALF}.{part}": value for part, value in parts.items()}))


def test_what_was_held_before_hides_nothing() -> None:
    """Of how read_all measures."""
    bytearray(150 << 20)
    before = reset_peak_kib()
    bytearray(110 << 20)
    assert 100_000 < peak_kib() - before < 150_000


def test_more_than_the_memory_is_refused(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bit a weight that is not there, yet dense it takes 32."""
    bitmask = torch.zeros(1, 1 << 12, dtype=torch.uint8)
    described = packed.Description.model_validate(
        {
            "dtype": "F32",
            "rows": 1,
            "cols": 1 << 15,
            "kept": 0,
            "pattern": None,
            "masked": True,
            "grid": None,
            "crc32": {"bitmask": packed.checksum(bitmask), "values": 0},
        }
    )
    parts = {f"{HALF}.bitmask": bitmask, f"{HALF}.values": torch.empty(0)}
    folder = write(tmp_path / "bomb", packed.metadata_of({HALF: described}), parts)
    for left in (1 << 17, None):  # a system that does not tell, too
        monkeypatch.setattr(memory, "available_bytes", lambda left=left: left)
        assert not read_all(folder)[HALF].any()
    monkeypatch.setattr(memory, "available_bytes", lambda: (1 << 17) - 1)
    with pytest.raises(PayloadError, match=f"^{HALF}: expected at most the 131071 bytes of memory .*got 131072 bytes"):
        read_all(folder)
    monkeypatch.undo()
    assert memory.available_bytes() is None or memory.available_bytes() > 1 << 24  # type: ignore[operator]


# parts and shards


def sharded(folder: Path, shards: list[tuple[dict[str, str], dict[str, Tensor]]]) -> Path:
    weight_map: dict[str, str] = {}
    for number, (texts, tensors) in enumerate(shards):
        write(folder, texts, tensors)
        (folder / SINGLE).rename(folder / f"{number}.safetensors")
        weight_map |= dict.fromkeys(tensors, f"{number}.safetensors")
    (folder / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))
    return folder


def test_parts_lie_in_the_shard_that_describes_them(home: Path, tmp_path: Path) -> None:
    texts, tensors = contents(home / "packed")
    first = {name: tensor for name, tensor in tensors.items() if name.startswith(HALF)}
    rest = {name: tensor for name, tensor in tensors.items() if name not in first}
    version = {packed.VERSION_KEY: "1"}
    own = {key: text for key, text in texts.items() if key.endswith(HALF)} | version
    others = {key: text for key, text in texts.items() if not key.endswith(HALF)}
    assert read_all(sharded(tmp_path / "right", [(own, first), (others, rest)])).keys() == {*OPTIONS, PLAIN}
    with pytest.raises(PayloadError, match=rf"0\.safetensors: holds no tensor '{HALF}\.\w+', which its metadata"):
        read_all(sharded(tmp_path / "swapped", [(own, rest), (others, first)]))
    with pytest.raises(
        PayloadError, match=rf"1\.safetensors: describes tensor '{HALF}', which another shard describes"
    ):
        read_all(sharded(tmp_path / "twice", [(own, first), (texts, rest)]))


# parts, with the checksums that they then have


def repacked(home: Path, folder: Path, name: str, part: str, change: Callable[[Tensor], Tensor]) -> Path:
    texts, tensors = contents(home / "packed")
    tensors[f"{name}.{part}"] = change(tensors[f"{name}.{part}"].clone())
    fields = json.loads(texts[packed.PREFIX + name])
    fields["crc32"][part] = zlib.crc32(bits_of(tensors[f"{name}.{part}"]).numpy().tobytes())
    texts[packed.PREFIX + name] = json.dumps(fields)
    return write(folder, texts, tensors)


def put(value: Any, *place: int) -> Callable[[Tensor], Tensor]:
    def change(tensor: Tensor) -> Tensor:
        tensor[place] = value
        return tensor

    return change


PARTS: dict[str, tuple[str, str, Callable[[Tensor], Tensor], str]] = {
    "NaN scale": (LEVELS, "scale", put(torch.nan, 0, 0), "a scale is not a positive number"),
    "infinite scale": (JOINT, "scale", put(torch.inf, 3, 0), "a scale is not a positive number"),
    "zero scale": (LEVELS, "scale", put(0.0, 2, 1), "a scale is not a positive number"),
    "negative scale": (LEVELS, "scale", put(-0.1, 2, 1), "a scale is not a positive number"),
    "index 7 of 5": (PLACES, "indices", put(255, 0, 0), "an index lies outside of its group of 5"),
    "indices twice": (PAIRS, "indices", put(0, 0, 0), "the indices of a group do not ascend"),
    "bitmask keeps too many": (HALF, "bitmask", put(255, 0, 0), "the bitmask counts"),
    "bitmask keeps too few": (HALF, "bitmask", put(0, 0, 0), "the bitmask counts"),
    "bitmask of codes": (JOINT, "bitmask", put(255, 0, 0), "the bitmask counts"),
    "values as integers": (HALF, "values", lambda values: values.view(torch.int16), "values: expected BF16"),
    "scale in float32": (LEVELS, "scale", lambda scale: scale.float(), "scale: expected BF16"),
    "flat bitmask": (HALF, "bitmask", lambda bitmask: bitmask.view(-1), "bitmask: expected U8"),
}


@pytest.mark.parametrize("case", PARTS)
def test_parts(home: Path, tmp_path: Path, case: str) -> None:
    name, part, change, message = PARTS[case]
    with pytest.raises(PayloadError, match=f"^{name}: .*{message}"):
        read_all(repacked(home, tmp_path / "changed", name, part, change))


@MANY
@given(data=st.data())
def test_any_bytes_in_any_part(home: Path, tmp_path: Path, data: st.DataObject) -> None:
    part = data.draw(st.sampled_from([name for name in contents(home / "packed")[1] if name != PLAIN]))
    name, _, kind = part.rpartition(".")

    def change(tensor: Tensor) -> Tensor:
        octets = data.draw(st.binary(min_size=tensor.nbytes, max_size=tensor.nbytes))
        return torch.frombuffer(bytearray(octets), dtype=tensor.dtype).view(tensor.shape)

    survives(repacked(home, tmp_path / "changed", name, kind, change))


@MANY
@given(data=st.data())
def test_any_damage_to_the_file(home: Path, tmp_path: Path, data: st.DataObject) -> None:
    (tmp_path / "changed").mkdir(exist_ok=True)
    octets = data.draw(damaged(entry_file(home / "packed").read_bytes()))
    (tmp_path / "changed" / PACKED_SINGLE).write_bytes(octets)
    survives(tmp_path / "changed")


@MANY
@given(name=st.sampled_from([*OPTIONS]), data=st.data(), value=JUNK)
def test_any_value_in_a_description(home: Path, tmp_path: Path, name: str, data: st.DataObject, value: Any) -> None:
    def change(fields: Any) -> Any:
        inner = [part for part in (fields, fields["grid"], fields["pattern"], fields["crc32"]) if part]
        chosen = data.draw(st.sampled_from(inner))
        chosen[data.draw(st.sampled_from(sorted(chosen)))] = value

    survives(described(home, tmp_path, packed.PREFIX + name, change))
