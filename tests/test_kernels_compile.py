"""What a machine without a GPU can know of the GPU kernels: that they compile, and, emulated, that they are right."""

import ctypes
import os
import re
import shutil
import subprocess
from pathlib import Path

import admm_step_cases
import batched_sweep_cases
import emulation
import factor_cases
import kernel_cases
import pytest
import torch
import triton_cases
import weighted_sum_cases
from torch.utils.cpp_extension import include_paths

from fmcompress import _backends, _ops

ROOT = Path(__file__).parents[1]
SM = (80, 90)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc on this machine")
@pytest.mark.parametrize("source", sorted((ROOT / "csrc/cuda").glob("*.cu")), ids=lambda path: path.stem)
def test_cuda_compiles_without_spills(source, tmp_path):
    command = ["nvcc", "-O3", "-std=c++20", "-DTORCH_TARGET_VERSION=0x020b000000000000", "-Xptxas", "-v", "--threads=2"]
    command += [f"-gencode=arch=compute_{sm},code=sm_{sm}" for sm in SM]
    command += [f"-I{path}" for path in [*include_paths(), ROOT / "csrc"]]
    run = subprocess.run(
        [*command, "-c", source, "-o", tmp_path / "kernels.o"], check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    report = re.findall(r"entry function '(\w+)' for 'sm_(\d+)'.*?(\d+) bytes spill stores", run.stderr, re.DOTALL)
    assert {int(sm) for _, sm, _ in report} == set(SM)
    assert not [(name, sm) for name, sm, spilled in report if int(spilled)]


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreted kernel cannot be compiled")
@pytest.mark.parametrize("sm", SM)
@pytest.mark.parametrize("scalar", ["fp32", "fp64"])
def test_triton_compiles(scalar, sm):
    for name, (kernel, arguments) in triton_cases.kernels().items():
        if scalar != "fp32" and "*SCALAR" not in arguments.values():
            continue  # nothing in it follows the dtype
        compiled = triton_cases.compile_kernel(kernel, arguments, scalar, sm)
        assert compiled.asm["cubin"], name
        assert not re.search(r"div\.full|\.approx", compiled.asm["ptx"]), f"{name}: a division that is not IEEE"


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreted kernel cannot be compiled")
@pytest.mark.parametrize("name", ["gradient", "delta", "mean"])
def test_the_last_triton_program_sees_what_all_added(name):
    """One thread adds to the sum, then counts, releasing the sum and acquiring all others, and then reads the sum."""
    kernel, arguments = triton_cases.kernels()[f"cocktail {name} 1 bit, all"]
    ptx = triton_cases.compile_kernel(kernel, arguments, "fp32", 90).asm["ptx"]
    steps = re.findall(r"@(%p\d+) (atom|ld)\.global\.gpu\.(\w+)\.(?:add\.u64|b64) ", ptx)
    counted = [at for at, (*_, order) in enumerate(steps) if order == "acq_rel"]
    assert len(counted) == 2  # of what is finite, and of what is not, which adds nothing
    for at in counted:
        assert steps[at + 1][::2] == (steps[at][0], "relaxed")
    assert any(steps[at - 1] == (steps[at][0], "atom", "relaxed") for at in counted if at > 0)


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreted kernel is no JITFunction")
def test_every_triton_kernel_is_compiled():
    listed = {kernel.__name__ for kernel, _ in triton_cases.kernels().values()}
    assert listed == {name for module in triton_cases.modules() for name in vars(module) if name.endswith("_kernel")}


def test_no_parameter_of_a_triton_kernel_has_a_string_for_its_default():
    """Triton 3.6 takes it for a value of the GPU and refuses to compile; later ones do not."""
    for path in sorted((ROOT / "triton_kernels").glob("*.py")):
        assert not re.search(r"tl\.constexpr = [\"']", path.read_text()), path.name


@pytest.mark.parametrize(
    "check",
    [
        "cases.check_select(ops.select_smallest)",
        "select.LONGEST_IN_PROGRAM = 0; cases.check_select(ops.select_smallest, [(2, 129), (1, 9000)])",
        "cases.check_groups(ops.nm_mask)",
        "steps.check_admm_step(ops.admm_step_)",
        "sums.check_weighted_sum(ops.weighted_sum_)",
        "factors.check_factor_block(ops.factor_block, [1, 17, 123, 128], batched=19, failing=17)",
        "sweep.ROWS = 128; cases.check_sweep(ops.sweep_block_)",  # larger tiles: the interpreter is slow
        "sweep.ROWS = 32; batched.check_batched_sweep(ops.sweep_block_)",
        "sweep.ROWS = 32; batched.check_batched_joint_sweep(ops.joint_sweep_block_, (torch.float32,))",
    ],
    ids=[
        "select",
        "select on the grid",
        "groups",
        "admm step",
        "weighted sum",
        "factor",
        "sweep",
        "batch",
        "joint batch",
    ],
)
def test_triton_in_the_interpreter(check):
    triton_cases.interpret(check)


def test_triton_takes_the_cuda_key_only_where_it_is_free():
    triton_cases.in_a_process(
        "import torch, fmcompress._ops, fmcompress_triton.register as triton_ops\n"
        "held = lambda op: torch._C._dispatch_has_kernel_for_dispatch_key(f'fmcompress::{op}', 'CUDA')\n"
        "torch.library.register_kernel('fmcompress::nm_mask', 'cuda', lambda scores, keep, group: scores)\n"
        "assert not held('select_smallest')\n"
        "triton_ops.register_on_cuda()\n"
        "triton_ops.register_on_cuda()\n"
        "assert all(map(held, set(fmcompress._ops.CHECKS) - fmcompress._ops.HOST_ONLY))\n"
    )


@pytest.mark.skipif(_backends._C is None or not _backends._C.cuda, reason="the extension is built without CUDA")
def test_every_op_is_compiled_for_the_cuda_key():
    held = torch._C._dispatch_has_kernel_for_dispatch_key
    assert {op for op in _ops.CHECKS if held(f"fmcompress::{op}", "CUDA")} == set(_ops.CHECKS) - _ops.HOST_ONLY


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    """The CUDA kernels as a library for the CPU."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    return emulation.build(ROOT, tmp_path_factory.mktemp("emulated"))


@pytest.mark.parametrize("backwards", [False, True])
class TestEmulatedCuda:
    """The CUDA kernels with CPU fibers for threads, in both orders."""

    @pytest.mark.parametrize("route", emulation.Route)
    def test_select(self, library, backwards, route):
        ops = emulation.Ops(library, backwards, route)
        few = [(0, 7), (3, 1), (2, 129), (1, 5000)] if backwards else kernel_cases.SEGMENTS
        longest = 128 if route == emulation.Route.counting else 5000
        kernel_cases.check_select(ops.select_smallest, [shape for shape in few if shape[1] <= longest])

    def test_route_by_shape(self, library, backwards):
        ops = emulation.Ops(library, backwards)
        kernel_cases.check_groups(ops.nm_mask)
        kernel_cases.check_select(ops.select_smallest, [(1, (1 << 16) + 1)])

    def test_sweep(self, library, backwards):
        kernel_cases.check_sweep(emulation.Ops(library, backwards).sweep_block_)

    @pytest.mark.parametrize("route", [None, emulation.Route.block, emulation.Route.grid])
    def test_admm_step(self, library, backwards, route):
        cases = admm_step_cases.CASES if route is None else admm_step_cases.CASES[-8::3]
        admm_step_cases.check_admm_step(emulation.Ops(library, backwards, route).admm_step_, cases)

    def test_weighted_sum(self, library, backwards):
        weighted_sum_cases.check_weighted_sum(emulation.Ops(library, backwards).weighted_sum_)

    def test_factor_block(self, library, backwards):
        factor_cases.check_factor_block(emulation.Ops(library, backwards).factor_block)

    def test_joint_sweep(self, library, backwards):
        kernel_cases.check_joint_sweep(emulation.Ops(library, backwards).joint_sweep_block_)

    def test_sweeps_of_a_batch(self, library, backwards):
        ops = emulation.Ops(library, backwards)
        batched_sweep_cases.check_batched_sweep(ops.sweep_block_)
        batched_sweep_cases.check_batched_joint_sweep(ops.joint_sweep_block_)

    def test_grids(self, library, backwards):
        ops = emulation.Ops(library, backwards)
        kernel_cases.check_search_grid(ops.search_grid)
        kernel_cases.check_quantize(ops.quantize)
        kernel_cases.check_dequantize(ops.dequantize)

    def test_codes(self, library, backwards):
        ops = emulation.Ops(library, backwards)
        kernel_cases.check_pack_codes(ops.pack_codes)
        kernel_cases.check_unpack_codes(ops.unpack_codes)

    def test_bitmasks(self, library, backwards):
        ops = emulation.Ops(library, backwards)
        kernel_cases.check_pack_bitmask(ops.pack_bitmask)
        kernel_cases.check_unpack_bitmask(ops.unpack_bitmask)

    @pytest.mark.parametrize("blocks", [1, 31, 1023, 1024, 1025, 4100])
    def test_scan(self, library, backwards, blocks):
        counts = torch.randint(8193, (blocks,), generator=torch.Generator().manual_seed(blocks))
        before, total = emulation.Ops(library, backwards).scan(counts)
        assert torch.equal(before, counts.cumsum(0) - counts)
        assert total == counts.sum()

    def test_the_emulation_sees_reading_out_of_bounds(self, library, backwards):
        codes, packed = torch.zeros(128, dtype=torch.uint8), emulation.Guarded(torch.zeros(1 << 20, dtype=torch.uint8))
        claimed = 160 if backwards else 1 << 20  # forwards it is the pages before and after that are nobody's
        with pytest.raises(AssertionError, match="out of bounds"):
            emulation.Ops(library, backwards).call("pack_codes", [codes, packed], 1, claimed, 8)


def test_emulation_routes_by_shape(library):
    shapes = {(10**6, 128): "counting", (1, 129): "block", (1, 1 << 17): "grid", (200, 1 << 17): "block"}
    assert {shape: emulation.Route(library.route(*map(ctypes.c_int64, shape))).name for shape in shapes} == shapes
