"""packed_linear on every back-end of this machine: emulated CUDA, interpreted Triton, the CPU; NaN for what is damaged."""

import shutil
from pathlib import Path

import packed_cases
import packed_emulation
import pytest
import torch
import triton_cases
from op_support import needs_native
from packing_cases import refuses

from fmcompress import ops, reference


@pytest.fixture(autouse=True)
def one_thread():
    """The products here are small."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The CUDA kernels as a library for the CPU."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    return packed_emulation.build(Path(__file__).parents[1], tmp_path_factory.mktemp("emulated"))


@pytest.mark.parametrize("backwards", [False, True])
class TestEmulatedCuda:
    """The CUDA kernels with CPU fibers for threads, in both orders."""

    def test_every_form(self, library, backwards):
        packed_cases.check_packed_linear(packed_emulation.PackedLinear(library, backwards))

    def test_contradictions(self, library, backwards):
        packed_cases.check_contradictions(packed_emulation.PackedLinear(library, backwards))


@pytest.mark.parametrize(
    "check",
    [
        "packed_cases.check_packed_linear(ops.packed_linear)",
        "packed_cases.check_contradictions(ops.packed_linear)",
    ],
    ids=["every form", "contradictions"],
)
def test_triton_in_the_interpreter(check):
    triton_cases.interpret(f"torch.set_num_threads(1); {check}")


@needs_native
def test_native():
    packed_cases.check_packed_linear(torch.ops.fmcompress.packed_linear)


def test_check_packed_takes_what_fits():
    for case, x, rest in packed_cases.every_case():
        entries, options = packed_cases.parts_to_check(rest)
        assert ops.check_packed(x.shape[1], entries, **options) is None, case


def test_contradictions_are_errors():
    for name, cols, rest, _ in packed_cases.contradictions():
        entries, options = packed_cases.parts_to_check(rest)
        with pytest.raises(ValueError, match=r"^(starts|bitmask|indices): "):
            ops.check_packed(cols, entries, **options)
        for op in (reference.packed_linear, torch.ops.fmcompress.packed_linear):
            assert refuses(lambda op=op, cols=cols, rest=rest: op(torch.ones(2, cols), *rest)), name
