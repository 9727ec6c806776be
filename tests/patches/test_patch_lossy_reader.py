"""Lossy kinds read by another hand, from docs/patch-format.md and docs/format.md alone: the bits of apply come out."""

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from patch_cases import normal, pair
from plain_patch_reader import safetensors

from fmcompress.checkpoint.layout import SINGLE
from fmcompress.patches import PatchOptions, make_patch
from fmcompress.patches.description import HEADER, TENSOR
from fmcompress.patches.patch import FILE


def floats(dtype: str, data: bytes, *shape: int) -> np.ndarray:
    if dtype == "BF16":
        return (np.frombuffer(data, "<u2").astype("<u4") << 16).view("<f4").reshape(shape)
    return np.frombuffer(data, {"F32": "<f4", "F16": "<f2"}[dtype]).astype(np.float32).reshape(shape)


def rounded(dtype: str, numbers: np.ndarray) -> bytes:
    if dtype != "BF16":
        return numbers.astype({"F32": "<f4", "F16": "<f2"}[dtype]).tobytes()
    bits = np.ascontiguousarray(numbers, "<f4").view("<u4")
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2").tobytes()


def bits_of(data: bytes, *shape: int) -> np.ndarray:
    return np.unpackbits(np.frombuffer(data, np.uint8), bitorder="little").reshape(shape)


def codes(data: bytes, width: int, rows: int, count: int) -> np.ndarray:
    each = bits_of(data, rows, -1)[:, : width * count].reshape(rows, count, width)
    return (each.astype(np.int64) << np.arange(width)).sum(-1)


def quantized(about: dict[str, Any], part: dict[str, bytes]) -> np.ndarray:
    rows, cols, grid = about["rows"], about["cols"], about["grid"]
    group = np.arange(cols) // (grid["group_size"] or cols)
    groups = int(group[-1]) + 1
    scale = floats(about["dtype"], part["scale"], rows, groups)[:, group]
    zero = np.full((rows, groups), 1 << (grid["bits"] - 1))
    if not grid["symmetric"]:
        zero = codes(part["zero"], grid["bits"], rows, groups)
    mask, found = np.ones((rows, cols), bool), np.zeros((rows, cols), np.int64)
    if about["masked"]:
        mask = bits_of(part["bitmask"], rows, -1)[:, :cols].astype(bool)
        found[mask] = codes(part["codes"], grid["bits"], 1, about["kept"])[0]
    else:
        found = codes(part["codes"], grid["bits"], rows, cols)
    dense = np.where(mask, (found - zero[:, group]).astype(np.float32) * scale, np.float32(0))
    return floats(about["dtype"], rounded(about["dtype"], dense), rows, cols)


def product(dtype: str, rank: int, rows: int, cols: int, part: dict[str, bytes]) -> np.ndarray:
    left, right = floats(dtype, part["left"], rows, rank), floats(dtype, part["right"], rank, cols)
    total = np.zeros((rows, cols))
    for k in range(rank):
        total = total + left[:, k : k + 1].astype(np.float64) * right[k : k + 1].astype(np.float64)
    return total.astype(np.float32)


OPTIONS: dict[str, dict[str, Any]] = {
    "4 bits": {"bits": 4, "group_size": 40}, "3 bits a row, few": {"bits": 3, "group_size": "row", "density": 0.1},
    "rank 5": {"rank": 5}, "rank 5 of float16": {"rank": 5, "factors": "F16"},
}  # fmt: skip


@pytest.mark.parametrize("base", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("case", OPTIONS)
def test_the_specification_is_enough(tmp_path: Path, case: str, base: torch.dtype) -> None:
    before = normal(60, 9, 11).to(base)
    after = before.float() + normal(60, 9, 11, seed=1, scale=1e-3)
    folders = pair(tmp_path, {"w": before}, {"w": after})
    make_patch(*folders, tmp_path / "patch", PatchOptions(**OPTIONS[case]))
    texts, stored = safetensors(tmp_path / "patch" / FILE)
    told, fields = json.loads(texts[TENSOR + "w"]), json.loads(texts[HEADER + SINGLE])["w"]
    rows, cols = fields["shape"][0], int(np.prod(fields["shape"][1:]))
    part = {name.split(":")[0]: data for name, (_, data) in stored.items()}
    start = floats(told["base"]["dtype"], safetensors(folders[0] / SINGLE)[1]["w"][1], rows, cols)
    if told["kind"] == "quantized":
        change = quantized(told["packed"], {name.removeprefix("packed."): data for name, data in part.items()})
    else:
        assert told["kind"] == "low-rank"
        change = product(told["factors"], told["rank"], rows, cols, part)
    assert hashlib.sha256(rounded(fields["dtype"], start + change)).hexdigest() == told["sha256"]
