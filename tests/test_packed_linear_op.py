"""packed_linear: reference against the float64 truth, native against the reference on every instruction set."""

import numpy as np
import packed_cases
import pytest
import torch
from emulation import fenced
from golden import packed_linear as golden
from op_support import needs_native, on_devices, run_on_instruction_set
from packed_cases import Form, forms, packed

from fmcompress import _backends, ops, reference, use

ROWS, COLS = 4, 60


def truth(x, arguments):
    entries, bitmask, starts, indices, scale, zero, bias, *options = arguments
    parts = [entries, bitmask, starts, indices, scale, zero]
    arrays = [None if t is None else (t.double() if t.is_floating_point() else t).numpy() for t in parts]
    return golden.packed_linear(x.numpy(), None if bias is None else bias.double().numpy(), *arrays, *options)


def fits(form):
    return form.places != "pattern" or COLS % form.group == 0


@pytest.mark.parametrize("form", [form for form in forms() if fits(form)], ids=str)
def test_reference_is_true(form):
    for bias in (False, True):
        arguments = packed(form, ROWS, COLS, bias, torch.float64, seed=int(bias))
        x = torch.randn(3, COLS, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
        np.testing.assert_allclose(
            reference.packed_linear(x, *arguments).numpy(), truth(x, arguments), rtol=1e-10, atol=1e-12
        )


def test_row_starts_count_bits():
    bitmask = torch.tensor([[255, 1], [0, 0], [0x81, 0x0F], [7, 128]], dtype=torch.uint8)
    assert ops.row_starts(bitmask).tolist() == [0, 9, 9, 15]
    assert ops.row_starts(bitmask[:0]).tolist() == []


@needs_native
def test_native_passes_the_cases_of_every_kernel():
    packed_cases.check_packed_linear(torch.ops.fmcompress.packed_linear)


OTHER_PROCESS = """
import sys
import torch
import packed_cases
from fmcompress import _backends
assert _backends._C.cpu_capability() == sys.argv[1], _backends._C.cpu_capability()
packed_cases.check_packed_linear(torch.ops.fmcompress.packed_linear)
"""


@needs_native
@pytest.mark.parametrize(("asked", "runs"), [("default", "baseline"), ("avx2", "AVX2")])
def test_native_on_lesser_instruction_sets(asked, runs):
    run_on_instruction_set(asked, runs, OTHER_PROCESS)


def sample(form, dtype=torch.float32, bias=True):
    x = torch.randn(3, COLS, generator=torch.Generator().manual_seed(2)).to(dtype)
    return x, packed(form, ROWS, COLS, bias, dtype)


SAMPLES = {
    "mask": Form("mask", 0, torch.bfloat16),
    "codes": Form("all", 4, group_size=16, asymmetric=True),
    "mask and codes": Form("mask", 4, group_size=16),
    "pattern": Form("pattern", 0, keep=2, group=4),
    "pattern and codes": Form("pattern", 3, keep=2, group=4, group_size=20),
}


@pytest.mark.parametrize("name", SAMPLES)
def test_opcheck(name):
    x, arguments = sample(SAMPLES[name])
    torch.library.opcheck(torch.ops.fmcompress.packed_linear.default, (x, *arguments))


@needs_native
@on_devices
@pytest.mark.parametrize("name", SAMPLES)
def test_any_strides_and_devices(name, device):
    x, (entries, bitmask, starts, indices, scale, zero, bias, bits, group_size, keep, group) = sample(SAMPLES[name])
    named = {"bitmask": bitmask, "starts": starts, "indices": indices, "scale": scale, "zero": zero, "bias": bias}
    tensors = {key: None if t is None else t.to(device) for key, t in named.items()}
    options = {"bits": bits, "group_size": group_size, "keep": keep, "group": group}
    expected = ops.packed_linear(x.to(device), entries.to(device), **tensors, **options)
    strided = {key: t if t is None or t.dim() != 2 else t.repeat(1, 2)[:, : t.shape[1]] for key, t in tensors.items()}
    wide = x.to(device).repeat(1, 2)[:, :COLS]
    assert not wide.is_contiguous()
    assert torch.equal(ops.packed_linear(wide, entries.to(device), **strided, **options), expected)


@pytest.mark.parametrize("name", SAMPLES)
def test_gradients_of_x_and_bias_are_those_of_the_dense_product(name):
    x, (*parts, bias, bits, group_size, keep, group) = sample(SAMPLES[name])
    weight = reference.dense_weight(COLS, torch.float32, *parts, bits, group_size, keep, group)
    given = [t.clone().requires_grad_() for t in (x, bias)]
    torch.nn.functional.linear(given[0], weight, given[1]).square().sum().backward()
    own = [t.clone().requires_grad_() for t in (x, bias)]
    public(own[0], [*parts, own[1], bits, group_size, keep, group]).square().sum().backward()
    for expected, actual in zip(given, own, strict=True):
        torch.testing.assert_close(actual.grad, expected.grad, rtol=1e-4, atol=1e-4)


def changed(arguments, position, value):
    given = list(arguments)
    given[position] = value(given[position]) if callable(value) else value
    return given


X, MASKED = sample(SAMPLES["mask and codes"])
_, CODES = sample(SAMPLES["codes"])
_, PLACED = sample(SAMPLES["pattern"])
BAD = {
    "x in one dimension": (X[0], MASKED, r"x: expected \[tokens, cols\] floats, got \[60\]"),
    "x of integers": (X.int(), MASKED, "x: expected"),
    "bits": (X, changed(MASKED, 7, 5), "bits: expected 0 for values or one of"),
    "no starts": (X, changed(MASKED, 2, None), "starts: expected where each row's entries begin"),
    "short starts": (X, changed(MASKED, 2, lambda t: t[1:]), r"starts: expected \[4\] int64, got \[3\]"),
    "starts of int32": (X, changed(MASKED, 2, lambda t: t.int()), "starts: expected"),
    "narrow bitmask": (X, changed(MASKED, 1, lambda t: t[:, 1:]), r"bitmask: expected \[4, 8\] uint8, got \[4, 7\]"),
    "bitmask and indices": (X, changed(MASKED, 3, PLACED[3]), "indices: expected None beside a bitmask"),
    "no scale": (X, changed(MASKED, 4, None), "scale: expected one for each group"),
    "few scales": (X, changed(MASKED, 4, lambda t: t[:, 1:]), r"scale: expected \[4, 4\]"),
    "double scale": (X, changed(MASKED, 4, lambda t: t.double()), "scale: expected"),
    "zero of other groups": (X, changed(CODES, 5, lambda t: t[1:]), r"zero: expected \[4, 4\] uint8"),
    "group size": (X, changed(MASKED, 8, -1), "group_size: expected 0 for a whole row"),
    "bias of another dtype": (X, changed(MASKED, 6, lambda t: t.double()), r"bias: expected \[4\] float32"),
    "bias of another length": (X, changed(MASKED, 6, lambda t: t[1:]), r"bias: expected \[4\]"),
    "values alone": (X, [X, None, None, None, None, None, None, 0, 0, 0, 0], "expected a bitmask or indices"),
    "entries in rows": (X, changed(MASKED, 0, lambda t: t[None]), "entries: expected 1 dimension"),
    "codes of another width": (X, changed(CODES, 0, lambda t: t[:, 1:]), r"entries: expected \[4, 32\] uint8"),
    "pattern": (X, changed(PLACED, 9, 5), "pattern 5:4: expected 1 <= keep <= group"),
    "pattern that does not divide": (X, changed(PLACED, 10, 7), "expected columns divisible by 7"),
    "indices": (X, changed(PLACED, 3, lambda t: t[:, 1:]), "indices: expected"),
    "values of places": (X, changed(PLACED, 0, lambda t: t[:, 1:]), r"entries: expected \[4, 30\]"),
}  # fmt: skip


def public(x, arguments):
    entries, bitmask, starts, indices, scale, zero, bias, bits, group_size, keep, group = arguments
    return ops.packed_linear(
        x, entries, bitmask=bitmask, starts=starts, indices=indices, scale=scale, zero=zero, bias=bias, bits=bits,
        group_size=group_size, keep=keep, group=group,
    )  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_arguments(case):
    x, arguments, message = BAD[case]
    with pytest.raises(ValueError, match=message):
        public(x, arguments)
    if "native" in _backends.available("packed_linear"):
        with pytest.raises((ValueError, RuntimeError)):
            torch.ops.fmcompress.packed_linear(x, *arguments)


CONTRADICTIONS = {
    "more bits than entries": (MASKED, 1, lambda t: torch.full_like(t, 15 if t.shape[1] == 8 else 255)),
    "start beyond the end": (MASKED, 2, lambda t: t + 10_000),
    "negative start": (MASKED, 2, lambda t: t - 1),
    "huge start": (MASKED, 2, lambda t: t + (1 << 62)),
    "bit after the last column": (MASKED, 1, lambda t: torch.cat([t[:, :-1], t[:, -1:] | 128], 1)),
    "places do not ascend": (PLACED, 3, torch.zeros_like),
    "places do not ascend, otherwise": (PLACED, 3, lambda t: torch.full_like(t, 0xE4 ^ 0xFF)),
}


@needs_native
@pytest.mark.parametrize("case", CONTRADICTIONS)
@pytest.mark.parametrize("tokens", [1, 8, 20])
def test_contradictions_are_errors_on_the_cpu(case, tokens):
    arguments, position, change = CONTRADICTIONS[case]
    given = changed(arguments, position, change)
    if case == "more bits than entries":
        given[1] = torch.full_like(given[1], 255)
        given[1][:, -1] = 15
    for backend in ("native", "reference"):
        with use(backend), pytest.raises(ValueError, match=r"starts|bitmask|indices"):
            public(X[:1].expand(tokens, COLS), given)


@needs_native
@pytest.mark.parametrize("at_end", [False, True], ids=["at a page's begin", "at a page's end"])
def test_native_reads_nothing_beside_the_parts(at_end):
    """Pages that nobody may touch lie before and after every tensor: a vector too many ends the process."""
    for form in forms():
        cols = COLS if fits(form) else 120
        if form.places == "pattern" and cols % form.group:
            continue
        for tokens in (1, 5, 8, 20):
            x = torch.randn(tokens, cols, generator=torch.Generator().manual_seed(tokens))
            arguments = packed(form, ROWS, cols, True, torch.float32)
            given = [fenced(t, at_end) if isinstance(t, torch.Tensor) else t for t in (x, *arguments)]
            expected = torch.ops.fmcompress.packed_linear(x, *arguments)
            assert torch.equal(torch.ops.fmcompress.packed_linear(*given), expected), form


@needs_native
def test_native_reads_nothing_beside_parts_that_contradict_each_other():
    for name, (arguments, position, change) in CONTRADICTIONS.items():
        given = changed(arguments, position, change)
        given = [fenced(t, True) if isinstance(t, torch.Tensor) else t for t in given]
        for tokens in (1, 20):
            try:
                torch.ops.fmcompress.packed_linear(X[:1].repeat(tokens, 1), *given)
            except ValueError:
                continue
            assert name == "more bits than entries", name  # not all of these exceed what there is
