"""The Triton twins of grids, codes and packing: interpreted on the CPU, and what their PTX says of rounding."""

import os
import re

import pytest
import triton_cases

# fewer and smaller shapes than elsewhere: the interpreter is slow
NARROW = "tiles.ELEMENTS = 512\n"  # so that rows of a tile and pieces of a row both number several
FEW = "cases.MATRICES = [(0, 8), (1, 1), (70, 32), (1, 5003)]\n"
ONE = NARROW + "cases.MATRICES = [(7, 700)]\n"
TWO = NARROW + "cases.PACKED = [(130, 64), (3, 1029)]\n"
JOINT = """
sweep.ROWS = 32
cases.MASKED = [(0, 8), (4, 0), (5, 23), (33, 20)]
cases.CHOSEN = [(0, 8, 2, 4), (35, 24, 2, 4), (5, 21, 1, 3), (3, 20, 10, 20), (6, 5, 1, 1), (2, 1, 1, 1)]
cases.check_joint_sweep(ops.joint_sweep_block_)
"""

ON_THE_GRID = """
for dtype in (torch.float32, torch.float64):
    source = torch.Generator().manual_seed(1)
    codes = torch.randint(8, (5, 30), generator=source, dtype=torch.uint8)
    scale = torch.rand(5, 30, generator=source, dtype=dtype) - 0.5
    zero = torch.randint(8, (5, 30), generator=source, dtype=torch.uint8)
    weight = (codes.to(dtype) - zero.to(dtype)) * scale + 0.0
    factor = torch.eye(30, dtype=dtype) + torch.rand(30, 30, generator=source, dtype=dtype).triu(1)
    swept = weight.clone()
    loss, actual = ops.joint_sweep_block_(swept, factor, None, scale, zero, 3, 0, 0)
    assert not loss.any() and torch.equal(actual, codes) and cases.same_bytes(swept, weight)
"""

# squares that vanish: every candidate's error is 0, and the first is to be kept
EQUALLY_GOOD = """
weight = torch.linspace(-1e-30, 3e-30, 40).view(4, 10)
for symmetric in (True, False):
    actual, expected = (found(weight, 3, symmetric, 5) for found in (ops.search_grid, reference.search_grid))
    assert torch.equal(actual[0], expected[0]) and torch.equal(actual[1], expected[1])
"""

# counts were checked before, so the kernel sees these only if somebody changes the bitmask meanwhile
TOO_FEW_KEPT = """
for packs in (True, False):
    dense = torch.arange(1, 2101, dtype=torch.int16).view(3, 700)
    bitmask = reference.pack_bitmask(dense, torch.ones(3, 700, dtype=torch.bool), 2100)[0]
    begins, total = pack._begins(bitmask, 700)
    kept = torch.arange(1, 1501, dtype=torch.int16)
    assert total == 2100
    pack._move(dense, bitmask, begins, kept, packs=packs)
    whole = torch.arange(1, 2101, dtype=torch.int16)
    assert torch.equal(dense.flatten(), whole if packs else whole * (whole <= 1500))
    assert torch.equal(kept, whole[:1500])
"""

EMPTY = """
none = torch.empty(0, 9, dtype=torch.uint8)
assert ops.pack_codes(none, 3).shape == (0, 4) and ops.pack_codes(none.t(), 3).shape == (9, 0)
assert ops.unpack_codes(none.t(), 3, 0).shape == (9, 0)
for values in (torch.empty(0, 9), torch.empty(9, 0)):
    bitmask, kept = ops.pack_bitmask(values, values > 0, 0)
    assert bitmask.shape == (len(values), (values.shape[1] + 7) // 8) and kept.shape == (0,)
    assert ops.unpack_bitmask(bitmask, kept, values.shape[1]).shape == values.shape
    assert cases.refuses(lambda: ops.unpack_bitmask(bitmask, torch.ones(1), values.shape[1]))
    zero = torch.empty(len(values), dtype=torch.uint8)
    codes = ops.quantize(values, torch.ones(len(values)), zero, 4)
    assert codes.shape == ops.dequantize(codes, torch.ones(len(values)), zero).shape == values.shape
"""

CHECKS = {
    "search_grid": FEW + "cases.check_search_grid(ops.search_grid)",
    "search_grid equally good": EQUALLY_GOOD,
    "quantize": "cases.check_quantize(ops.quantize)",
    "dequantize": "cases.check_dequantize(ops.dequantize)",
    "search_grid narrow": ONE + "cases.check_search_grid(ops.search_grid)",
    "quantize narrow": ONE + "cases.check_quantize(ops.quantize); cases.check_dequantize(ops.dequantize)",
    "codes": "cases.check_pack_codes(ops.pack_codes); cases.check_unpack_codes(ops.unpack_codes)",
    "codes narrow": TWO + "cases.check_pack_codes(ops.pack_codes); cases.check_unpack_codes(ops.unpack_codes)",
    "pack_bitmask": "cases.check_pack_bitmask(ops.pack_bitmask)",
    "pack_bitmask narrow": TWO + "cases.check_pack_bitmask(ops.pack_bitmask)",
    "unpack_bitmask": "cases.check_unpack_bitmask(ops.unpack_bitmask)",
    "unpack_bitmask narrow": TWO + "cases.check_unpack_bitmask(ops.unpack_bitmask)",
    "too few kept": NARROW + TOO_FEW_KEPT,
    "empty": EMPTY,
    "joint sweep": JOINT,
    "joint sweep of weights on the grid": ON_THE_GRID,
}


@pytest.mark.parametrize("check", CHECKS)
def test_triton_in_the_interpreter(check):
    triton_cases.interpret(CHECKS[check])


@pytest.mark.skipif(os.environ.get("TRITON_INTERPRET") == "1", reason="an interpreted kernel cannot be compiled")
@pytest.mark.parametrize(
    ("scalar", "rounder"), [("fp32", "0f{}B400000"), ("fp64", "0d{}338000000000000")], ids=["fp32", "fp64"]
)
def test_the_compiler_leaves_rounding_as_written(scalar, rounder):
    """1.5 * 2^23 or 2^52 is added and taken away again, and no FMA takes a product that a difference needs rounded."""
    for name, (kernel, arguments) in triton_cases.kernels().items():
        ptx = triton_cases.compile_kernel(kernel, arguments, scalar, 90).asm["ptx"]
        if name.startswith(("search", "quantize", "joint")):
            assert ptx.count(rounder.format(4)) == ptx.count(rounder.format("C")) > 0, name
        if name.startswith(("search", "joint")):
            rounded = set(re.findall(r"fma\.rn\.f\d\d\s+(%\w+), %\w+, %\w+, 0[fd]0+;", ptx))
            taken = set(sum(re.findall(r"sub\.f\d\d\s+%\w+, (%\w+), (%\w+);", ptx), ()))
            assert rounded & taken, name
        if name.startswith(("quantize", "dequantize", "admm")):
            assert "fma" not in ptx, name
