"""The benches of decoding and of packed products rehearse on a machine without a GPU."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[1]
sys.path.append(str(ROOT / "bench"))


def rehearsed(bench: str, folder: Path, *options: str) -> list[dict]:
    path = folder / "rows.json"
    command = [sys.executable, ROOT / "bench" / bench, "--device", "cpu", "--small", "--json", path, *options]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    run = subprocess.run(command, check=False, capture_output=True, text=True, env=environment)
    assert run.returncode == 0, run.stderr
    told = json.loads(path.read_text())
    assert told["small"]
    return told["rows"]


def test_decoding(tmp_path):
    rows = rehearsed("gpu_decode.py", tmp_path, "--runs", "1")
    forms = [row["case"].split(", ")[1] for row in rows]
    assert forms == ["dense bfloat16", "50 % + 4 bits", "4 bits", "2:4 + 4 bits", "50 %", "2:4"]
    assert [row["least_speedup"] for row in rows] == [None, 2.0, None, None, None, None]
    assert all(row["baseline"] == "dense bfloat16" and row["speedup"] > 0 for row in rows[1:])
    assert all(row["bytes"] < rows[0]["bytes"] for row in rows[1:])
    assert (
        rows[0]["bytes"]
        == 2
        * sum(
            [512 * 256, 2 * (2 * 256 * 256 + 2 * 128 * 256 + 3 * 512 * 256), 5 * 256]  # output, blocks, norms
        )
        + 4 * 2 * 32
    )  # and the frequencies of positions, twice
    assert all(row["facts"]["notes"] == [] for row in rows)


def test_attention(tmp_path):
    rows = rehearsed("gpu_attend.py", tmp_path)
    assert [row["case"].split(",")[0] for row in rows] == ["a token over 40 positions", "a token over 64 positions"]
    assert [row["bytes"] for row in rows] == [2 * 2 * 8 * length * 128 for length in (40, 64)]
    assert all(row["group"] == "attention" and row["speedup"] > 0 for row in rows)


def test_packed_products(tmp_path):
    rows = rehearsed("gpu_linear.py", tmp_path)
    assert {row["group"] for row in rows} == {"packed matvec"}
    assert len(rows) == 3 * 11
    assert all(row["baseline"] == ("cuBLAS" if "dense" not in row["case"] else None) for row in rows)
    four = next(row for row in rows if row["case"].startswith("4 bits, 96 x 256, 1 token,"))
    assert four["facts"]["weight_bytes"] == 96 * (256 // 2 + 2 * 2)
    assert four["bytes"] == four["facts"]["weight_bytes"] + 2 * (96 + 256)


def test_a_wrong_product_or_token_ends_a_bench():
    import gpu_attend
    import gpu_decode
    import gpu_forms
    import gpu_linear

    generator = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(rows, 256, generator=generator).bfloat16() for rows in (24, 1))
    dense, parts = gpu_forms.packed(weight, 0.5, 4)
    gpu_linear.checked("50 % + 4 bits", x, dense, parts)
    dense.neg_()
    with pytest.raises(SystemExit, match=r"50 % . 4 bits, 24 x 256, 1 tokens, bfloat16: wrong by"):
        gpu_linear.checked("50 % + 4 bits", x, dense, parts)

    class Wrong(gpu_attend.TorchKernels):
        def attend(self, *given):
            return super().attend(*given[:-1], 0.1)

    with pytest.raises(SystemExit, match="attention: wrong by"):
        gpu_attend.checked(Wrong(), gpu_attend.cases(40, 1, torch.device("cpu"))[0])

    model = gpu_decode.synthetic(gpu_decode.TINY, torch.device("cpu"))
    decoder = gpu_decode.StaticDecoder(model, 24)
    ids = torch.randint(512, (1, 16), generator=torch.Generator().manual_seed(2))
    gpu_decode.checked("dense", decoder, ids)
    own = decoder._logits
    decoder._logits = lambda token, position: own(token, position - 1)
    with pytest.raises(SystemExit, match="below the likeliest"):
        gpu_decode.checked("dense", decoder, ids)


@pytest.mark.parametrize("form", ["4 bits", "50 %", "2:4", "50 % + 4 bits", "2:4 + 4 bits"])
def test_a_packed_layer_stands_for_the_dense_weight(form):
    import gpu_forms

    weight = torch.randn(24, 256, generator=torch.Generator().manual_seed(0)).bfloat16()
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        dense, _ = gpu_forms.packed(weight, *gpu_forms.FORMS[form])
        torch.manual_seed(0)
        layer = gpu_forms.packed_layer(weight, *gpu_forms.FORMS[form])
    assert torch.equal(layer.weight.dense(), dense + 0.0)
    assert layer.weight.size_bytes < weight.nbytes
