"""CocktailSGD's compression on every back-end of this machine, bit for bit as the reference."""

import shutil
from pathlib import Path

import cocktail_cases
import cocktail_emulation
import pytest
import torch
from op_support import needs_native


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The CUDA kernels as a library for the CPU."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    return cocktail_emulation.build(Path(__file__).parents[1], tmp_path_factory.mktemp("emulated"))


@pytest.mark.parametrize("backwards", [False, True])
class TestEmulatedCuda:
    """The CUDA kernels with CPU fibers for threads, in both orders."""

    @pytest.mark.parametrize("name", cocktail_cases.ARGUMENTS)
    def test_bit_for_bit(self, library, backwards, name):
        cases = cocktail_cases.CASES[:: 3 if backwards else 1]
        cocktail_cases.check_op(name, getattr(cocktail_emulation.Ops(library, backwards), name), cases)

    @pytest.mark.parametrize("name", ["compress_gradient_", "compress_delta_", "compress_mean_"])
    @pytest.mark.parametrize("kind", ["normal", "nan"])
    def test_two_kernels_a_compression(self, library, backwards, name, kind):
        """After the header is cleared, the third of the three launches."""
        case = cocktail_cases.Case("", 3000, cocktail_cases.BASE._replace(sampled=3), kind)
        library.launches()
        getattr(cocktail_emulation.Ops(library, backwards), name)(*cocktail_cases.ARGUMENTS[name](case), *case.layout)
        assert library.launches() == 2

    def test_overflow(self, library, backwards):
        cocktail_cases.check_overflow(cocktail_emulation.Ops(library, backwards).compress_gradient_)

    def test_checksum(self, library, backwards):
        cocktail_cases.check_checksum(cocktail_emulation.Ops(library, backwards).payload_checksum)

    def test_damaged_payloads_lead_nowhere(self, library, backwards):
        ops = cocktail_emulation.Ops(library, backwards)
        cocktail_cases.check_damaged(ops.compress_mean_, ops.add_payload_)


@needs_native
def test_damaged_payloads_lead_nowhere_on_the_cpu():
    ops = torch.ops.fmcompress
    cocktail_cases.check_damaged(ops.compress_mean_, ops.add_payload_)


@needs_native
def test_overflow_on_the_cpu():
    cocktail_cases.check_overflow(torch.ops.fmcompress.compress_gradient_)
