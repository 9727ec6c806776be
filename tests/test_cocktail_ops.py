"""CocktailSGD's compression: the reference against the truth, what must always hold, defects of the released code."""

import cocktail_cases as shared
import numpy as np
import pytest
import torch
from cocktail_cases import BASE, CASES, LAYOUTS, values
from golden import cocktail as golden
from golden import cocktail_ops as golden_ops

from fmcompress import available, ops, reference, use

NAMES = {torch.float32: "float32", torch.bfloat16: "bfloat16", torch.float16: "float16", None: None}
BACKENDS = ["reference", *(["native"] if "native" in available("compress_gradient_") else [])]
OPS = tuple(shared.ARGUMENTS)


def truth(name, case, arguments):
    """What the golden op returns and leaves in the tensor that it changes; None for what is not there."""
    plain = [a.numpy() if a.dtype == torch.uint8 else a.float().numpy() for a in arguments if torch.is_tensor(a)]
    if name == "compress_delta_":
        return golden_ops.compress_delta(*plain, case.layout, NAMES[case.dtype])
    if name == "add_payload_":
        return None, golden_ops.add_payload(*plain, case.scale, case.layout, NAMES[case.dtype])
    first, residual = plain if len(plain) == 2 else (plain[0], None)
    if name == "compress_gradient_":
        return golden_ops.compress_gradient(first, residual, case.scale, case.layout, NAMES[case.residual])
    return golden_ops.compress_mean(first, residual, case.numel, case.layout, NAMES[case.residual])


def same(actual, expected):
    """Equal bit for bit, but that any NaN is a NaN."""
    if actual is None or expected is None:
        return actual is expected
    if actual.dtype == torch.uint8:
        return np.array_equal(actual.numpy(), expected)
    ours = actual.float().numpy()
    return np.array_equal(np.isnan(ours), np.isnan(expected)) and np.array_equal(
        np.nan_to_num(ours, nan=0.0, posinf=np.inf, neginf=-np.inf).view(np.int32),
        np.nan_to_num(expected, nan=0.0, posinf=np.inf, neginf=-np.inf).view(np.int32),
    )


@pytest.mark.parametrize("name", OPS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_reference_is_the_truth(case, name):
    arguments = shared.ARGUMENTS[name](case)
    payload, changed = truth(name, case, arguments)
    assert same(getattr(reference, name)(*arguments, *case.layout), payload)
    assert same(arguments[0 if name == "compress_delta_" else 1], changed)


@pytest.mark.parametrize("words", [16, 17, 1001])
def test_checksums_are_true(words):
    payload = torch.randint(256, (4 * words,), generator=torch.Generator().manual_seed(words), dtype=torch.uint8)
    assert int(reference.payload_checksum(payload)) == golden.checksum(payload.numpy())


@pytest.mark.parametrize(("numel", "layout"), [entry[1:] for entry in LAYOUTS], ids=[entry[0] for entry in LAYOUTS])
def test_payloads_have_the_size_that_the_layout_says(numel, layout):
    payload = golden.compress(np.zeros(numel, dtype=np.float32), layout)[0]
    assert len(payload) == layout.payload_bytes


def test_known_answers():
    """Philox and splitmix64 as their authors print them (Random123's kat_vectors; Vigna's splitmix64.c from 0)."""
    assert golden.philox((0, 0), (0, 0, 0, 0)) == 0x6627E8D5
    ones = 0xFFFFFFFF
    assert golden.philox((ones, ones), (ones, ones, ones, ones)) == 0x408F276D
    assert golden.philox((0xA4093822, 0x299F31D0), (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)) == 0xD16CFE09
    payload = np.zeros(64, dtype=np.uint8)
    payload[3] = 0x80
    assert golden.checksum(payload) == (0xE220A8397B1DCDAF << 31) % 2**64 >> 32


def test_a_payload_by_hand():
    layout = ops.Layout(0, 0, 0, block=128, sampled=1, kept=3, bits=3, group=2, symmetric=True)
    tensor = torch.zeros(128)
    tensor[[1, 9, 127]] = torch.tensor([3.0, -2.0, 0.5])
    body = ops.compress_gradient_(tensor, None, layout)[64:].tolist()
    # 3 of 3 is 4 + 3, -2 of 3 is 4 - 2, 0.5 of its own 0.5 is 4 + 3; the scales are 3.0 and 0.5
    assert body[:16] == [2, 2, *[0] * 13, 0x80]
    assert body[16:] == [0b11_010_111, 0b1, 0, 0, 0x40, 0x40, 0x00, 0x3F]


@pytest.mark.parametrize("name", OPS)
def test_the_dispatched_op_passes_the_cases_of_every_kernel(name):
    shared.check_op(name, getattr(torch.ops.fmcompress, name))


def test_the_dispatched_checksum():
    shared.check_checksum(torch.ops.fmcompress.payload_checksum)


# defects of the released CocktailSGD code


def decoded(payload, numel, layout):
    out = torch.zeros(numel)
    ops.add_payload_(payload, out, layout)
    return out


def test_a_share_of_two_fifths_is_two_fifths():
    """int(1 / 0.4) made it half."""
    layout = BASE._replace(block=128, sampled=40, kept=128, group=128)
    sent = [decoded(ops.compress_gradient_(torch.ones(12_800), None, how), 12_800, how) for how in steps(layout, 6)]
    assert [int(out.count_nonzero()) for out in sent] == [40 * 128] * 6


def steps(layout, count):
    return [layout._replace(step=layout.step + i) for i in range(count)]


@pytest.mark.parametrize("bits", range(2, 9))
@pytest.mark.parametrize("symmetric", [True, False])
def test_the_largest_value_of_either_sign_is_not_shrunk(bits, symmetric):
    """+max decoded to (L - 1) / L of itself."""
    layout = BASE._replace(sampled=1, bits=bits, symmetric=symmetric, group=51)
    for sign in (1, -1):
        tensor = values("normal", 256).clamp(-1, 1) * 0.9
        tensor[77] = sign * 1.37
        back = float(decoded(ops.compress_gradient_(tensor, None, layout), 256, layout)[77])
        assert abs(sign * back - 1.37) <= 1.37 * 2**-7


@pytest.mark.parametrize("bits", [*range(1, 9), 32])
@pytest.mark.parametrize("symmetric", [True, False])
def test_both_signs_are_treated_alike(bits, symmetric):
    layout, tensor = BASE._replace(bits=bits, symmetric=symmetric), values("normal", 1000)
    there, back = (decoded(ops.compress_gradient_(x, None, layout), 1000, layout) for x in (tensor, -tensor))
    assert torch.equal(there, -back)


def test_no_element_is_sent_twice():
    """Sampling with replacement lost what was sent twice: x[index] -= d takes only one of them."""
    for numel, sampled, step in ((12_800, 40, 0), (12_700, 99, 5), (130, 2, 2**40), (99_999, 3, 1)):
        layout = BASE._replace(block=128, sampled=sampled, step=step)
        blocks = golden.sampled_blocks(numel, layout)
        assert len(set(blocks)) == sampled
        assert blocks == sorted(blocks)


@pytest.mark.parametrize("numel", [1, 7, 13, 127, 129, 1003, 1021])
def test_sizes_need_not_be_divisible_by_eight(numel):
    layout = BASE._replace(block=128, sampled=-(-numel // 128), kept=128, bits=32, group=1)
    assert torch.equal(decoded(ops.compress_gradient_(values("normal", numel), None, layout), numel, layout), values("normal", numel))  # fmt: skip


@pytest.mark.parametrize("bits", range(1, 9))
@pytest.mark.parametrize("symmetric", [True, False])
def test_tiny_values_keep_their_scale(bits, symmetric):
    """x / (scale + 1e-6) took half of a difference of 1e-6, and float16 all of one of 1e-8."""
    layout, tensor = BASE._replace(bits=bits, symmetric=symmetric), values("normal", 1000)
    whole = decoded(ops.compress_gradient_(tensor, None, layout), 1000, layout)
    for exponent in (-20, -27):  # 1e-6, 7e-9
        small = decoded(ops.compress_gradient_(tensor * 2.0**exponent, None, layout), 1000, layout)
        assert torch.equal(small, whole * 2.0**exponent)


def test_values_are_where_they_belong():
    """The released code returned the indices in another order than the values."""
    layout, tensor = BASE._replace(sampled=4, bits=8), values("normal", 1000)
    out = decoded(ops.compress_gradient_(tensor, None, layout), 1000, layout)
    sent = out != 0
    assert int(sent.sum()) == 4 * BASE.kept
    assert torch.allclose(out[sent], tensor[sent], rtol=0.02)


@pytest.mark.parametrize("name", OPS)
def test_the_global_generator_is_left_alone(name):
    before = torch.get_rng_state()
    getattr(ops, name)(*shared.ARGUMENTS[name](CASES[0])[: 2 if name in ("compress_gradient_", "add_payload_") else 3], CASES[0].layout)  # fmt: skip
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize("bad", [torch.inf, -torch.inf, torch.nan])
def test_one_bad_element_is_said_and_harms_no_residual(bad):
    """Nothing was checked."""
    tensor, residual, layout = values("normal", 1000), values("normal", 1000, seed=1), BASE._replace(sampled=1)
    expected = residual.clone()
    tensor[999] = bad  # wherever it lies
    payload = ops.compress_gradient_(tensor, residual, layout)
    assert payload[5] == 1
    assert not payload[64:].any()
    assert torch.equal(residual, expected)
    assert decoded(payload, 1000, layout).isnan().all()
    mean = ops.compress_mean_(torch.stack([payload, payload]), residual, 1000, layout)
    assert torch.equal(mean, payload)
    assert torch.equal(residual, expected)


# wrong arguments


LAYOUT = BASE._replace(sampled=1)
GOOD = torch.zeros(300)


@pytest.mark.parametrize(
    "change",
    [{"block": 100}, {"block": 64}, {"block": 16_384}, {"bits": 0}, {"bits": 9}, {"sampled": 0}, {"sampled": 3}, {"kept": 0}, {"kept": 257}, {"group": 0}, {"group": 52}, {"seed": -1}, {"step": -1}, {"stream": -1}, {"stream": 2**32}],
    ids=str,
)  # fmt: skip
@pytest.mark.parametrize("name", OPS)
def test_layouts_that_cannot_be_are_refused(name, change):
    first = torch.zeros(LAYOUT.payload_bytes, dtype=torch.uint8)
    arguments = {"compress_gradient_": (GOOD, None), "compress_delta_": (GOOD, GOOD), "compress_mean_": (first[None], None, 300), "add_payload_": (first, GOOD)}  # fmt: skip
    with pytest.raises(ValueError, match=next(iter(change))):
        getattr(ops, name)(*arguments[name], LAYOUT._replace(**change))


BYTES = torch.zeros(LAYOUT.payload_bytes, dtype=torch.uint8)
REFUSED = [
    ("gradient", lambda: ops.compress_gradient_(GOOD.double(), None, LAYOUT)),
    ("gradient", lambda: ops.compress_gradient_(GOOD[None], None, LAYOUT)),
    ("gradient", lambda: ops.compress_gradient_(torch.zeros(600)[::2], None, LAYOUT)),
    ("tensor", lambda: ops.compress_gradient_(GOOD[:0], None, LAYOUT)),
    ("residual", lambda: ops.compress_gradient_(GOOD, GOOD.half(), LAYOUT)),
    ("residual", lambda: ops.compress_gradient_(GOOD, GOOD[:299], LAYOUT)),
    ("sampled", lambda: ops.compress_gradient_(torch.zeros(1, dtype=torch.bfloat16).expand(128 * 65_537).contiguous(), None, LAYOUT._replace(block=128))),
    ("local", lambda: ops.compress_delta_(GOOD.double(), GOOD, LAYOUT)),
    ("shared", lambda: ops.compress_delta_(GOOD, GOOD[:299], LAYOUT)),
    ("shared", lambda: ops.compress_delta_(GOOD, GOOD.double(), LAYOUT)),
    ("payloads", lambda: ops.compress_mean_(BYTES, None, 300, LAYOUT)),
    ("payloads", lambda: ops.compress_mean_(BYTES[None, :-4], None, 300, LAYOUT)),
    ("payloads", lambda: ops.compress_mean_(BYTES[None][:0], None, 300, LAYOUT)),
    ("payloads", lambda: ops.compress_mean_(BYTES[None].int(), None, 300, LAYOUT)),
    ("payloads", lambda: ops.compress_mean_(BYTES[:, None].expand(-1, 2).t(), None, 300, LAYOUT)),
    ("residual", lambda: ops.compress_mean_(BYTES[None], GOOD[:299], 300, LAYOUT)),
    ("tensor", lambda: ops.compress_mean_(BYTES[None], None, 0, LAYOUT)),
    ("payload", lambda: ops.add_payload_(BYTES[:-4], GOOD, LAYOUT)),
    ("payload", lambda: ops.add_payload_(BYTES.view(torch.int8), GOOD, LAYOUT)),
    ("out", lambda: ops.add_payload_(BYTES, GOOD.double(), LAYOUT)),
    ("payload", lambda: ops.payload_checksum(BYTES[:60])),
    ("payload", lambda: ops.payload_checksum(BYTES[:-1])),
    ("mask", lambda: ops.add_payload_(BYTES, GOOD.clone(), LAYOUT)),
    ("mask", lambda: ops.compress_mean_(BYTES[None], None, 300, LAYOUT)),
]  # fmt: skip


@pytest.mark.parametrize(("word", "call"), REFUSED)
@pytest.mark.parametrize("backend", BACKENDS)
def test_wrong_arguments_are_refused(backend, word, call):
    with use(backend), pytest.raises(ValueError, match=word):
        call()
