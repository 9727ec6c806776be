"""Packed checkpoints that remember another source than their own: nothing of it is written."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import bare_checkpoint, random_weight, run
from hostile import contents, read_all, write

from fmcompress.checkpoint.layout import PACKED_INDEX, PACKED_SINGLE, SINGLE
from fmcompress.errors import FmcompressError
from fmcompress.formats import open_checkpoint
from fmcompress.formats.unpack import unpack_checkpoint

HALF = "layer.0.weight"


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("hostile_unpack")
    model = bare_checkpoint(home / "model", {HALF: random_weight(4, 40, torch.bfloat16)})
    run(model, home / "packed", method="magnitude", sparsity=0.5, format="packed")
    return home


HEADERS: dict[str, Callable[[Any], Any]] = {
    "nothing": lambda header: "",
    "no JSON": lambda header: "{",
    "a list": lambda header: "[]",
    "a tensor fewer": lambda header: header.pop(HALF) and None,
    "a tensor more": lambda header: header.update(more={"dtype": "U8", "shape": [0], "data_offsets": [320, 320]}),
    "another dtype": lambda header: header[HALF].update(dtype="F16"),
    "another shape": lambda header: header[HALF].update(shape=[40, 4]),
    "another name": lambda header: header.update({"../x": header.pop(HALF)}),
    "an offset": lambda header: header[HALF].update(data_offsets=[320, 640]),
    "huge": lambda header: header[HALF].update(shape=[1 << 40, 1 << 40], data_offsets=[0, 1 << 81]),
}


@pytest.mark.parametrize("case", HEADERS)
def test_remembered_headers_that_lie(home: Path, tmp_path: Path, case: str) -> None:
    texts, tensors = contents(home / "packed")
    header = json.loads(texts["fmcompress.source_header"])
    changed = HEADERS[case](header)
    texts["fmcompress.source_header"] = json.dumps(header) if changed is None else changed
    folder = write(tmp_path / "changed", texts, tensors)
    assert open_checkpoint(folder).read(HALF).shape == (4, 40)
    with pytest.raises(FmcompressError, match=f"^{folder / SINGLE}: "):  # not OUT.partial
        read_all(folder)


INDICES: dict[str, Callable[[Any], Any]] = {
    "no JSON": lambda index: "{",
    "no map": lambda index: "{}",
    "half a character": lambda index: "\ud800",
    "another file": lambda index: index["weight_map"].update({HALF: "other.safetensors"}),
    "a path": lambda index: index["weight_map"].update({HALF: "../model.safetensors"}),
    "a tensor fewer": lambda index: index["weight_map"].pop(HALF) and None,
    "a tensor more": lambda index: index["weight_map"].update(more="a.safetensors"),
}


@pytest.mark.parametrize("case", INDICES)
def test_remembered_indices_that_lie(home: Path, tmp_path: Path, case: str) -> None:
    folder = Path(shutil.copytree(home / "packed", tmp_path / "changed"))
    (folder / PACKED_SINGLE).rename(folder / "a.safetensors")
    names = list(contents(home / "packed")[1])
    for place, metadata in enumerate([None, [], 7, {"fmcompress.source_index": 7}]):  # nothing is remembered
        index = {"metadata": metadata, "weight_map": dict.fromkeys(names, "a.safetensors")}
        (folder / PACKED_INDEX).write_text(json.dumps(index))
        assert unpack_checkpoint(folder, tmp_path / f"again{place}").tensors.keys() == {HALF}
    lie: dict[str, Any] = {"metadata": {}, "weight_map": {HALF: "a.safetensors"}}
    changed = INDICES[case](lie)
    remembered = {"fmcompress.source_index": json.dumps(lie) if changed is None else changed}
    (folder / PACKED_INDEX).write_text(json.dumps({**index, "metadata": remembered}))
    with pytest.raises(FmcompressError, match=f"^{folder}: the index that it remembers"):  # the input, not OUT.partial
        unpack_checkpoint(folder, tmp_path / "out")
    assert not list(tmp_path.glob("out*"))
