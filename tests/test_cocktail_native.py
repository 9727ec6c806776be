"""The native kernels of cocktail payloads: the reference's bits on every instruction set, and nothing out of bounds."""

import pytest
import torch
from cocktail_native_cases import FLOATS, any_body, cases, check_all, check_case, same_numbers, values
from emulation import fenced
from op_support import needs_native, run_on_instruction_set

from fmcompress import reference
from fmcompress._ops import HEADER_BYTES, Layout

pytestmark = needs_native
NATIVE = torch.ops.fmcompress
LAYOUT = Layout(5, 17, 1, 256, 3, 50, 4, 16, False)
NUMEL = 2000
OTHER_PROCESS = """
import sys, torch, cocktail_native_cases
from fmcompress import _backends
assert _backends._C.cpu_capability() == sys.argv[1], _backends._C.cpu_capability()
torch.set_num_threads(1)
cocktail_native_cases.check_all(torch.ops.fmcompress)
"""


def payload_of(seed=0, layout=LAYOUT, numel=NUMEL):
    return reference.compress_gradient_(values("normal", numel, torch.float32, seed), None, 1.0, *layout)


def test_every_case():
    check_all(NATIVE)


@pytest.mark.parametrize(("asked", "runs"), [("default", "baseline"), ("avx2", "AVX2")])
def test_lesser_instruction_sets(asked, runs):
    run_on_instruction_set(asked, runs, OTHER_PROCESS)


def test_many_blocks_on_several_threads():
    """Strata of several sizes, begun by one thread and ended by another."""
    layout = Layout(1, 2, 3, 128, 100, 20, 3, 20, True)
    gradient, residual = values("normal", 150_001, torch.float32, 1), values("ties", 150_001, torch.float32, 2)
    threads = torch.get_num_threads()
    try:
        for count in (1, 2, 3):
            torch.set_num_threads(count)
            check_case(NATIVE, (layout, gradient, residual, 0.5), 3)
    finally:
        torch.set_num_threads(threads)


@pytest.mark.parametrize("at_end", [False, True], ids=["at a page's begin", "at a page's end"])
def test_nothing_beside_the_tensors(at_end):
    """Pages that nobody may touch lie before and after every tensor."""
    for seed, (layout, gradient, residual, scale) in enumerate(cases()):
        if seed % 3:
            continue
        expected = NATIVE.compress_gradient_(gradient, None if residual is None else residual.clone(), scale, *layout)
        left = None if residual is None else fenced(residual, at_end)
        assert torch.equal(NATIVE.compress_gradient_(fenced(gradient, at_end), left, scale, *layout), expected)
        shared = values("normal", len(gradient), FLOATS[seed % 3], seed)
        NATIVE.compress_delta_(fenced(gradient, at_end), fenced(shared, at_end), *layout)
        for payload in (expected, any_body(expected, layout, seed)):
            NATIVE.add_payload_(fenced(payload, at_end), fenced(shared, at_end), scale, *layout)
            NATIVE.payload_checksum(fenced(payload, at_end))
            both = fenced(torch.stack((payload, payload)), at_end)
            NATIVE.compress_mean_(both, left, len(gradient), *layout)


@pytest.mark.parametrize("bit", [0, 7, 100, 255])
@pytest.mark.parametrize("block", [0, LAYOUT.sampled - 1])
def test_a_mask_of_another_size_changes_nothing(block, bit):
    payload = payload_of()
    payload[HEADER_BYTES + block * LAYOUT.block_bytes + bit // 8] ^= 1 << bit % 8
    out = values("normal", NUMEL, torch.float32, 5)
    before = out.clone()
    with pytest.raises(ValueError, match="mask: expected 50 bits in every block"):
        NATIVE.add_payload_(payload, out, 1.0, *LAYOUT)
    with pytest.raises(ValueError, match="mask: expected 50 bits in every block"):
        NATIVE.compress_mean_(torch.stack((payload_of(), payload)), out, NUMEL, *LAYOUT)
    assert torch.equal(out, before)


@pytest.mark.parametrize("dtype", FLOATS, ids=str)
@pytest.mark.parametrize("place", [0, 999, NUMEL - 1])
@pytest.mark.parametrize("value", [torch.inf, -torch.inf, torch.nan])
def test_what_is_not_finite_changes_nothing_else(dtype, place, value):
    gradient, residual = values("normal", NUMEL, dtype, 1), values("normal", NUMEL, torch.bfloat16, 2)
    gradient[place] = value
    left = residual.clone()
    payload = NATIVE.compress_gradient_(gradient, left, 1.0, *LAYOUT)
    assert torch.equal(left, residual)
    assert torch.equal(payload, reference.compress_gradient_(gradient, left, 1.0, *LAYOUT))
    everywhere = LAYOUT._replace(sampled=8)  # so that a difference is looked at there
    local = gradient.clone()
    sent = NATIVE.compress_delta_(local, residual, *everywhere)
    assert sent[5] == 1
    assert same_numbers(local, gradient)
    NATIVE.add_payload_(payload, left, 1.0, *LAYOUT)
    assert left.isnan().all()
    NATIVE.compress_mean_(torch.stack((payload_of(), payload)), residual, NUMEL, *LAYOUT)
    assert not residual.isnan().any()


def test_a_product_that_is_not_finite():
    gradient, residual = torch.full((300,), 1e30), torch.zeros(300)
    layout = Layout(0, 0, 0, 128, 2, 9, 8, 9, True)
    assert NATIVE.compress_gradient_(gradient, residual, 1e10, *layout)[5] == 1
    assert not residual.any()
    assert NATIVE.compress_gradient_(gradient, residual, 1e7, *layout)[5] == 0


def test_nan_that_nothing_is_added_to_keeps_its_bits():
    for dtype, bits, integers in ((torch.bfloat16, 0x7FA1, torch.int16), (torch.float32, 0x7FA12345, torch.int32)):
        out = torch.full((NUMEL,), bits, dtype=integers).view(dtype)
        payload = payload_of()
        expected = out.clone()
        reference.add_payload_(payload, expected, 1.0, *LAYOUT)
        NATIVE.add_payload_(payload, out, 1.0, *LAYOUT)
        kept = LAYOUT.kept * LAYOUT.sampled
        assert (out.view(integers) == bits).sum() >= NUMEL - kept
        assert same_numbers(out, expected)


WRONG = {"block": (129, 16384), "sampled": (0, 9), "kept": (0, 257), "bits": (0, 9), "group": (0, 51)}
WRONG |= dict.fromkeys(("seed", "step", "stream"), (-1,))


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, all_ in WRONG.items() for value in all_])
def test_no_layout_leads_out_of_a_tensor(name, value):
    layout = LAYOUT._replace(**{name: value})
    tensor, payload = torch.zeros(NUMEL), payload_of()
    calls = {
        "gradient": lambda: NATIVE.compress_gradient_(tensor, None, 1.0, *layout),
        "delta": lambda: NATIVE.compress_delta_(tensor, tensor.clone(), *layout),
        "mean": lambda: NATIVE.compress_mean_(payload[None], None, NUMEL, *layout),
        "add": lambda: NATIVE.add_payload_(payload, tensor, 1.0, *layout),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match="expected"):
            call()


def test_opcheck():
    tensor, payload = values("normal", NUMEL, torch.float32, 1), payload_of()
    calls = {
        "compress_gradient_": (tensor, tensor.clone(), 0.5, *LAYOUT),
        "compress_delta_": (tensor, values("normal", NUMEL, torch.bfloat16, 2), *LAYOUT),
        "compress_mean_": (torch.stack((payload, payload)), tensor.clone(), NUMEL, *LAYOUT),
        "add_payload_": (payload, tensor, 2.0, *LAYOUT),
        "payload_checksum": (payload,),
    }
    for name, arguments in calls.items():
        torch.library.opcheck(getattr(NATIVE, name).default, arguments)
