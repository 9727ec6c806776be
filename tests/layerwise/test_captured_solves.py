"""Solves kept as graphs: by a stand-in that runs recorded ops again, and on a GPU as they are."""

import gc
import weakref

import pytest
import torch
from stand_in_graph import StandIn, StandInGraph

from fmcompress import NM, Unstructured
from fmcompress.layerwise import Grid, captured, captured_solves, solve, solve_batch
from fmcompress.layerwise.captured import CapturedSolves
from fmcompress.layerwise.core import Recipe, solve_core

RECIPES = [
    Recipe(Unstructured(0.5), None, 0.01, energy=True),
    Recipe(Unstructured(0.5, "layer"), None, 0.01),
    Recipe(NM(2, 4), None, 0.01),
    Recipe(None, Grid(4, 64), 0.01),
    Recipe(Unstructured(0.5), Grid(4, 128), 0.01),
    Recipe(None, Grid(4, None, False), 0.01, activation_order=True),
]


@pytest.fixture
def cuda(monkeypatch):
    stand_in = StandIn()
    stand_in.install(monkeypatch)
    return stand_in


@pytest.fixture
def layer(make_weight, make_hessian):
    """Function (seed, rows, cols) -> a layer, all of whose inputs fire."""

    def make(seed, rows=16, cols=256):
        return make_weight(rows, cols, torch.float32, seed), make_hessian(cols, torch.float32, seed)

    return make


def assert_equal(outcome, expected):
    """Bit for bit."""
    assert outcome.weight.equal(expected.weight)
    assert outcome.numbers.equal(expected.numbers)
    assert (outcome.quantized is None) == (expected.quantized is None)
    if outcome.quantized is not None:
        for part in ("codes", "scale", "zero"):
            assert getattr(outcome.quantized, part).equal(getattr(expected.quantized, part))


@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_replays_give_the_same_bits(cuda, layer, recipe):
    cache = CapturedSolves()
    layers = [layer(seed) for seed in (0, 1, 2, 3, 1)]
    outcomes = [cache.run(*given, recipe) for given in layers]
    assert len(cuda.captures) == 1  # of the second
    assert cuda.graphs[0].replays == 4
    for outcome, given in zip(outcomes, layers, strict=True):  # none was overwritten by a later one
        assert_equal(outcome, solve_core(*given, recipe))


def test_each_kind_has_its_graph(cuda, layer):
    cache = CapturedSolves()
    kinds = [(layer(0), RECIPES[0]), (layer(0, rows=8), RECIPES[0]), (layer(0, cols=128), RECIPES[0])]
    kinds += [(layer(0), RECIPES[2]), ((layer(0)[0].bfloat16(), layer(0)[1]), RECIPES[0])]
    kinds.append(((torch.stack([layer(0)[0]] * 2), torch.stack([layer(0)[1]] * 2)), RECIPES[0]))
    kinds += [((layer(0)[0].double(), layer(0)[1]), RECIPES[0])]
    kinds += [((layer(0)[0].double(), layer(0)[1].double()), RECIPES[0])]
    for _ in range(3):
        for given, recipe in kinds:
            assert_equal(cache.run(*given, recipe), solve_core(*given, recipe))
    assert len(cuda.captures) == len(cache) == len(kinds) == 8
    assert len(set(cuda.captures)) == 1  # they share their pool


def test_so_many_graphs_are_kept(cuda, layer):
    cache = CapturedSolves(most=2)
    for rows in [8, 8, 16, 16, 8, 24, 24]:
        cache.run(*layer(0, rows), RECIPES[0])
    assert len(cuda.captures) == 3
    assert len(cache) == StandInGraph.alive == 2
    cache.run(*layer(0, 8), RECIPES[0])  # was used after 16 rows were
    assert len(cuda.captures) == 3
    for rows in (8, 16, 24):
        assert_equal(cache.run(*layer(1, rows), RECIPES[0]), solve_core(*layer(1, rows), RECIPES[0]))
    assert len(cuda.captures) == 5  # of 16 rows and of 24 anew


def test_all_memory_is_given_back(cuda, layer):
    with captured_solves() as cache:
        outcome = [cache.run(*layer(0), RECIPES[4]) for _ in range(2)][1]
        expected = solve_core(*layer(0), RECIPES[4])
        kept = next(iter(cache._graphs.values()))
        held = [weakref.ref(part) for part in (kept.weight, kept.hessian, kept.outcome.weight, kept.outcome.numbers)]
        del kept
    gc.collect()
    assert StandInGraph.alive == len(cache) == 0
    assert not any(part() is not None for part in held)
    assert_equal(outcome, expected)


def test_a_failed_capture_is_noted_once_and_changes_nothing(cuda, layer):
    notes = []
    cache = CapturedSolves(notes.append)
    cuda.fails = RuntimeError("operation not permitted\nwhen stream is capturing")
    for recipe in RECIPES[:3]:
        for seed in range(3):
            assert_equal(cache.run(*layer(seed), recipe), solve_core(*layer(seed), recipe))
    assert notes == [
        "CUDA graphs: a solve of [16, 256] could not be captured (operation not permitted when stream is capturing). "
        "Such layers are solved without, to the same result"
    ]
    assert len(cuda.captures) == 3  # a kind is tried once
    assert len(cache) == 0
    cuda.fails = None
    for _ in range(2):
        assert_equal(cache.run(*layer(0), RECIPES[3]), solve_core(*layer(0), RECIPES[3]))
    assert len(cache) == 1


def test_without_a_reader_a_failure_warns(cuda, layer):
    cuda.fails = RuntimeError("no")
    cache = CapturedSolves()
    cache.run(*layer(0), RECIPES[0])
    with pytest.warns(UserWarning, match="could not be captured"):
        cache.run(*layer(0), RECIPES[0])


def test_a_cpu_has_no_graphs(cuda, layer):
    weight, hessian = layer(0)
    rest = {"damping": 0.01, "block_size": 128, "activation_order": False, "output_energy": None, "name": "layer"}
    with captured_solves() as cache:
        for _ in range(3):
            solve(weight, hessian, NM(2, 4), None, **rest)
    assert len(cache) == 0
    assert not cuda.captures


def test_the_block_ends(monkeypatch):
    with captured_solves() as outer:
        with captured_solves() as inner:
            assert captured._active.get() is inner
        assert captured._active.get() is outer
    assert captured._active.get() is None


def same(result, expected):
    assert result.weight.equal(expected.weight)
    said = (result.loss, result.relative_error, result.zeros, result.damping, result.dead_columns)
    assert said == (expected.loss, expected.relative_error, expected.zeros, expected.damping, expected.dead_columns)
    if expected.quantized is not None:
        assert result.quantized.codes.equal(expected.quantized.codes)
        assert result.quantized.scale.equal(expected.quantized.scale)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
@pytest.mark.parametrize("products", ["fp32", "tf32x3"])
@pytest.mark.parametrize("recipe", RECIPES, ids=str)
def test_a_graph_on_a_gpu_gives_the_eager_bits(make_weight, make_hessian, recipe, products):
    """Every time, whatever layer was solved before; a host sync would have ended the capture."""

    def solved(seed):
        weight, hessian = (
            part.cuda()
            for part in (make_weight(200, 640, torch.bfloat16, seed), make_hessian(640, torch.float32, seed))
        )
        return solve(
            weight, hessian, recipe.pattern, recipe.grid, damping=0.01, block_size=128,
            activation_order=recipe.activation_order, output_energy=None, name="layer", products=products,
        )  # fmt: skip

    notes = []
    expected = [solved(seed) for seed in range(3)]
    for seed in range(3):
        same(solved(seed), expected[seed])
    with captured_solves(notes.append) as cache:
        for seed in (0, 1, 2, 1, 0):
            same(solved(seed), expected[seed])
        assert len(cache) == 1
    assert not notes


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
@pytest.mark.parametrize("recipe", RECIPES[:5], ids=str)
def test_a_batch_in_a_graph_on_a_gpu(make_weight, make_hessian, recipe):
    names = [str(index) for index in range(3)]

    def solved(seed):
        weights = torch.stack([make_weight(64, 384, torch.bfloat16, seed + index) for index in range(3)]).cuda()
        hessians = torch.stack([make_hessian(384, torch.float32, seed + index) for index in range(3)]).cuda()
        rest = {"damping": 0.01, "block_size": 128, "output_energies": None, "names": names}
        return solve_batch(weights, hessians, recipe.pattern, recipe.grid, **rest)

    expected = [solved(seed) for seed in range(3)]
    with captured_solves() as cache:
        for seed in (0, 1, 2, 0):
            for result, alike in zip(solved(seed), expected[seed], strict=True):
                same(result, alike)
        assert len(cache) == 1


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
def test_graphs_on_a_gpu_give_their_memory_back(make_weight):
    hessian = torch.eye(4096, device="cuda")  # 64 MiB

    def solved(rows):
        return solve(
            make_weight(rows, 4096, torch.float32).cuda(), hessian, NM(2, 4), None,
            damping=0.01, block_size=128, activation_order=False, output_energy=1.0, name="layer",
        )  # fmt: skip

    solved(64)
    torch.cuda.synchronize()
    before = torch.cuda.memory_allocated()
    with captured_solves(most=2) as cache:
        for rows in (64, 64, 128, 128, 192, 192, 192):
            solved(rows)
        assert len(cache) == 2
        assert torch.cuda.memory_allocated() > before + (100 << 20)
    gc.collect()
    assert torch.cuda.memory_allocated() < before + (50 << 20)  # cuBLAS may keep a workspace for the capture's stream
