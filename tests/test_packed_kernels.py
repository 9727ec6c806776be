"""packed_linear on every back-end of this machine: emulated CUDA, interpreted Triton, the CPU; NaN for what is damaged."""

import shutil
from pathlib import Path

import packed_cases
import packed_emulation
import pytest
import torch
import triton_cases
from op_support import needs_native
from packing_cases import refuses, shifted

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
    ("kernel", "form", "tokens", "cols", "dtype"),
    [
        ("tensor cores", packed_cases.Form("mask", 4, torch.float16, 128, True), 1, 256, torch.bfloat16),
        ("tensor cores", packed_cases.Form("mask", 4, torch.bfloat16, 32), 1, 256, torch.bfloat16),
        ("tensor cores", packed_cases.Form("mask", 2, torch.float32, 0), 8, 128, torch.float16),
        ("tensor cores", packed_cases.Form("all", 4, torch.bfloat16, 128), 1, 256, torch.bfloat16),
        ("tensor cores", packed_cases.Form("all", 3, torch.bfloat16, 256, True), 5, 512, torch.float16),
        ("tensor cores", packed_cases.Form("pattern", 4, torch.float16, 128, True, 2, 4), 2, 384, torch.bfloat16),
        ("tensor cores", packed_cases.Form("mask", 8, torch.bfloat16, 128), 1, 256, torch.bfloat16),
        ("tensor cores", packed_cases.Form("all", 8, torch.bfloat16, 128), 1, 256, torch.bfloat16),
        ("tensor cores", packed_cases.Form("pattern", 8, torch.bfloat16, 64, True, 2, 4), 3, 256, torch.bfloat16),
        ("tensor cores", packed_cases.Form("pattern", 0, torch.float16, 0, False, 2, 4), 8, 128, torch.float16),
        ("few tokens", packed_cases.Form("pattern", 0, torch.float16, 0, False, 2, 4), 8, 128, torch.bfloat16),
        ("tensor cores", packed_cases.Form("mask", 0, torch.bfloat16), 1, 256, torch.bfloat16),
        ("few tokens", packed_cases.Form("mask", 4, torch.bfloat16, 128), 1, 256, torch.float32),
        ("few tokens", packed_cases.Form("mask", 4, torch.bfloat16, 64), 1, 320, torch.bfloat16),
        ("few tokens", packed_cases.Form("pattern", 4, torch.bfloat16, 128, False, 4, 8), 1, 256, torch.bfloat16),
        ("many tokens", packed_cases.Form("all", 4, torch.bfloat16, 128), 9, 256, torch.bfloat16),
        ("many tokens", packed_cases.Form("all", 4, torch.bfloat16, 5), 1, 256, torch.bfloat16),
    ],
)
def test_the_form_decides_which_kernel_multiplies(library, kernel, form, tokens, cols, dtype):
    op = packed_emulation.PackedLinear(library, backwards=False)
    op(torch.ones(tokens, cols, dtype=dtype), *packed_cases.packed(form, 3, cols, False, dtype))
    assert op.kernel == kernel


@pytest.mark.parametrize("part", ["x", "entries", "bitmask"])
def test_what_lies_at_no_boundary_is_not_for_tensor_cores(library, part):
    form, x = packed_cases.Form("mask", 4, torch.bfloat16, 128), torch.ones(1, 256, dtype=torch.bfloat16)
    parts = [x, *packed_cases.packed(form, 3, 256, False, torch.bfloat16)]
    place = ["x", "entries", "bitmask"].index(part)
    op = packed_emulation.PackedLinear(library, backwards=False)
    op(*parts[:place], shifted(parts[place]), *parts[place + 1 :])
    assert op.kernel == "few tokens"


def test_a_row_without_entries_is_exactly_zero_by_tensor_cores(library):
    form = packed_cases.Form("mask", 4, torch.bfloat16, 128, True)
    op = packed_emulation.PackedLinear(library, backwards=False)
    x = torch.randn(2, 384, generator=torch.Generator().manual_seed(0)).bfloat16()
    out = op(x, *packed_cases.packed(form, 3, 384, False, torch.bfloat16))
    assert op.kernel == "tensor cores"
    assert not out[:, 1].any()


def test_codes_keep_their_bits_beside_large_inputs_by_tensor_cores(library):
    """Where the weight is zero; products far below the largest exponent are cut off, and a subnormal number has a high one."""
    source = torch.Generator().manual_seed(0)
    x = torch.rand(1, 256, generator=source).half()
    codes = torch.randint(16, (16, 256), generator=source, dtype=torch.uint8)
    x[:, ::8], codes[:, ::8] = 4096, 8
    rest = packed_cases.packed(packed_cases.Form("all", 4, torch.float16, 128), 16, 256, False, torch.float16)
    rest[0] = reference.pack_codes(codes, 4)
    op = packed_emulation.PackedLinear(library, backwards=False)
    packed_cases.assert_close(op(x, *rest), x, packed_cases.weight_of(256, rest), None, "large inputs")
    assert op.kernel == "tensor cores"


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
