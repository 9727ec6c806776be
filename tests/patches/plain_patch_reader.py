"""docs/patch-format.md read by another hand: NumPy, zlib and json alone, loops allowed, nothing checked but hashes."""

import hashlib
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np

DTYPES = {"F64": 8, "F32": 4, "F16": 2, "BF16": 2, "I64": 8, "I32": 4, "I16": 2, "I8": 1, "U8": 1, "BOOL": 1}
FLOATS = ("F64", "F32", "F16", "BF16", "F8_E4M3", "F8_E5M2")
BLOCK = 1 << 18


def safetensors(path: Path) -> tuple[dict[str, str], dict[str, tuple[dict[str, Any], bytes]]]:
    data = path.read_bytes()
    begin = 8 + int.from_bytes(data[:8], "little")
    header = json.loads(data[8:begin])
    texts = header.pop("__metadata__", {})
    cut = {n: (f, data[begin + f["data_offsets"][0] : begin + f["data_offsets"][1]]) for n, f in header.items()}
    return texts, cut


def all_tensors(folder: Path) -> dict[str, tuple[dict[str, Any], bytes]]:
    return {n: found for path in sorted(folder.glob("*.safetensors")) for n, found in safetensors(path)[1].items()}


def stream(data: bytes, count: int, width: int) -> list[int]:
    lengths = np.frombuffer(data[: 4 * width * -(-count // BLOCK)], "<u4").tolist()
    at, numbers = 4 * len(lengths), []
    for block in range(-(-count // BLOCK)):
        size, planes = min(BLOCK, count - block * BLOCK), []
        for plane in range(width):
            length = lengths[block * width + plane]
            chunk = data[at : at + length]
            planes.append(bytes(size) if not chunk else chunk if length == size else zlib.decompress(chunk))
            at += length
        numbers += [int.from_bytes(octets, "little") for octets in zip(*planes, strict=True)]
    assert at == len(data)
    return numbers


def image(bits: int, width: int, floats: bool) -> int:
    top = 1 << (8 * width - 1)
    return bits ^ (top - 1) if floats and bits & top else bits


def moved(bits: int, move: int, width: int, floats: bool) -> int:
    apart = move // 2 if move % 2 == 0 else -(move + 1) // 2
    return image((image(bits, width, floats) + apart) % (1 << (8 * width)), width, floats)


def tensor(described: dict[str, Any], fields: dict[str, Any], base: bytes, part: dict[str, bytes]) -> bytes:
    """The bytes of a tensor of a lossless kind, whose base has its dtype."""
    width, floats = DTYPES[fields["dtype"]], fields["dtype"] in FLOATS
    count = int(np.prod(fields["shape"], dtype=np.int64))
    if described["kind"] in ("equal", "raw"):
        return base if described["kind"] == "equal" else part["raw"]
    start = base if "base" in described else bytes(count * width)
    bits = [int.from_bytes(start[i : i + width], "little") for i in range(0, count * width, width)]
    if described["kind"] == "dense":
        places = list(range(count))
    elif described["places"] == "bitmask":
        mask = stream(part["bitmask"], -(-count // 8), 1)
        places = [i for i in range(count) if mask[i // 8] >> (i % 8) & 1]
    else:
        places = (np.cumsum(np.array(stream(part["gaps"], described["changed"], 4), np.int64) + 1) - 1).tolist()
    for place, move in zip(places, stream(part["moves"], len(places), width), strict=True):
        bits[place] = moved(bits[place], move, width, floats)
    return b"".join(number.to_bytes(width, "little") for number in bits)


def patched(base: Path, patch: Path) -> dict[str, bytes]:
    """Shards of the tuned checkpoint, by name, of a lossless patch."""
    texts, stored = safetensors(patch / "patch.safetensors")
    digest = hashlib.sha256()
    for key in sorted(texts.keys() - {"fmcompress.patch.digest"}):
        for text in (key.encode(), texts[key].encode()):
            digest.update(str(len(text)).encode() + b":" + text)
    assert texts["fmcompress.patch"] == "1"
    assert texts["fmcompress.patch.digest"] == digest.hexdigest()
    before, shards = all_tensors(base), {}
    for key in texts:
        if not key.startswith("fmcompress.patch.header."):
            continue
        header = json.loads(texts[key])
        entries = {name: fields for name, fields in header.items() if name != "__metadata__"}
        data = texts[key].encode()
        data = len(data).to_bytes(8, "little") + data
        for name, fields in sorted(entries.items(), key=lambda item: item[1]["data_offsets"]):
            described = json.loads(texts["fmcompress.patch.tensor." + name])
            start = before[name][1] if "base" in described else b""
            assert "base" not in described or hashlib.sha256(start).hexdigest() == described["base"]["sha256"]
            part = {part: stored[f"{part}:{name}"][1] for part in described["crc32"]}
            assert all(zlib.crc32(part[each]) == crc for each, crc in described["crc32"].items())
            result = tensor(described, fields, start, part)
            assert hashlib.sha256(result).hexdigest() == described["sha256"]
            data += result
        shards[key.removeprefix("fmcompress.patch.header.")] = data
    return shards
