"""The options of a run that decide how a GPU solves."""

import pytest
import torch

from fmcompress import layer_solver
from fmcompress.config import PruneConfig, QuantizeConfig
from fmcompress.layerwise import CapturedSolves, solver

CPU, CUDA = torch.device("cpu"), torch.device("cuda")


@pytest.mark.parametrize("method", [PruneConfig, QuantizeConfig])
def test_off_by_default(method):
    config = method(**({"sparsity": 0.5} if method is PruneConfig else {}))
    assert (config.cuda_graphs, config.products) == (False, "fp32")
    with pytest.raises(ValueError, match="products"):
        method(**{**config.model_dump(exclude_none=True), "products": "tf32"})


def test_products_reach_the_solve(monkeypatch, make_weight, make_hessian):
    asked, real = [], layer_solver.solve
    monkeypatch.setattr(
        layer_solver, "solve", lambda *given, **rest: asked.append(rest["products"]) or real(*given, **rest)
    )
    given = make_weight(4, 8), make_hessian(8), 1.0
    for config in (PruneConfig(sparsity=0.5, products="tf32x3"), QuantizeConfig(products="tf32x3"), QuantizeConfig()):
        layer_solver.solve_with_data(config, "layer", *given)
    assert asked == ["tf32x3", "tf32x3", "fp32"]


def test_products_reach_a_batch(monkeypatch, make_weight, make_hessian):
    asked, real = [], solver.run_core
    monkeypatch.setattr(solver, "run_core", lambda w, h, recipe: asked.append(recipe.products) or real(w, h, recipe))
    given = torch.stack([make_weight(4, 8)] * 2), torch.stack([make_hessian(8)] * 2), [1.0, 1.0]
    for config in (PruneConfig(sparsity=0.5, products="tf32x3"), QuantizeConfig(products="tf32x3"), QuantizeConfig()):
        layer_solver.solve_batch_with_data(config, ["a", "b"], *given)
    assert asked == ["tf32x3", "tf32x3", "fp32"]


@pytest.mark.parametrize(
    ("asked", "device", "entered"), [(True, CUDA, True), (True, CPU, False), (False, CUDA, False)], ids=str
)
def test_graphs_are_kept_where_they_are_asked_for(asked, device, entered):
    notes = []
    config = PruneConfig(sparsity=0.5, cuda_graphs=asked)
    with layer_solver.graphs_of(config, device, notes.append) as cache:
        assert isinstance(cache, CapturedSolves) == entered


def test_what_has_no_effect_is_said():
    both = {"cuda_graphs": True, "products": "tf32x3"}
    config = PruneConfig(sparsity=0.5, **both)
    assert config.without_effect(CUDA) == config.without_effect() == []
    assert config.without_effect(CPU) == ["without effect, since the device is cpu: --cuda-graphs, --products"]
    config = PruneConfig(sparsity=0.5, method="wanda", **both)
    assert config.without_effect(CUDA) == [
        "without effect, since only sparsegpt sweeps over columns: --products, --cuda-graphs"
    ]
    config = PruneConfig(sparsity=0.5, method="wanda", bits=4, **both)
    assert config.without_effect(CUDA) == ["without effect, since only sparsegpt sweeps over columns: --products"]
    config = QuantizeConfig(method="rtn", **both)
    assert config.without_effect(CPU) == [
        "without effect, since this method looks at no data: --cuda-graphs, --products"
    ]
