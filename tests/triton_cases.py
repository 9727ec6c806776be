"""Every Triton kernel as it is launched, how to compile one without a GPU, and how to interpret one on the CPU."""

import os
import subprocess
import sys
from pathlib import Path

import interpreter_server
import numpy as np
import pytest
from packaging.version import Version

IMPORTS = """
import admm_step_cases as steps, batched_sweep_cases as batched, factor_cases as factors, kernel_cases as cases
import torch, weighted_sum_cases as sums
import fenced_interpreter, packed_cases
from fmcompress import reference
from fmcompress_triton import pack, packed_linear, register as ops, select, sweep, tiles
"""


def modules() -> list:
    """The modules that hold kernels."""
    pytest.importorskip("triton", reason="triton is not installed")
    from fmcompress_triton import admm, cocktail_kernels, factor, grid, pack, packed_linear, select, sweep, weighted_sum

    return [admm, cocktail_kernels, factor, grid, pack, packed_linear, select, sweep, weighted_sum]


def kernels() -> dict:
    """Every kernel with the arguments that a launch gives it, by name and variant; SCALAR and KEY follow the dtype.

    Triton makes constants of None and of the number 1.
    """
    admm, cocktail, factor, grid, pack, packed, select, sweep, weighted_sum = modules()
    others = {**_of_packed(packed), **_of_cocktail(cocktail), **_of_weighted_sum(weighted_sum), **_of_factor(factor)}
    return {**_of_admm(admm), **_of_select(select), **_of_sweep(sweep), **_of_grid(grid), **_of_pack(pack), **others}


def _of_admm(admm) -> dict:
    matrices = {"x_ptr": "*SCALAR", "dual_ptr": "*SCALAR", "numel": "i32", "BLOCK": admm.BLOCK, "options": admm.EXACT}
    rest = {"target_ptr": "*SCALAR", "kept_ptr": "*u8", "pruned_ptr": "*u8", "changed_ptr": "*i64"}
    step = {**matrices, **rest, "shrink": "i64", "penalty": "i64"}
    return {
        "admm values": (admm.step_values_kernel, matrices),
        "admm values 1": (admm.step_values_kernel, {**matrices, "numel": 1}),
        "admm projection": (admm.step_projection_kernel, step),
        "admm projection of many": (admm.step_projection_kernel, {**step, "numel": "i64"}),
        "admm projection 1": (admm.step_projection_kernel, {**step, "numel": 1}),
    }


def _of_select(select) -> dict:
    radix = {"KEY": None, "BITS": select.DIGIT_BITS, "BLOCK": select.BLOCK, "PASSES": None}
    length = {"length": "i32", "count": "i32"}
    pieces = {"scores_ptr": "*SCALAR", "histograms_ptr": "*i64", "length": "i64", "piece": "i64", "count": "i64"}
    equal = {**pieces, "equal_ptr": "*i64"}
    mask = {"scores_ptr": "*SCALAR", "mask_ptr": "*u8"}
    return {
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
    }


def _of_sweep(sweep) -> dict:
    block = {"weight_ptr": "*SCALAR", "factor_ptr": "*SCALAR", "loss_ptr": "*SCALAR", "rows": "i32", "ROWS": sweep.ROWS}
    chosen = {**block, "prune_ptr": None, "cols": "i32", "group": "i32", "count": "i32", "COLS": 128}
    given = {**chosen, "prune_ptr": "*u8"}
    column = {**given, "cols": 1, "group": 1, "COLS": 16}
    grid = {"scale_ptr": "*SCALAR", "zero_ptr": "*u8", "codes_ptr": "*u8", "grids": "i32", "TOP": 15, "CHOOSES": False}
    joint = sweep.joint_sweep_kernel
    return {
        "sweep given": (sweep.sweep_kernel, given),
        "sweep chosen": (sweep.sweep_kernel, chosen),
        "sweep 1": (sweep.sweep_kernel, column),
        "joint given": (joint, {**given, **grid}),
        "joint chosen": (joint, {**chosen, **grid, "CHOOSES": True}),
        "joint, a grid a row": (joint, {**chosen, **grid, "grids": 1, "CHOOSES": True}),
        "joint without pruning": (joint, {**chosen, **grid, "grids": 1}),
        "joint 1": (joint, {**column, **grid, "grids": 1, "count": 1}),
    }


def _of_grid(grid) -> dict:
    matrix = {"weight_ptr": "*SCALAR", "scale_ptr": "*SCALAR", "zero_ptr": "*u8", "rows": "i32", "cols": "i32"}
    search = {**matrix, "candidates": "i32", "pieces": "i32", "TOP": 7, "SYMMETRIC": False, "ROWS": 1, "COLS": 2048}
    codes = {**matrix, "codes_ptr": "*u8", "pieces": "i32", "TOP": 15, "ROWS": 1, "COLS": 2048}
    group = {"pieces": 1, "ROWS": 16, "COLS": 128}
    one = {"rows": 1, "cols": 1, "pieces": 1, "ROWS": 256, "COLS": 8}
    dequantize = {name: value for name, value in codes.items() if name != "TOP"}
    return {
        "search": (grid.search_kernel, search),
        "search symmetric": (grid.search_kernel, {**search, **group, "SYMMETRIC": True}),
        "search min-max": (grid.search_kernel, {**search, **group, "candidates": 1}),
        "search 1": (grid.search_kernel, {**search, **one, "candidates": 1}),
        "quantize": (grid.quantize_kernel, codes),
        "quantize groups": (grid.quantize_kernel, {**codes, **group, "TOP": 255}),
        "quantize 1": (grid.quantize_kernel, {**codes, **one}),
        "dequantize": (grid.dequantize_kernel, dequantize),
        "dequantize 1": (grid.dequantize_kernel, {**dequantize, **one}),
    }


def _of_pack(pack) -> dict:
    tile = {"rows": "i32", "cols": "i32", "pieces": "i32", "ROWS": 2, "COLS": 1024}
    one = {"rows": 1, "cols": 1, "pieces": 1, "width": 1, "ROWS": 256, "COLS": 8}
    codes = {"codes_ptr": "*u8", "packed_ptr": "*u8", "width": "i32", **tile}
    bitmask = {"bitmask_ptr": "*u8", "width": "i32", **tile}
    moved = {**bitmask, "begins_ptr": "*i64", "count": "i32"}
    cases = {
        "pack 1": (pack.pack_kernel, {**codes, **one, "codes": 1, "BITS": 1, "REACH": 8}),
        "unpack 1": (pack.unpack_kernel, {**codes, **one, "BITS": 3}),
        "count": (pack.count_kernel, {**bitmask, "counts_ptr": "*i64"}),
        "count 1": (pack.count_kernel, {**bitmask, **one, "counts_ptr": "*i64"}),
    }
    for bits, reach in {1: 8, 2: 4, 3: 4, 4: 2, 8: 1}.items():
        cases[f"pack {bits} bits"] = pack.pack_kernel, {**codes, "codes": "i32", "BITS": bits, "REACH": reach}
        cases[f"unpack {bits} bits"] = pack.unpack_kernel, {**codes, "BITS": bits}
    for value in ("u8", "i16", "i32"):
        for packs in (True, False):
            case = {**moved, "dense_ptr": f"*{value}", "kept_ptr": f"*{value}", "PACKS": packs}
            cases[f"move {value} {packs}"] = pack.move_kernel, case
            cases[f"move {value} {packs} 1"] = pack.move_kernel, {**case, **one, "count": 1}
    return cases


def _of_packed(packed) -> dict:
    numbers = ("rows", "cols", "stored", "stride", "mask_bytes", "index_bytes", "zero_bytes", "groups", "group_size")
    parts = dict.fromkeys(("starts_ptr", "bitmask_ptr", "indices_ptr", "scale_ptr", "zero_ptr", "bias_ptr"))
    base = {**parts, **dict.fromkeys((*numbers, "keep", "group", "tokens"), "i32"), "ROWS": 4, "COLS": 512, "WIDTH": 2}
    base |= {"x_ptr": "*bf16", "out_ptr": "*bf16", "TOKENS": 1, "BITS": 0, "entries_ptr": "*u8"}
    mask = {"bitmask_ptr": "*u8", "starts_ptr": "*i64"}
    grids = {"scale_ptr": "*bf16", "zero_ptr": "*u8"}
    forms = {
        "4 bits": {**grids, "BITS": 4, "TOKENS": 8, "bias_ptr": "*bf16"},
        "3 bits, mask": {**mask, **grids, "BITS": 3},
        "8 bits, places": {"indices_ptr": "*u8", "scale_ptr": "*fp32", "BITS": 8, "WIDTH": 3},
        "values, mask": {**mask, "entries_ptr": "*fp16", "x_ptr": "*fp16", "out_ptr": "*fp16", "TOKENS": 2},
        "values, 2:4": {"indices_ptr": "*u8", "entries_ptr": "*fp32", "x_ptr": "*fp32", "out_ptr": "*fp32"},
        "1": {**grids, "BITS": 2, "rows": 1, "cols": 1, "stride": 1, "groups": 1, "group_size": 1, "COLS": 8},
    }
    cases = {f"packed {name}": (packed.packed_few_kernel, {**base, **form}) for name, form in forms.items()}
    for name in ("3 bits, mask", "8 bits, places", "values, mask", "1"):
        cases[f"decode {name}"] = packed.packed_decode_kernel, {**base, **forms[name]}
    return cases


def _of_cocktail(cocktail) -> dict:
    from fmcompress_triton.cocktail import EXACT, options

    blocks = dict.fromkeys(("numel", "blocks", "sampled", "seed", "step", "stream"), "i64")
    parts = dict.fromkeys(("block_words", "kept", "group", "workers", "payload_words"), "i32")
    base = {**blocks, **parts, "header_ptr": "*i64", "body_ptr": "*i32", "moved_ptr": "*i32", "scale": "fp32"}
    base |= {"gradient_ptr": "*bf16", "local_ptr": "*bf16", "shared_ptr": "*fp16", "payloads_ptr": "*i32"}
    base |= {"words_ptr": "*i32", "sum_ptr": "*i64", "out_ptr": "*bf16", "residual_ptr": "*fp32", "words": "i32"}
    base |= {"first": "i64", "CHUNK": 4096, "WORKERS": 4, "BITS": 4, "GROUP": 64}
    base |= {"SYMMETRIC": True, "FULL": False, "BLOCK": 2048, "options": options(2048)}
    small = {"BLOCK": 128, "GROUP": 1, "options": options(128)}
    large = {"BLOCK": 8192, "GROUP": 8192, "options": options(8192)}
    ones = dict.fromkeys(("numel", "blocks", "sampled", "kept", "group", "workers"), 1)
    one = {**small, **ones, "residual_ptr": None}
    forms = {
        "4 bits": {},
        "3 bits": {"BITS": 3, "SYMMETRIC": False, "residual_ptr": "*bf16", "gradient_ptr": "*fp32", **large},
        "1 bit, all": {"BITS": 1, "FULL": True, "gradient_ptr": "*fp16", "out_ptr": "*fp32", **small},
        "values": {"BITS": 32, "out_ptr": "*fp16", **large},
        "1": {**one, "BITS": 7},
    }
    names = ("gradient", "delta", "mean", "add", "finite_gradient", "finite_delta", "finite_payloads")
    cases = {}
    for name in names:
        kernel = getattr(cocktail, f"{name}_kernel")
        for form in ("4 bits", "1") if name.startswith("finite") else forms:
            cases[f"cocktail {name} {form}"] = kernel, {**base, **forms[form]}
    return {**cases, "cocktail checksum": (cocktail.checksum_kernel, {**base, "options": EXACT})}


def _of_weighted_sum(weighted_sum) -> dict:
    pointers = {"sources_ptr": "*bf16", "weights_ptr": "*SCALAR", "out_ptr": "*bf16", "not_finite_ptr": "*i64"}
    base = {**pointers, "rows": "i32", "count": "i32", "BLOCK": weighted_sum.BLOCK, "options": weighted_sum.EXACT}
    forms = {
        "halves": {},
        "halves 1": {"rows": 1, "count": 1},
        "many": {"count": "i64"},
        "float16": {"sources_ptr": "*fp16", "out_ptr": "*fp16"},
        "float": {"sources_ptr": "*fp32", "out_ptr": "*fp32"},
        "double from float": {"sources_ptr": "*fp32", "out_ptr": "*fp64"},
        "double": {"sources_ptr": "*fp64", "weights_ptr": "*fp64", "out_ptr": "*fp64"},
        "half from double": {"sources_ptr": "*fp64", "weights_ptr": "*fp64", "out_ptr": "*fp16"},
    }
    return {
        f"weighted sum {name}": (weighted_sum.weighted_sum_kernel, {**base, **form}) for name, form in forms.items()
    }


def _of_factor(factor) -> dict:
    base = dict.fromkeys(("symmetric_ptr", "upper_ptr", "inverse_ptr"), "*SCALAR") | {"failed_ptr": "*i32", "n": "i32"}
    base |= {"SIZE": 128, "options": {"num_warps": factor.WARPS}}
    return {"factor": (factor.factor_kernel, base), "factor 1": (factor.factor_kernel, {**base, "n": 1, "SIZE": 16})}


def compile_kernel(kernel, arguments: dict, scalar: str, sm: int, aligned: tuple[str, ...] = ()):
    """Compile one kernel to a cubin, as a launch on that GPU would; `aligned` are multiples of 16 there."""
    import triton
    import triton.language as tl
    from triton.backends.compiler import GPUTarget

    key = tl.uint32 if scalar == "fp32" else tl.uint64
    dtype = {"KEY": key, "PASSES": triton.cdiv(key.primitive_bitwidth, 11)}
    given = {name: arguments[name] for name in kernel.arg_names}
    constants = {n: dtype.get(n, a) for n, a in given.items() if not isinstance(a, str)}
    types = {n: a.replace("SCALAR", scalar) if n not in constants else "constexpr" for n, a in given.items()}
    places = [place for place, name in enumerate(given) if name in {*aligned} - {*constants}]
    attrs = {(place,): [["tt.divisibility", 16]] for place in places}
    source = triton.compiler.ASTSource(kernel, types, constants, attrs)
    options = {"num_warps": 8, **arguments.get("options", {})}
    return triton.compile(source, target=GPUTarget("cuda", sm, 32), options=options)


def in_a_process(code: str, **environment: str) -> None:
    """Run code where the tests' modules can be imported."""
    pytest.importorskip("triton", reason="triton is not installed")
    run = subprocess.run(
        [sys.executable, "-c", code],
        check=False,
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
        env={**os.environ, **environment},
    )
    assert run.returncode == 0, run.stderr


def interpret(code: str) -> None:
    """Run code with `ops`, the Triton twins in Triton's interpreter, with fences around every tensor."""
    triton = pytest.importorskip("triton", reason="triton is not installed")
    if Version(triton.__version__) < Version("3.7") and Version(np.__version__) >= Version("2.4"):
        pytest.skip("the interpreter of Triton 3.6 needs numpy < 2.4")
    failure = interpreter_server.failure(IMPORTS, code)
    assert not failure, failure
