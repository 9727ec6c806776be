"""What a machine without a GPU can know of the GPU kernels: that they compile, and, emulated, that they are right."""

import ctypes
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import emulation
import kernel_cases
import numpy as np
import pytest
from packaging.version import Version
from torch.utils.cpp_extension import include_paths

ROOT = Path(__file__).parents[1]
SM = (80, 90)


@pytest.mark.skipif(shutil.which("nvcc") is None, reason="no nvcc on this machine")
@pytest.mark.parametrize("source", sorted((ROOT / "csrc/cuda").glob("*.cu")), ids=lambda path: path.stem)
def test_cuda_compiles_without_float_spills(source, tmp_path):
    command = ["nvcc", "-O3", "-std=c++20", "-DTORCH_TARGET_VERSION=0x020b000000000000", "-Xptxas", "-v"]
    command += [f"-gencode=arch=compute_{sm},code=sm_{sm}" for sm in SM]
    command += [f"-I{path}" for path in [*include_paths(), ROOT / "csrc"]]
    run = subprocess.run(
        [*command, "-c", source, "-o", tmp_path / "kernels.o"], check=False, capture_output=True, text=True
    )
    assert run.returncode == 0, run.stderr
    report = re.findall(r"entry function '(\w+)' for 'sm_(\d+)'.*?(\d+) bytes spill stores", run.stderr, re.DOTALL)
    assert {int(sm) for _, sm, _ in report} == set(SM)
    assert not [(name, sm) for name, sm, spilled in report if "kernelIf" in name and int(spilled)]


def triton_kernels() -> dict:
    """Every kernel with the arguments that a launch gives it, by name and variant; SCALAR and KEY follow the dtype."""
    pytest.importorskip("triton", reason="triton is not installed")
    from fmcompress_triton import select, sweep

    radix = {"KEY": None, "BITS": select.DIGIT_BITS, "BLOCK": select.BLOCK, "PASSES": None}
    length = {"length": "i32", "count": "i32"}
    pieces = {"scores_ptr": "*SCALAR", "histograms_ptr": "*i64", "length": "i64", "piece": "i64", "count": "i64"}
    equal = {**pieces, "equal_ptr": "*i64"}
    mask = {"scores_ptr": "*SCALAR", "mask_ptr": "*u8"}
    block = {"weight_ptr": "*SCALAR", "factor_ptr": "*SCALAR", "loss_ptr": "*SCALAR", "rows": "i32"}
    chosen = {**block, "prune_ptr": None, "cols": "i32", "group": "i32", "count": "i32"}
    return {
        # Triton makes constants of None and of the number 1
        "counting 4": (select.counting_kernel, {**mask, **length, "segments": "i32", "SEGMENTS": 256, "LENGTH": 4}),
        "counting 128": (select.counting_kernel, {**mask, **length, "segments": "i32", "SEGMENTS": 1, "LENGTH": 128}),
        "counting 1": (
            select.counting_kernel,
            {**mask, "length": 1, "count": 1, "segments": 1, "SEGMENTS": 4096, "LENGTH": 1},
        ),
        "segment": (select.segment_kernel, {**mask, **length, **radix}),
        "segment 1": (select.segment_kernel, {**mask, "length": "i32", "count": 1, **radix}),
        "digit": (select.digit_kernel, {**pieces, "done": "i32", **radix}),
        "equal": (select.equal_kernel, {**equal, **radix}),
        "mask": (select.mask_kernel, {**equal, "mask_ptr": "*u8", "MAX_PIECES": select.MAX_PIECES, **radix}),
        "sweep given": (sweep.sweep_kernel, {**chosen, "prune_ptr": "*u8", "ROWS": sweep.ROWS, "COLS": 128}),
        "sweep chosen": (sweep.sweep_kernel, {**chosen, "ROWS": sweep.ROWS, "COLS": 128}),
        "sweep 1": (
            sweep.sweep_kernel,
            {**block, "prune_ptr": "*u8", "cols": 1, "group": 1, "count": "i32", "ROWS": sweep.ROWS, "COLS": 16},
        ),
    }


def compile_kernel(kernel, arguments: dict, scalar: str, sm: int):
    """Compile one kernel to a cubin, as a launch on that GPU would."""
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget

    key = tl.uint32 if scalar == "fp32" else tl.uint64
    dtype = {"KEY": key, "PASSES": triton.cdiv(key.primitive_bitwidth, 11)}
    constants = {n: dtype.get(n, a) for n, a in arguments.items() if not isinstance(a, str)}
    types = {n: arguments[n].replace("SCALAR", scalar) if n not in constants else "constexpr" for n in kernel.arg_names}
    source = triton.compiler.ASTSource(kernel, types, constants)
    return triton.compile(source, target=GPUTarget("cuda", sm, 32), options={"num_warps": 8})


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreted kernel cannot be compiled")
@pytest.mark.parametrize("sm", SM)
@pytest.mark.parametrize("scalar", ["fp32", "fp64"])
def test_triton_compiles(scalar, sm):
    for name, (kernel, arguments) in triton_kernels().items():
        compiled = compile_kernel(kernel, arguments, scalar, sm)
        assert compiled.asm["cubin"], name
        assert "div.full" not in compiled.asm["ptx"], f"{name}: a division that is not IEEE"


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreted kernel is no JITFunction")
def test_every_triton_kernel_is_compiled():
    listed = {kernel.__name__ for kernel, _ in triton_kernels().values()}
    from fmcompress_triton import select, sweep

    assert listed == {name for module in (select, sweep) for name in vars(module) if name.endswith("_kernel")}


def in_a_process(code: str, **environment: str) -> None:
    pytest.importorskip("triton", reason="triton is not installed")
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=ROOT / "tests",
        env={**os.environ, **environment},
    )
    assert run.returncode == 0, run.stderr


INTERPRETED = """
import kernel_cases as cases
from fmcompress_triton import register as ops, select, sweep
"""


@pytest.mark.parametrize(
    "check",
    [
        "cases.check_select(ops.select_smallest)",
        "select.LONGEST_IN_PROGRAM = 0; cases.check_select(ops.select_smallest, [(2, 129), (1, 9000)])",
        "cases.check_groups(ops.nm_mask)",
        "sweep.ROWS = 64; cases.check_sweep(ops.sweep_block_)",  # larger tiles: the interpreter is slow
    ],
    ids=["select", "select on the grid", "groups", "sweep"],
)
def test_triton_in_the_interpreter(check):
    triton = pytest.importorskip("triton", reason="triton is not installed")
    if Version(triton.__version__) < Version("3.7") and Version(np.__version__) >= Version("2.4"):
        pytest.skip("the interpreter of Triton 3.6 needs numpy < 2.4")
    in_a_process(INTERPRETED + check, TRITON_INTERPRET="1")


def test_triton_takes_the_cuda_key_only_where_it_is_free():
    in_a_process(
        "import torch, fmcompress._ops, fmcompress_triton.register as triton_ops\n"
        "held = lambda op: torch._C._dispatch_has_kernel_for_dispatch_key(f'fmcompress::{op}', 'CUDA')\n"
        "torch.library.register_kernel('fmcompress::nm_mask', 'cuda', lambda scores, keep, group: scores)\n"
        "assert not held('select_smallest')\n"
        "triton_ops.register_on_cuda()\n"
        "triton_ops.register_on_cuda()\n"
        "assert all(map(held, ('select_smallest', 'nm_mask', 'sweep_block_')))\n"
    )


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


def test_emulation_routes_by_shape(library):
    shapes = {(10**6, 128): "counting", (1, 129): "block", (1, 1 << 17): "grid", (200, 1 << 17): "block"}
    assert {shape: emulation.Route(library.route(*map(ctypes.c_int64, shape))).name for shape in shapes} == shapes
