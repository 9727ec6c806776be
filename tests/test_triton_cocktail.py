"""The Triton twins of compressed gradients: interpreted on the CPU, and what their PTX says of rounding."""

import os
import re

import pytest
import triton_cases

CHECKS = ["layouts", "steps", "sampling", "no_numbers", "damaged", "offsets"]


@pytest.mark.parametrize("check", CHECKS)
def test_triton_in_the_interpreter(check):
    triton_cases.interpret(f"import triton_cocktail_cases\ntriton_cocktail_cases.check_{check}()")


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreted kernel cannot be compiled")
def test_the_compiler_leaves_rounding_as_written():
    """No FMA, no denormal flushed, no division that is not IEEE, and no kernel forgets to ask for that."""
    for name, (kernel, arguments) in triton_cases.kernels().items():
        if name.startswith("cocktail"):
            ptx = triton_cases.compile_kernel(kernel, arguments, "fp32", 90).asm["ptx"]
            assert not re.search(r"fma\.rn\.f|ftz|div\.full|approx", ptx), name
