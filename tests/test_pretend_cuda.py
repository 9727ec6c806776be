"""Real runs on tensors that say they lie on a GPU: nothing mixes devices, and what comes out is the CPU's but for rounding."""

import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
from helpers import make_checkpoint, make_text
from pretend_cuda import OnCuda, pretend_cuda

from fmcompress import ops
from fmcompress.cli import main
from fmcompress.pruning import NM, Unstructured, admm, magnitude, refit, sparsegpt, swap, wanda
from fmcompress.quantization import Grid, gptq, round_to_nearest

HALF, PAIRS, GRID = Unstructured(0.5), NM(2, 4), Grid(4, 32)
METHODS = {
    "block": lambda w, h: sparsegpt(w, h, HALF),
    "row": lambda w, h: sparsegpt(w, h, Unstructured(0.5, "row")),
    "layer": lambda w, h: sparsegpt(w, h, Unstructured(0.5, "layer")),
    "2:4": lambda w, h: sparsegpt(w, h, PAIRS),
    "50 % + 4 bits": lambda w, h: sparsegpt(w, h, HALF, grid=GRID),
    "2:4 + 4 bits": lambda w, h: sparsegpt(w, h, PAIRS, grid=Grid(4, 32, symmetric=False)),
    "gptq": lambda w, h: gptq(w, h, GRID),
    "gptq in order": lambda w, h: gptq(w, h, Grid(3, None), activation_order=True),
    "wanda": lambda w, h: wanda(w, h, Unstructured(0.5, "row")),
    "magnitude": lambda w, h: magnitude(w, PAIRS, h),
    "rtn": lambda w, h: round_to_nearest(w, GRID),
    "admm": lambda w, h: admm(w, h, HALF),
    "refit": lambda w, h: refit(w, magnitude(w, PAIRS).weight, h),
    "swap": lambda w, h: swap(w, magnitude(w, PAIRS).weight, h, PAIRS),
}


@pytest.mark.parametrize("method", METHODS)
def test_layers_are_solved_on_one_device(method, make_weight, make_hessian):
    weight, hessian = make_weight(48, 64, torch.float32), make_hessian(64, torch.float32)
    expected = METHODS[method](weight, hessian)
    with pretend_cuda():
        found = METHODS[method](weight.to("cuda"), hessian.to("cuda"))
        assert found.weight.is_cuda
        weight = found.weight.cpu()
    assert torch.equal(weight == 0, expected.weight == 0)
    torch.testing.assert_close(weight, expected.weight, rtol=1e-4, atol=1e-5)  # a GPU factors by blocks: other sums
    assert found.loss == pytest.approx(expected.loss, rel=1e-5, nan_ok=method == "rtn")  # which has none


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny model and a short text."""
    folder = tmp_path_factory.mktemp("home")
    make_checkpoint(folder / "model", dtype=torch.bfloat16)
    make_text(folder / "text.txt")
    return folder


COMMANDS = {
    "prune": ["--sparsity", "0.5", "--reconstruct", "2"],
    "prune packed": ["--pattern", "2:4", "--format", "packed"],
    "prune in bfloat16": ["--sparsity", "0.5", "--dtype", "bfloat16"],
    "quantize": ["--bits", "4", "--group-size", "32"],
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_checkpoint_is_compressed_on_the_gpu(command, home, tmp_path):
    """The same bytes as on the CPU, since it is the CPU that computes."""
    name, text = command.split()[0], str(home / "text.txt")
    options = ["--calibration", text, "--samples", "8", "--sequence-length", "32"]
    options += ["--dtype", "float32", *COMMANDS[command]]
    run(name, str(home / "model"), str(tmp_path / "cpu"), *options, "--device", "cpu")
    with pretend_cuda():
        run(name, str(home / "model"), str(tmp_path / "cuda"), *options, "--device", "cuda")
        run("generate", str(tmp_path / "cuda"), "--prompt", "class", "--max-new-tokens", "4", "--device", "cuda")
        run("eval", str(tmp_path / "cuda"), "--text", text, "--max-windows", "2", "--device", "cuda")
    weights = sorted(path.name for path in (tmp_path / "cpu").glob("*.safetensors"))
    assert weights
    for name in weights:
        assert (tmp_path / "cpu" / name).read_bytes() == (tmp_path / "cuda" / name).read_bytes(), name


def run(*arguments: str) -> None:
    """A command, which must succeed."""
    with mock.patch.object(sys, "argv", ["fmcompress", *arguments]):
        try:
            code = main()
        except SystemExit as end:
            code = end.code
    assert not code, arguments


def test_what_a_gpu_would_refuse_is_refused():
    with pretend_cuda():
        there = torch.ones(4, device="cuda")
        assert isinstance(there * 2, OnCuda)
        assert (there + torch.tensor(1.0)).is_cuda  # a number may lie anywhere
        with pytest.raises(RuntimeError, match="one device"):
            there + torch.ones(4)
        with pytest.raises(RuntimeError, match="one device"):
            torch.cat([there, torch.ones(4)])
        with pytest.raises(RuntimeError, match="one device"):
            torch.ops.fmcompress.weighted_sum_(torch.ones(4), there[None], torch.ones(1))
        number = torch.tensor(1.0)
        for call in (
            lambda: torch.stack([there[0], number]),
            lambda: there.index_select(0, torch.tensor(1)),
            lambda: number.add_(there[0]),
            lambda: torch.add(there[0], 1.0, out=number),
            lambda: torch.ops.fmcompress.weighted_sum_(there, there[None], number),
            lambda: torch.where(there > 0, there, torch.zeros(4)),
            lambda: torch.randn(4, device="cuda", generator=torch.Generator()),
        ):
            with pytest.raises(RuntimeError, match=r"one device|generator on cuda"):
                call()
        with pytest.raises(RuntimeError, match="values on cuda"):
            there[torch.tensor([1, 2])] = torch.ones(2)
        assert torch.where(there > 0, there, number).is_cuda
        there[torch.tensor([1])], there[2:] = number, torch.ones(2)
        with pytest.raises(TypeError, match="NumPy"):
            there.numpy()
        with pytest.raises(RuntimeError, match="indices"):
            torch.arange(4)[torch.zeros(2, dtype=torch.int64, device="cuda")]
        assert not there.cpu().is_cuda
        assert ops.nm_mask(there.view(1, 4), 2, 4).is_cuda
        layer = torch.nn.Linear(4, 2).to("cuda")
        layer(there).sum().backward()
        assert layer.weight.grad.is_cuda
