"""Products of factors split in two: exact parts, float32's error in emulated TF32, and the same layers."""

import contextlib
import sys
from pathlib import Path

import pytest
import torch

from fmcompress import NM, Unstructured
from fmcompress.config import PruneConfig
from fmcompress.layerwise import Grid, cholesky, products, sweeper
from fmcompress.layerwise.core import Numbers, Recipe, solve_core
from fmcompress.layerwise.products import Split, add_product_, product, split
from fmcompress.plan import _solve_bytes

sys.path.append(str(Path(__file__).parents[2] / "bench"))
from tf32 import KINDS, emulated_tensor_cores, errors, real_layers, tensor_product, truncated


def numbers(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=generator) * torch.logspace(-6, 6, shape[-1])


def off(found, exact):
    """Largest error relative to the size of the terms."""
    return float((found.double() - exact).abs().max() / exact.abs().max())


@pytest.mark.parametrize("strided", [False, True])
def test_parts_are_exact(strided):
    matrix = numbers(40, 60).T[::2] if strided else numbers(20, 40)
    parts = split(matrix)
    assert torch.equal(parts.high + parts.low, matrix)
    assert torch.equal(parts.high.double() + parts.low.double(), matrix.double())
    assert torch.equal(truncated(parts.high), parts.high)  # a number of TF32
    step = 2.0 ** (torch.frexp(matrix.double()).exponent - 11)
    nearest = (matrix.double() / step).round() * step
    ties = ((matrix.double() / step).abs() % 1) == 0.5
    assert torch.equal(parts.high.double()[~ties], nearest[~ties])
    assert ((truncated(parts.low) - parts.low).abs() <= 2.0**-23 * matrix.abs()).all()


def test_edges():
    matrix = torch.tensor([0.0, -0.0, 1.0, -1.0, 2.0**-126, 1.0 + 2.0**-11, 2.0 - 2.0**-23, 3.0e38])
    parts = split(matrix)
    assert torch.equal(parts.high + parts.low, matrix)
    assert parts.high[5] == 1.0 + 2.0**-10  # a tie goes away from zero
    assert parts.high[6] == 2.0  # the carry reaches the exponent
    broken = split(torch.tensor([torch.inf, -torch.inf, torch.nan]))
    assert not (broken.high + broken.low).isfinite().any()


def test_parts_go_where_they_are_wanted():
    matrix, into = numbers(6, 8), Split(torch.zeros(6, 16), torch.zeros(6, 16))
    split(matrix, Split(into.high[:, 4:12], into.low[:, 4:12]))
    assert torch.equal(into.high[:, 4:12], split(matrix).high)
    assert torch.equal(into.low[:, 4:12], split(matrix).low)
    assert not into.high[:, :4].any()
    assert not into.low[:, 12:].any()


@pytest.mark.parametrize("batch", [(), (2,)], ids=["one", "batch"])
def test_three_products_are_as_exact_as_float32(batch):
    generator = torch.Generator().manual_seed(1)
    left, right = (torch.randn(*batch, *shape, generator=generator) for shape in ((64, 700), (700, 96)))
    base = torch.randn(*batch, 64, 96, generator=generator)
    exact = left.double() @ right.double()
    with emulated_tensor_cores():
        three = product(split(left), split(right))
        added = add_product_(base.clone(), split(left), split(right), -1.0)
        turned = product(split(left), split(right.mT.contiguous()).mT)
    one, plain = tensor_product(left, right, "tf32"), off(left @ right, exact)
    assert off(three, exact) < 2 * plain
    assert off(one, exact) > 100 * plain
    assert torch.equal(turned, three)
    assert off(added, base.double() - exact) < 2 * plain


@pytest.mark.parametrize("before", ["none", "ieee", "tf32"])
def test_the_switch_is_put_back(before):
    matmul = torch.backends.cuda.matmul
    matmul.fp32_precision = before
    try:
        with products.tf32_allowed():
            assert matmul.fp32_precision == "tf32"
        assert matmul.fp32_precision == before
        with contextlib.suppress(ZeroDivisionError), products.tf32_allowed():
            1 / 0  # noqa: B018
        assert matmul.fp32_precision == before
    finally:
        matmul.fp32_precision = "none"
    assert not matmul.allow_tf32  # the older name still answers


def test_on_a_cpu_they_are_plain(make_weight, make_hessian):
    given = make_weight(16, 640, torch.float32), make_hessian(640, torch.float32)
    plain, asked = (
        solve_core(*given, Recipe(Unstructured(0.5), None, 0.01, products=kind)) for kind in ("fp32", "tf32x3")
    )
    assert asked.weight.equal(plain.weight)
    assert asked.numbers.equal(plain.numbers)


def test_the_copies_that_a_solve_keeps_are_counted(make_weight, make_hessian, monkeypatch):
    kept = []

    class Counting(products.Growing):
        def __init__(self, *given):
            super().__init__(*given)
            kept.append(sum(part.nbytes for part in self.parts))

    for module in (cholesky, sweeper):
        monkeypatch.setattr(module, "Growing", Counting)
    for module in (products, sweeper):
        monkeypatch.setattr(module, "is_split", lambda kind, like: True)
    solve_core(make_weight(16, 96, torch.float32), make_hessian(96, torch.float32), Recipe(NM(2, 4), None, 0.01))
    assert sum(kept) == products.split_bytes(16, 96)


def test_a_plan_counts_them_on_a_gpu():
    at = [torch.device(name) for name in ("cpu", "cuda")]
    for kind, more in (("fp32", 0), ("tf32x3", products.split_bytes(64, 128))):
        on_cpu, on_gpu = (_solve_bytes(64, 128, PruneConfig(sparsity=0.5, products=kind), device) for device in at)
        assert on_gpu - on_cpu == more


CASES = [(Unstructured(0.5), None), (NM(2, 4), None), (None, Grid(4, 128)), (Unstructured(0.5), Grid(4, 128))]


@pytest.mark.parametrize(("pattern", "grid"), CASES, ids=str)
def test_layers_are_solved_as_well(make_weight, make_hessian, pattern, grid):
    """Against float64: tf32x3 loses no more than float32 does."""
    weight, hessian = make_weight(32, 1280), make_hessian(1280)
    losses = {}
    for kind, dtype in (("exact", torch.float64), ("fp32", torch.float32), ("tf32x3", torch.float32)):
        recipe = Recipe(pattern, grid, 0.01, products="tf32x3" if kind == "tf32x3" else "fp32")
        with emulated_tensor_cores():
            outcome = solve_core(weight.to(dtype), hessian.to(dtype), recipe)
        assert not Numbers(*outcome.numbers.tolist()).failed
        delta = outcome.weight.double() - weight
        losses[kind] = float(((delta @ hessian) * delta).sum())
    assert losses["tf32x3"] == pytest.approx(losses["exact"], rel=2e-3)
    assert losses["fp32"] == pytest.approx(losses["exact"], rel=2e-3)
    assert losses["tf32x3"] != losses["fp32"]  # they are other sums


def test_a_real_layer(shared_data, monkeypatch):
    """All products but those inside 128 columns count as wide here, since the layer is narrow."""
    monkeypatch.setattr(sweeper, "SUPERBLOCK_COLS", 128)
    monkeypatch.setattr(cholesky, "SUPER_COLS", 128)
    layers = real_layers(
        shared_data / "checkpoints" / "wikitext-llama", shared_data / "wikitext-2" / "valid.txt.xz", 2048
    )
    weight, hessian = next((weight, hessian) for name, weight, hessian in layers if name.endswith("down_proj"))
    found = errors(weight, hessian)
    assert set(found) == set(KINDS)
    for pattern in ("50 %", "2:4"):
        product, loss = f"product, {pattern}", f"loss, {pattern}"
        assert found["tf32x3"][product] < 2 * found["fp32"][product] < 0.02 * found["tf32"][product]
        assert abs(found["tf32x3"][loss]) < 1e-3
        assert abs(found["tf32x3"][loss]) < max(1e-4, abs(found["tf32"][loss]))
