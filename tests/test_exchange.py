"""What ranks exchange: sums over layers that not all of them saw, whole results, and who takes what."""

import os
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU
from hypothesis import given
from hypothesis import strategies as st
from rank_workers import on_ranks

from fmcompress import Grid, ranks
from fmcompress.calibration import TILE_COLS, Group
from fmcompress.errors import CommunicationError, ConfigError
from fmcompress.exchange import _merged, share_solved, sum_groups
from fmcompress.layerwise import LayerResult, QuantizedWeight
from fmcompress.ranks import Ranks, assign


@given(st.lists(st.integers(0, 1 << 40), max_size=30), st.integers(1, 9))
def test_assigned_loads_are_near_the_best(costs: list[int], count: int) -> None:
    owners = assign(costs, count)
    assert len(owners) == len(costs)
    assert set(owners) <= set(range(count))
    loads = [sum(cost for cost, owner in zip(costs, owners, strict=True) if owner == rank) for rank in range(count)]
    # Graham's bound for the largest first: 4/3 - 1/(3 count) of what no assignment can beat
    floor = max([sum(costs) / count, *costs[:1], *sorted(costs, reverse=True)[:1]])
    second = sorted(costs, reverse=True)[count - 1 : count + 1]
    floor = max(floor, sum(second) if len(second) == 2 else 0)
    assert max(loads) <= floor * (4 / 3 - 1 / (3 * count)) + 1e-6
    assert assign(costs, count) == owners


def test_equal_layers_go_round() -> None:
    assert assign([1.0] * 5, 3) == [0, 1, 2, 0, 1]
    assert assign([5, 1, 1, 1, 1, 1], 2) == [0, 1, 1, 1, 1, 1]
    assert assign([1, 2, 3], 1) == [0, 0, 0]


def test_shares_of_sequences_are_in_order() -> None:
    rows = torch.arange(7)
    assert [Ranks(rank=rank, count=3).shard(rows).tolist() for rank in range(3)] == [[0, 1, 2], [3, 4], [5, 6]]
    assert [len(Ranks(rank=rank, count=9).shard(rows)) for rank in range(9)] == [1] * 7 + [0] * 2


def inputs(name: str, tokens: int, cols: int) -> torch.Tensor:
    return torch.randn(tokens, cols, generator=torch.Generator().manual_seed(ord(name[0]) + tokens))


def group(layers: list[str], tokens: int, cols: int) -> Group:
    """As the collector leaves it: sums, and nonsense below the diagonal."""
    x = inputs(layers[0], tokens, cols)
    hessian = (x.T @ x).triu() + torch.full((cols, cols), 9.0).tril(-1)
    return Group(list(layers), hessian, tokens, {name: float(tokens + at) for at, name in enumerate(layers)})


WIDE = TILE_COLS + 40
SEEN = [  # by ranks; the last one saw nothing
    [(["q", "k"], 3, 8), (["e0"], 5, WIDE)],
    [(["q", "k"], 2, 8), (["f1", "g1"], 4, 6)],
    [],
]


def sums(this: Ranks) -> list[Any]:
    total = sum_groups(this, [group(*fields) for fields in SEEN[this.rank]], CPU)
    return [[some.layers, some.tokens, some.energy, some.hessian.triu().tolist()] for some in total]


def test_layers_that_not_all_ranks_saw_are_summed(tmp_path: Path) -> None:
    ends = on_ranks(sums, 3, tmp_path / "ends")
    assert [end.error for end in ends] == [""] * 3
    assert ends[0].value == ends[1].value == ends[2].value
    attention, e0, e1 = ends[0].value
    assert attention[:3] == [["q", "k"], 5, {"q": 5.0, "k": 7.0}]
    assert e0[:3] == [["e0"], 5, {"e0": 5.0}]
    assert e1[:3] == [["f1", "g1"], 4, {"f1": 4.0, "g1": 5.0}]
    x = torch.cat([inputs("q", 3, 8), inputs("q", 2, 8)])
    torch.testing.assert_close(torch.tensor(attention[3]), (x.T @ x).triu())
    assert torch.equal(torch.tensor(e0[3]), group(["e0"], 5, WIDE).hessian.triu())


def test_groups_come_as_one_process_would_meet_them() -> None:
    seen = [[(["a"], 4), (["b"], 5)], [(["a", "c"], 4), (["d"], 6), (["b"], 5)]]
    assert _merged(seen) == [(["a", "c"], 4), (["b"], 5), (["d"], 6)]
    with pytest.raises(CommunicationError, match="c: ranks disagree"):
        _merged([[(["a"], 4), (["b"], 4)], [(["c", "a", "b"], 4)]])


def result(quantized: bool) -> LayerResult:
    codes = torch.arange(12, dtype=torch.uint8).view(3, 4)
    scale = torch.tensor([[0.5], [0.25], [1.0]], dtype=torch.bfloat16)
    weight = QuantizedWeight(Grid(4, None), codes, scale, torch.full((3, 1), 8, dtype=torch.uint8))
    dense = weight.dequantized(torch.bfloat16)
    return LayerResult(dense, 0.1 + 0.2, float("nan"), 3, 0.1, 2, {"solve": 1.5}, weight if quantized else None)


def solved(this: Ranks, quantized: bool, owner: int) -> bool:
    own = ({"tensor": "t", "rows": 3}, result(quantized)) if this.rank == owner else None
    record, got = share_solved(this, owner, own, CPU)
    expected = result(quantized)
    assert record == {"tensor": "t", "rows": 3}
    assert torch.equal(got.weight, expected.weight)
    assert (got.loss, got.zeros, got.damping, got.dead_columns) == (0.1 + 0.2, 3, 0.1, 2)
    assert got.relative_error != got.relative_error
    if quantized:
        assert got.quantized.grid == expected.quantized.grid
        assert torch.equal(got.quantized.codes, expected.quantized.codes)
        assert torch.equal(got.quantized.dequantized(torch.bfloat16), expected.weight)
        assert torch.equal(got.quantized.zero, expected.quantized.zero)
    return (got.quantized is not None) == quantized


@pytest.mark.parametrize("owner", [0, 1])
@pytest.mark.parametrize("quantized", [False, True])
def test_a_result_arrives_whole(tmp_path: Path, quantized: bool, owner: int) -> None:
    ends = on_ranks(solved, 2, tmp_path / "ends", quantized, owner)
    assert [(end.error, end.value) for end in ends] == [("", True)] * 2


def odd_tensors(this: Ranks) -> list[Any]:
    tensors = [torch.zeros(0, 3), torch.tensor(2.5, dtype=torch.float64), torch.eye(3).T[:2], torch.ones(1).half()]
    value, got = this.share({"a": [1, None]} if this.is_writer else "other", tensors if this.is_writer else [])
    return [value, [[str(tensor.dtype), list(tensor.shape), tensor.tolist()] for tensor in got], this.gather(this.rank)]


def test_any_tensor_is_shared(tmp_path: Path) -> None:
    own, other = on_ranks(odd_tensors, 2, tmp_path / "ends")
    assert (own.error, other.error) == ("", "")
    assert own.value == other.value
    assert other.value[0] == {"a": [1, None]}
    assert other.value[2] == [0, 1]
    assert [shape for _, shape, _ in other.value[1]] == [[0, 3], [], [2, 3], [1]]


def test_the_environment_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    assert (Ranks.of_environment().rank, Ranks.of_environment().count) == (0, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match=r"WORLD_SIZE: is set, but .*RANK.*Start with torchrun"):
        Ranks.of_environment()


def test_each_process_takes_its_own_gpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    some = Ranks(rank=5, count=8)
    monkeypatch.setenv("LOCAL_RANK", "1")
    assert some.device(torch.device("cuda")) == torch.device("cuda:1")
    assert some.device(CPU) == CPU
    assert Ranks().device(torch.device("cuda:1")) == torch.device("cuda:1")
    with pytest.raises(ConfigError, match="a GPU of its own, got cuda:0 for all"):
        some.device(torch.device("cuda:0"))
    monkeypatch.setenv("LOCAL_RANK", "2")
    with pytest.raises(ConfigError, match="3 processes or more on 2 GPUs"):
        some.device(torch.device("cuda"))


@pytest.mark.parametrize(("given", "expected"), [(None, 3), ("1", 3), ("5", 7)])
def test_cores_are_shared_out(monkeypatch: pytest.MonkeyPatch, given: str | None, expected: int) -> None:
    before = torch.get_num_threads()
    monkeypatch.setattr(ranks, "rendezvous", lambda *_, **__: iter([(None, 1, 4)]))
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: range(7), raising=False)
    monkeypatch.setenv("WORLD_SIZE", "4")
    monkeypatch.setenv("LOCAL_WORLD_SIZE", "2")
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    if given:
        monkeypatch.setenv("OMP_NUM_THREADS", given)
    try:
        torch.set_num_threads(7)
        found = Ranks.of_environment()
        assert (found.rank, found.count, torch.get_num_threads()) == (1, 4, expected)
    finally:
        torch.set_num_threads(before)
