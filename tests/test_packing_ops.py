"""Packed codes and bitmasks: reference against the truth, native against reference, what strangers' bytes may not do."""

import kernel_cases
import numpy as np
import pytest
import torch
from golden import packing as golden
from op_support import any_codes, layouts, needs_native, on_backends, on_devices, random, with_bits

from fmcompress import ops, reference, use

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32}
DTYPES = [torch.float32, torch.int32, torch.bfloat16, torch.float16, torch.int16, torch.int8, torch.bool, torch.uint8]
DENSITIES = [0.0, 0.02, 0.5, 0.97, 1.0]
# wide rows are cut into pieces of 65536 columns, narrow ones put together
CUT = [(1, 65_536), (1, 65_537), (2, 131_080), (3, 200_003), (40_000, 3), (65_536, 1), (700, 97)]


def any_values(rows, cols, dtype, seed=0):
    """Any bits at all, NaN and -0.0 among them."""
    codes = any_codes(rows * cols * dtype.itemsize, seed=seed)
    return (codes > 127 if dtype == torch.bool else codes.view(dtype)).view(rows, cols)


def some(rows, cols, density):
    return torch.rand(rows, cols, generator=torch.Generator().manual_seed(rows + cols)) < density


def same_bits(actual, expected):
    """Equal shape, dtype and bits, so that NaN equals itself."""
    integers = INTEGERS[expected.itemsize]
    return actual.dtype == expected.dtype and torch.equal(actual.view(integers), expected.view(integers))


# against the truth


@on_backends
@with_bits
@pytest.mark.parametrize("shape", [(4, 33), (1, 1), (3, 8), (2, 64), (5, 0), (0, 9), (3, 200), (1, 31)], ids=str)
def test_codes_are_packed_truly(backend, shape, bits):
    codes = any_codes(*shape)
    with use(backend):
        packed = ops.pack_codes(codes, bits)
        assert np.array_equal(packed.numpy(), golden.pack_codes(codes.numpy(), bits))
        assert packed.shape[1] == ops.packed_bytes(shape[1], bits)
        noisy = any_codes(*packed.shape, seed=1)  # bits after the last code are nobody's
        expected = golden.unpack_codes(noisy.numpy(), bits, shape[1])
        assert np.array_equal(ops.unpack_codes(noisy, bits, shape[1]).numpy(), expected)


@on_backends
def test_codes_packed_by_hand(backend):
    with use(backend):
        assert ops.pack_codes(torch.tensor([[1, 2, 3, 0, 255]], dtype=torch.uint8), 2).tolist() == [[0x39, 3, 0, 0]]
        codes = torch.tensor([[1, 2, 3, 4, 5, 6, 7, 0, 1, 2, 3]], dtype=torch.uint8)
        word = sum(code << 3 * i for i, code in enumerate(codes[0].tolist()))
        assert ops.pack_codes(codes, 3).tolist() == [list(word.to_bytes(8, "little"))]  # the 11th lies across words


@on_backends
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", [(4, 33), (1, 1), (3, 8), (2, 64), (5, 0), (0, 9), (7, 100)], ids=str)
def test_bitmasks_are_packed_truly(backend, shape, dtype):
    values = any_values(*shape, dtype)
    integers = values.view(INTEGERS[dtype.itemsize])
    for density in DENSITIES:
        mask = some(*shape, density)
        with use(backend):
            bitmask, kept = ops.pack_bitmask(values, mask)
            dense = ops.unpack_bitmask(bitmask, kept, shape[1])
        expected_bitmask, expected_kept = golden.pack_bitmask(integers.numpy(), mask.numpy())
        assert np.array_equal(bitmask.numpy(), expected_bitmask)
        assert same_bits(kept, torch.from_numpy(expected_kept).view(dtype))
        expected = golden.unpack_bitmask(expected_bitmask, expected_kept, shape[1])
        assert same_bits(dense, torch.from_numpy(expected).view(dtype))


@with_bits
def test_packed_codes_are_those_of_compressed_tensors(bits):
    helpers = pytest.importorskip("compressed_tensors.compressors.pack_quantized.helpers")
    codes = any_codes(7, 100, bits=bits)
    signed = (codes.to(torch.int16) - 2 ** (bits - 1)).to(torch.int8)
    packed = helpers.pack_to_int32(signed, bits)
    assert torch.equal(ops.pack_codes(codes, bits).view(torch.int32), packed)
    assert torch.equal(ops.unpack_codes(packed.view(torch.uint8), bits, 100), codes)


# native against reference


@needs_native
@pytest.mark.parametrize("op", ["pack_codes", "unpack_codes", "pack_bitmask", "unpack_bitmask"])
def test_native_passes_the_cases_of_every_kernel(op):
    getattr(kernel_cases, f"check_{op}")(getattr(torch.ops.fmcompress, op))


@needs_native
@on_devices
@with_bits
@pytest.mark.parametrize("shape", CUT, ids=str)
def test_native_codes_of_many_pieces(shape, bits, device):
    codes = any_codes(*shape).to(device)
    packed = ops.pack_codes(codes, bits)
    assert torch.equal(packed, reference.pack_codes(codes, bits))
    assert torch.equal(ops.unpack_codes(packed, bits, shape[1]), codes & (2**bits - 1))


@needs_native
@on_devices
@pytest.mark.parametrize("dtype", [torch.float8_e4m3fn, torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("density", DENSITIES)
@pytest.mark.parametrize("shape", CUT, ids=str)
def test_native_bitmasks_of_many_pieces(shape, density, dtype, device):
    values, mask = any_values(*shape, dtype).to(device), some(*shape, density).to(device)
    bitmask, kept = ops.pack_bitmask(values, mask)
    integers = values.view(INTEGERS[dtype.itemsize])
    expected_bitmask, expected_kept = reference.pack_bitmask(integers, mask, int(mask.sum()))
    assert torch.equal(bitmask, expected_bitmask)
    assert same_bits(kept, expected_kept.view(dtype))
    assert same_bits(ops.unpack_bitmask(bitmask, kept, shape[1]), integers.masked_fill(~mask, 0).view(dtype))


@on_backends
def test_a_column_all_kept_and_a_piece_all_dropped(backend):
    values = any_values(3, 150_000, torch.int16)
    mask = torch.zeros(3, 150_000, dtype=torch.bool)
    mask[:, :10] = mask[1, 65_530:65_540] = mask[2, -3:] = True
    with use(backend):
        bitmask, kept = ops.pack_bitmask(values, mask, 43)
        assert torch.equal(kept, values[mask])
        assert torch.equal(ops.unpack_bitmask(bitmask, kept, 150_000), values * mask)


# layouts


@on_backends
@with_bits
def test_any_layout_packs_the_same(backend, bits):
    codes = any_codes(13, 29, bits=bits)
    values, mask = random(13, 29).half(), random(13, 29) > 0
    with use(backend):
        packed, (bitmask, kept) = ops.pack_codes(codes, bits), ops.pack_bitmask(values, mask)
        dense = ops.unpack_bitmask(bitmask, kept, 29)
        for view in layouts(codes).values():
            assert torch.equal(ops.pack_codes(view, bits), packed)
        for view in layouts(packed).values():
            assert torch.equal(ops.unpack_codes(view, bits, 29), codes)
        for value, choice in zip(layouts(values).values(), layouts(mask).values(), strict=True):
            assert all(map(torch.equal, ops.pack_bitmask(value, choice), (bitmask, kept)))
        spread = torch.stack([kept, kept], 1)[:, 1]
        for view in layouts(bitmask).values():
            assert torch.equal(ops.unpack_bitmask(view, spread, 29), dense)


# what strangers' bytes may not do


@on_backends
@pytest.mark.parametrize("shape", [(5, 29), (1, 1), (2, 70_001)], ids=str)
def test_a_wrong_count_is_refused(backend, shape):
    values, mask = any_values(*shape, torch.int16), some(*shape, 0.6)
    mask[0, 0] = True
    count = int(mask.sum())
    before = values.clone(), mask.clone()
    with use(backend):
        for wrong in {0, count - 1, count + 1, mask.numel()} - {count}:
            if wrong <= mask.numel():
                with pytest.raises(
                    ValueError, match=f"count: expected {count}, the number of True in mask, got {wrong}"
                ):
                    ops.pack_bitmask(values, mask, wrong)
    assert torch.equal(values, before[0])
    assert torch.equal(mask, before[1])


@on_backends
@pytest.mark.parametrize("cols", [29, 32, 70_001])
def test_a_bitmask_that_counts_otherwise_is_refused(backend, cols):
    values, mask = any_values(5, cols, torch.int16), some(5, cols, 0.6)
    bitmask, kept = ops.pack_bitmask(values, mask)
    with use(backend):
        for wrong in (kept[:-1], kept[:0], torch.cat([kept, kept])):
            with pytest.raises(ValueError, match=f"the bitmask counts {len(kept)} values.*got {len(wrong)}"):
                ops.unpack_bitmask(bitmask, wrong, cols)
        for place in ((0, 0), (4, 2)):
            flipped = bitmask.clone()
            flipped[place] ^= 2
            with pytest.raises(ValueError, match="kept"):
                ops.unpack_bitmask(flipped, kept, cols)


@on_backends
@pytest.mark.parametrize("cols", [29, 1, 70_001])
@pytest.mark.parametrize("row", [0, 3, 4])
def test_bits_after_the_last_column_are_refused(backend, row, cols):
    values, mask = any_values(5, cols, torch.int16), some(5, cols, 0.6)
    bitmask, kept = ops.pack_bitmask(values, mask)
    for bit in range(cols % 8, 8):
        stray = bitmask.clone()
        stray[row, -1] |= 1 << bit
        for remaining in (kept, torch.cat([kept, kept[:1]]), kept.new_ones(len(kept) + 1)):
            with use(backend), pytest.raises(ValueError, match="bitmask"):
                ops.unpack_bitmask(stray, remaining, cols)


@needs_native
def test_native_kernels_check_what_would_lead_them_astray():
    codes = any_codes(2, 8)
    with pytest.raises(ValueError, match="packed: expected 8 bytes a row, got 4"):
        torch.ops.fmcompress.unpack_codes(any_codes(2, 4), 4, 16)
    with pytest.raises(ValueError, match="bitmask: expected 2 bytes a row, got 1"):
        torch.ops.fmcompress.unpack_bitmask(any_codes(2, 1), torch.ones(3), 9)
    with pytest.raises(ValueError, match="bits: expected 2, 3, 4 or 8, got 5"):
        torch.ops.fmcompress.pack_codes(codes, 5)
    with pytest.raises(ValueError, match="1, 2 or 4 bytes"):
        torch.ops.fmcompress.pack_bitmask(torch.ones(2, 2).double(), torch.ones(2, 2) > 0, 4)
    for op, rest in (("pack_codes", (4,)), ("unpack_codes", (4, 8)), ("unpack_bitmask", (codes[0], 32))):
        with pytest.raises((ValueError, RuntimeError), match="contiguous"):
            getattr(torch.ops.fmcompress, op)(codes[:, ::2], *rest)


# the contract


def test_fake_outputs_have_shape_and_dtype():
    fm = torch.ops.fmcompress
    codes = torch.empty(5, 11, device="meta", dtype=torch.uint8)
    bitmask, kept = fm.pack_bitmask(codes.half(), codes.bool(), 7)
    packed = fm.pack_codes(codes, 3)
    for tensor, shape, dtype in (
        (packed, (5, 8), torch.uint8),
        (fm.unpack_codes(packed, 3, 11), (5, 11), torch.uint8),
        (bitmask, (5, 2), torch.uint8),
        (kept, (7,), torch.float16),
        (fm.unpack_bitmask(bitmask, kept, 11), (5, 11), torch.float16),
    ):
        assert (tensor.shape, tensor.dtype, tensor.device.type) == (shape, dtype, "meta")


C, M = any_codes(3, 8), torch.ones(3, 8) > 0
WRONG = {
    "bits 5": (lambda: ops.pack_codes(C, 5), r"bits: expected one of \(2, 3, 4, 8\), got 5"),
    "codes dtype": (lambda: ops.pack_codes(C.int(), 4), "codes: expected uint8, got torch.int32"),
    "codes 1-D": (lambda: ops.pack_codes(C[0], 4), "codes: expected 2 dimensions"),
    "unpack bits": (lambda: ops.unpack_codes(C, 0, 8), "bits: expected one of"),
    "packed width": (lambda: ops.unpack_codes(C, 4, 17), "packed: expected 12 bytes a row, got 8"),
    "columns negative": (lambda: ops.unpack_codes(C[:, :0], 4, -1), "packed: expected"),
    "values of 8 bytes": (lambda: ops.pack_bitmask(M.double(), M), "values: expected a dtype of 1, 2 or 4 bytes"),
    "values 1-D": (lambda: ops.pack_bitmask(C[0], M[0]), "values: expected 2 dimensions"),
    "mask shape": (lambda: ops.pack_bitmask(C, M[:2]), r"mask: expected \[3, 8\] bool"),
    "mask dtype": (lambda: ops.pack_bitmask(C, C), r"mask: expected \[3, 8\] bool, got.*uint8"),
    "count negative": (lambda: ops.pack_bitmask(C, M, -1), "count: expected 0 to 24"),
    "count large": (lambda: ops.pack_bitmask(C, M, 25), "count: expected 0 to 24"),
    "bitmask width": (lambda: ops.unpack_bitmask(C, C[0], 65), "bitmask: expected 9 bytes a row, got 8"),
    "bitmask dtype": (lambda: ops.unpack_bitmask(M, C[0], 64), "bitmask: expected uint8"),
    "kept 2-D": (lambda: ops.unpack_bitmask(C, C, 64), "kept: expected 1 dimension"),
    "kept of 8 bytes": (lambda: ops.unpack_bitmask(C, C[0].double(), 64), "kept: expected a dtype of 1, 2 or 4"),
    "no columns": (lambda: ops.unpack_bitmask(C, C[0], -1), "bitmask: expected"),
}


@pytest.mark.parametrize("name", WRONG)
def test_wrong_input_is_refused(name):
    call, message = WRONG[name]
    with pytest.raises(ValueError, match=message):
        call()
