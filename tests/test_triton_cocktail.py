"""The Triton twins of compressed gradients: interpreted on the CPU, and what their PTX says of rounding."""

import os
import re
from types import SimpleNamespace

import pytest
import torch
import triton_cases
from torch import Tensor

CHECKS = ["layouts", "steps", "sampling", "no_numbers", "damaged", "offsets"]


@pytest.mark.parametrize("check", CHECKS)
def test_triton_in_the_interpreter(check):
    triton_cases.interpret(f"import triton_cocktail_cases\ntriton_cocktail_cases.check_{check}()")


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreted kernel cannot be compiled")
def test_the_compiler_leaves_rounding_as_written():
    """No FMA, no denormal flushed, no division that is not IEEE, and no kernel forgets to ask for that."""
    for name, (kernel, arguments) in triton_cases.kernels().items():
        if name.startswith("cocktail"):
            compiled = triton_cases.compile_kernel(kernel, arguments, "fp32", 90)
            assert not compiled.metadata.enable_fp_fusion, name  # what ptxas would do
            assert not re.search(r"fma\.rn\.f|ftz|div\.full|approx", compiled.asm["ptx"]), name


def on_gpu(op):
    """The op, called with CPU tensors: they are moved there, and what changed back."""

    def call(*arguments):
        there = [part.cuda() if isinstance(part, Tensor) else part for part in arguments]
        result = op(*there)
        for before, after in zip(arguments, there, strict=True):
            if isinstance(before, Tensor):
                before.copy_(after)
        return None if result is None else result.cpu()

    return call


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
@pytest.mark.parametrize("check", CHECKS)
def test_triton_on_a_gpu(check, monkeypatch):
    triton_cases.modules()
    import triton_cocktail_cases as cases

    ops = {name: on_gpu(op) for name, op in vars(cases.ops).items() if name in cases.ops.OPS}
    monkeypatch.setattr(cases, "ops", SimpleNamespace(**ops))
    getattr(cases, f"check_{check}")(*["cuda"] * (check == "sampling"))


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA GPU on this machine")
def test_the_host_waits_for_nothing():
    """A host sync would end the capture."""
    triton_cases.modules()
    from triton_cocktail_cases import PLAIN, ops

    gradient = torch.randn(1000, device="cuda")
    residuals = [torch.zeros(1000, device="cuda") for _ in range(2)]
    expected = ops.compress_gradient_(gradient, residuals[0], 1.0, *PLAIN)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        payload = ops.compress_gradient_(gradient, residuals[1], 1.0, *PLAIN)
    graph.replay()
    assert torch.equal(payload, expected)
    assert torch.equal(*residuals)
