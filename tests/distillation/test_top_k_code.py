"""The likeliest tokens in few bits: which they are comes back exactly, how likely they are nearly."""

import math

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from fmcompress.distillation.teacher_logits import coding_error
from fmcompress.distillation.top_k_code import SPAN, Code, top_k
from fmcompress.errors import ConfigError, PayloadError


def logits_of(rows, vocabulary, seed, scale=3.0):
    return scale * torch.randn(rows, vocabulary, generator=torch.Generator().manual_seed(seed))


sizes = st.integers(1, 5000).flatmap(lambda v: st.tuples(st.just(v), st.integers(1, min(v, 200))))


@settings(deadline=None, max_examples=60)
@example((27, 8), 1, 4, 0.25, 0)  # steps are smaller than what float16 leaves of the likeliest
@given(sizes, st.integers(0, 5), st.sampled_from([4, 8]), st.floats(0.1, 30), st.integers(0, 1 << 30))
def test_ids_come_back_and_values_nearly(size, rows, bits, scale, seed):
    vocabulary, k = size
    code = Code(k, vocabulary, bits)
    known = top_k(logits_of(rows, vocabulary, seed, scale), k)
    parts = code.encode(known)
    assert {n: (p.dtype, p.shape[1]) for n, p in parts.items()} == code.shapes()
    again = code.decode(parts)
    assert torch.equal(again.ids, known.ids)
    total = again.log_p.exp().sum(1) + again.rest.exp()
    assert torch.allclose(total, torch.ones(rows), atol=1e-5)
    highest = known.log_p.max(1, keepdim=True).values
    fall = (highest - known.log_p).clamp(0, SPAN)
    step = fall.max(1, keepdim=True).values / ((1 << bits) - 1)
    # half a step, the rounding of step and of the likeliest, from which steps are counted, to float16
    error = (highest - again.log_p.max(1, keepdim=True).values) - (known.log_p.clamp_min(highest - SPAN) - again.log_p)
    assert bool((error.abs() <= 0.5 * step + fall / 1024 + highest.abs() / 2048 + 1e-4).all())


@pytest.mark.parametrize(("bits", "bound"), [(8, 2e-4), (4, 5e-2)])
def test_the_divergence_of_the_coding_is_small(bits, bound):
    known = top_k(logits_of(200, 1000, 0), 64)
    error = coding_error(known, Code(64, 1000, bits))
    assert 0 <= float(error.mean()) < bound


def test_all_of_a_vocabulary_leaves_no_rest():
    known = top_k(logits_of(3, 40, 1), 40)
    assert torch.equal(known.ids, torch.arange(40).expand(3, 40))
    assert bool((known.rest == -torch.inf).all())
    again = Code(40, 40).decode(Code(40, 40).encode(known))
    assert bool((again.rest == -torch.inf).all())


def test_what_a_teacher_rules_out_is_next_to_nothing():
    logits = logits_of(2, 50, 2)
    logits[:, 10:] = -torch.inf
    known = top_k(logits, 20)
    again = Code(20, 50).decode(Code(20, 50).encode(known))
    ruled_out = again.ids >= 10
    assert float(again.log_p[ruled_out].exp().max()) < 1e-7
    assert bool((again.rest < -15).all())
    assert float(coding_error(known, Code(20, 50)).max()) < 1e-3


def test_the_temperature_is_of_the_logits():
    logits = logits_of(4, 30, 3)
    warm = top_k(logits, 5, temperature=2.0)
    assert torch.allclose(warm.log_p, (logits / 2).log_softmax(-1).gather(1, warm.ids))


@pytest.mark.parametrize(
    ("vocabulary", "k", "most"), [(105, 64, 93), (50257, 64, 165), (152064, 64, 180), (152064, 128, 340)]
)
def test_a_row_is_small(vocabulary, k, most):
    """Packed ids alone would take k * log2(vocabulary) bits; k of so many can be chosen in log2 of a binomial."""
    code = Code(k, vocabulary)
    fewest = (math.lgamma(vocabulary + 1) - math.lgamma(k + 1) - math.lgamma(vocabulary - k + 1)) / math.log(2) / 8
    ids = code.row_bytes - k - 6
    assert fewest < ids < fewest * 1.5 + 20
    assert code.row_bytes <= most


@pytest.mark.parametrize(("k", "vocabulary", "bits"), [(0, 5, 8), (6, 5, 8), (2, 5, 3)])
def test_sizes_that_do_not_fit_are_told(k, vocabulary, bits):
    with pytest.raises(ConfigError, match="top-k, bits"):
        Code(k, vocabulary, bits)


def damaged(name, change):
    code = Code(5, 1000)
    parts = code.encode(top_k(logits_of(3, 1000, 4), 5))
    change(parts[name])
    return code, parts


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("upper", lambda part: part.zero_()),
        ("upper", lambda part: part.fill_(255)),
        ("upper", lambda part: part.copy_(part.roll(1, 0)) if not part.roll(1, 0).equal(part) else part.zero_()),
        ("scale", lambda part: part[:, 1].fill_(-1)),
        ("scale", lambda part: part[0, 0].fill_(float("nan"))),
        ("scale", lambda part: part[0, 0].fill_(3.0)),
        ("scale", lambda part: part[2, 2].fill_(float("inf"))),
    ],
)
def test_what_no_teacher_said_is_refused(name, change):
    code, parts = damaged(name, change)
    try:
        again = code.decode(parts)
    except PayloadError as error:
        assert "damaged" in str(error)
    else:  # other tokens, but tokens
        assert name == "upper"
        assert int(again.ids.max()) < 1000
        assert bool((again.ids.diff(dim=1) > 0).all())


@settings(deadline=None, max_examples=100)
@given(st.integers(0, 1 << 30))
def test_random_bytes_give_tokens_or_a_clear_error(seed):
    code = Code(7, 300)
    generator = torch.Generator().manual_seed(seed)
    parts = code.encode(top_k(logits_of(2, 300, seed), 7))
    name = list(parts)[seed % len(parts)]
    part = parts[name].view(torch.uint8)
    place = int(torch.randint(part.numel(), (1,), generator=generator))
    part.view(-1)[place] ^= int(torch.randint(1, 256, (1,), generator=generator))
    try:
        again = code.decode(parts)
    except PayloadError:
        return
    assert int(again.ids.min()) >= 0
    assert int(again.ids.max()) < 300
    assert bool(again.log_p.isfinite().all())
