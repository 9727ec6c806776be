"""A merge gives the bits of a float64 reference in memory, however it is cut, threaded and stored."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from merging_cases import (
    all_tensors,
    assert_same_bits,
    expected_sum,
    random_tensors,
    rounded,
    run_merge,
    weighted,
    wide,
    write_model,
)
from torch import Tensor

HALVES = (torch.bfloat16, torch.float16)
DTYPES = (*HALVES, torch.float32, torch.float64)
NAMES = {torch.bfloat16: "bfloat16", torch.float16: "float16", torch.float32: "float32", torch.float64: "float64"}


def three(tmp_path: Path, dtype: torch.dtype = torch.float32, shards: int = 1) -> list[Path]:
    return [write_model(tmp_path / f"m{seed}", random_tensors(seed, dtype), shards) for seed in range(3)]


def expected(models: list[Path], coefficients: list[float], dtype: torch.dtype | None = None) -> dict[str, Tensor]:
    """What a weighted sum of models is; integers stay."""
    read = [all_tensors(model) for model in models]
    return {
        name: expected_sum([one[name] for one in read], coefficients, dtype or tensor.dtype)
        if tensor.is_floating_point()
        else tensor
        for name, tensor in read[0].items()
    }


@pytest.mark.parametrize("dtype", DTYPES)
def test_linear_is_the_reference(tmp_path: Path, dtype: torch.dtype) -> None:
    models = three(tmp_path, dtype)
    listed = [weighted(model, weight=weight) for model, weight in zip(models, (0.7, -0.2, 0.9), strict=True)]
    total = math.fsum((0.7, -0.2, 0.9))
    assert_same_bits(
        run_merge(tmp_path / "n", "linear", listed), expected(models, [w / total for w in (0.7, -0.2, 0.9)])
    )
    plain = run_merge(tmp_path / "p", "linear", listed, parameters={"normalize": False})
    assert_same_bits(plain, expected(models, [0.7, -0.2, 0.9]))


def test_values_that_change_with_the_layer(tmp_path: Path) -> None:
    models = three(tmp_path)[:2]
    rules = [{"filter": "mlp", "value": [0.25, 0.5, 2]}, {"filter": "norm", "value": [0, 1]}, {"value": 3}]
    listed = [weighted(models[0], weight=rules), weighted(models[1], weight=1)]
    got = run_merge(tmp_path / "out", "linear", listed, parameters={"normalize": False})
    read = [all_tensors(model) for model in models]
    for part, weights in {"mlp": (0.25, 0.5, 2.0), "norm": (0.0, 0.5, 1.0)}.items():
        for layer, weight in enumerate(weights):
            name = f"model.layers.{layer}.{part}.weight"
            assert torch.equal(got[name], expected_sum([one[name] for one in read], [weight, 1.0], torch.float32)), name
    head = [one["lm_head.weight"] for one in read]
    assert torch.equal(got["lm_head.weight"], expected_sum(head, [3.0, 1.0], torch.float32))


@pytest.mark.parametrize("out", DTYPES)
@pytest.mark.parametrize("stored", [torch.float32, torch.float16])
def test_written_dtype_is_rounded_to_once(tmp_path: Path, stored: torch.dtype, out: torch.dtype) -> None:
    models = three(tmp_path, stored)
    got = run_merge(tmp_path / "out", "uniform", models, out_dtype=NAMES[out])
    assert_same_bits(got, expected(models, [1 / 3] * 3, out))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_task_arithmetic_is_the_reference(tmp_path: Path, dtype: torch.dtype) -> None:
    base, one, two = models = three(tmp_path, dtype)
    listed = [weighted(one, weight=0.3), weighted(two, weight=1.1)]
    got = run_merge(tmp_path / "out", "task_arithmetic", listed, base_model=str(base), parameters={"lambda": 0.7})
    changes = [0.7 * 0.3, 0.7 * 1.1]
    assert_same_bits(got, expected(models, [1 - math.fsum(changes), *changes]))
    if dtype == torch.float32:  # and it is base + lambda * sum of weight * change
        b, x, y = (wide(all_tensors(model)["model.layers.0.mlp.weight"]) for model in models)
        plain = b + 0.7 * (0.3 * (x - b) + 1.1 * (y - b))
        np.testing.assert_allclose(wide(got["model.layers.0.mlp.weight"]), plain, rtol=2e-7, atol=1e-7)
    shared = run_merge(
        tmp_path / "normalized", "task_arithmetic", listed, base_model=str(base), parameters={"normalize": True}
    )
    of = [0.3 / math.fsum((0.3, 1.1)), 1.1 / math.fsum((0.3, 1.1))]
    assert_same_bits(shared, expected(models, [1 - math.fsum(of), *of]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
def test_slerp_is_the_reference(tmp_path: Path, dtype: torch.dtype) -> None:
    first, second = models = three(tmp_path, dtype)[:2]
    near = {
        name: tensor * 1.001 if tensor.is_floating_point() else tensor for name, tensor in all_tensors(first).items()
    }
    for number, other in enumerate((second, write_model(tmp_path / "near", near))):  # an arc, and all but parallel
        got = run_merge(tmp_path / f"out{number}", "slerp", [first, other], parameters={"t": 0.3})
        for name, a in all_tensors(first).items():
            b = all_tensors(other)[name]
            if not a.is_floating_point():
                continue
            x, y = wide(a).ravel(), wide(b).ravel()
            lengths = [math.sqrt(math.fsum(v * v)) or 1.0 for v in (x, y)]
            cosine = max(-1.0, min(1.0, math.fsum(x * y) / lengths[0] / lengths[1]))
            angle = math.acos(cosine)
            of = [0.7, 0.3] if abs(cosine) > 0.9995 else [math.sin(k * angle) / math.sin(angle) for k in (0.7, 0.3)]
            assert torch.equal(got[name], expected_sum([a, b], of, dtype)), name
    assert len(models) == 2


@pytest.mark.parametrize("dtype", [*HALVES, torch.float32])
def test_a_model_with_itself_is_that_model(tmp_path: Path, dtype: torch.dtype) -> None:
    model = write_model(tmp_path / "m", random_tensors(0, dtype), shards=3)
    listed = [weighted(model, weight=weight) for weight in (0.1, 0.3, 0.7, 1.3)]
    for method, fields in {"linear": {}, "uniform": {}, "slerp": {"parameters": {"t": 0.4}}}.items():
        entries = listed if method == "linear" else [model] * (2 if method == "slerp" else 3)
        assert_same_bits(run_merge(tmp_path / method, method, entries, **fields), all_tensors(model))
    for path in model.glob("*.safetensors*"):  # headers and index, too
        assert (tmp_path / "uniform" / path.name).read_bytes() == path.read_bytes()


@pytest.mark.parametrize("dtype", DTYPES)
def test_weights_of_0_give_back_one_model_to_the_bit(tmp_path: Path, dtype: torch.dtype) -> None:
    models = three(tmp_path, dtype)
    listed = [weighted(model, weight=weight) for model, weight in zip(models, (0, 2, 0), strict=True)]
    second = all_tensors(models[1])
    assert any(
        tensor.is_floating_point() and bool((tensor.signbit() & (tensor == 0)).any()) for tensor in second.values()
    )
    assert_same_bits(run_merge(tmp_path / "one", "linear", listed), second)
    base = run_merge(
        tmp_path / "base", "task_arithmetic", listed[1:], base_model=str(models[0]), parameters={"lambda": 0}
    )
    assert_same_bits(base, all_tensors(models[0]))
    for t in (0, 1):
        assert_same_bits(
            run_merge(tmp_path / f"t{t}", "slerp", models[:2], parameters={"t": t}), all_tensors(models[t])
        )


def test_the_order_of_a_uniform_average_is_1_ulp(tmp_path: Path) -> None:
    models = three(tmp_path)
    one = run_merge(tmp_path / "one", "uniform", models)
    other = run_merge(tmp_path / "other", "uniform", models[::-1])
    for name, tensor in one.items():
        if tensor.is_floating_point():
            ulp = torch.nextafter(tensor.abs(), torch.tensor(math.inf)) - tensor.abs()
            assert bool(((tensor - other[name]).abs() <= ulp).all()), name


CUTS: list[dict[str, Any]] = [{"block_entries": 4096, "workers": w} for w in (1, 2, 3)] + [{"block_entries": 8193}]


@pytest.mark.parametrize("method", ["linear", "task_arithmetic", "slerp"])
def test_bits_do_not_depend_on_blocks_threads_or_shards(tmp_path: Path, method: str) -> None:
    models = three(tmp_path, torch.bfloat16)
    sharded = [write_model(tmp_path / f"s{seed}", random_tensors(seed, torch.bfloat16), seed + 2) for seed in range(3)]
    fields: dict[str, Any] = {"parameters": {"t": 0.37} if method == "slerp" else {"weight": 0.37}}
    used = 2 if method == "slerp" else 3

    def merged(name: str, folders: list[Path], change: dict[str, Any]) -> dict[str, Tensor]:
        based = {"base_model": str(folders[0])} if method == "task_arithmetic" else {}
        return run_merge(tmp_path / name, method, folders[:used], change=change, **fields, **based)

    whole = merged("whole", models, {"block_entries": 1 << 20, "workers": 1})
    for number, cut in enumerate(CUTS):
        assert_same_bits(merged(f"cut{number}", models, cut), whole)
        assert_same_bits(merged(f"shards{number}", sharded, cut), whole)
    assert rounded(np.float64(1.0), torch.bfloat16) == 1


def test_sums_in_float32_are_the_reference_in_float32(tmp_path: Path) -> None:
    models = three(tmp_path)
    got = run_merge(tmp_path / "out", "uniform", models, dtype="float32")
    for name, tensor in got.items():
        if tensor.is_floating_point():
            read = [all_tensors(model)[name].numpy() for model in models]
            third = np.float32(1 / 3)
            assert np.array_equal(tensor.numpy(), read[0] * third + read[1] * third + read[2] * third), name
    assert not torch.equal(got["lm_head.weight"], run_merge(tmp_path / "wide", "uniform", models)["lm_head.weight"])


def test_dtypes_of_the_models_may_differ(tmp_path: Path) -> None:
    dtypes = (torch.bfloat16, torch.float32, torch.float16)
    models = [write_model(tmp_path / f"m{n}", random_tensors(n, dtype)) for n, dtype in enumerate(dtypes)]
    got = run_merge(tmp_path / "out", "uniform", models, change={"block_entries": 4096})
    assert_same_bits(got, expected(models, [1 / 3] * 3, torch.bfloat16))
    (note,) = json.loads((tmp_path / "out" / "fmcompress-merge.json").read_text())["notes"]
    assert note.startswith("dtypes differ, first in ")
    assert all(f"m{n}: {NAMES[dtype]}" in note for n, dtype in enumerate(dtypes))
