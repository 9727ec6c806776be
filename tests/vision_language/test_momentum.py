import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from omnivl_cases import pixels, texts, tiny_omnivl

from fmcompress.vision_language.omnivl import MomentumModel, hard_negatives

DECODERS = ("alignment_decoder", "generation_decoder")


def parameters(model):
    return [parameter.detach().clone() for parameter in model.parameters()]


def test_momentum_of_one_never_moves_and_of_zero_is_a_copy():
    model, other = tiny_omnivl(0), tiny_omnivl(1)
    frozen, copied = MomentumModel(model, 1.0), MomentumModel(model, 0.0)
    for follower in (frozen, copied):
        follower.update(other)
    assert all(torch.equal(a, b) for a, b in zip(frozen.model.parameters(), model.parameters(), strict=True))
    assert all(torch.equal(a, b) for a, b in zip(copied.model.parameters(), other.parameters(), strict=True))


def test_momentum_between_is_the_average_and_leaves_the_model():
    model, other = tiny_omnivl(0), tiny_omnivl(1)
    follower, before = MomentumModel(model, 0.75), parameters(other)
    follower.update(other)
    follower.update(other)
    for own, first, second in zip(follower.model.parameters(), model.parameters(), before, strict=True):
        torch.testing.assert_close(own, 0.75**2 * first + (1 - 0.75**2) * second)
        assert not own.requires_grad
    assert all(torch.equal(a, b) for a, b in zip(parameters(other), before, strict=True))


def test_parts_left_out_cost_nothing_and_embeddings_are_the_models():
    model = tiny_omnivl(trained=True)
    follower = MomentumModel(model, 0.9, without=DECODERS)
    assert not any(name.startswith(DECODERS) for name, _ in follower.model.named_parameters())
    assert model.alignment_decoder is not None
    ids, mask = texts(2)
    assert torch.equal(follower.model.get_image_features(pixels(2, 8)), model.get_image_features(pixels(2, 8)))
    assert torch.equal(follower.model.get_text_features(ids, mask), model.get_text_features(ids, mask))
    follower.update(model)
    for own, theirs in zip(parameters(follower.model.visual_encoder), parameters(model.visual_encoder), strict=True):
        torch.testing.assert_close(own, theirs)


@pytest.mark.parametrize("momentum", [-0.1, 1.1])
def test_momentum_outside_is_refused(momentum):
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        MomentumModel(tiny_omnivl(), momentum)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.lists(st.integers(0, 4), min_size=1, max_size=8),
    st.integers(0, 10**6),
)
def test_hard_negative_is_never_of_the_same_label(row_labels, col_labels, seed):
    rows, cols = torch.tensor(row_labels), torch.tensor(col_labels)
    generator = torch.Generator().manual_seed(seed)
    similarity = 200 * torch.randn(len(rows), len(cols), generator=generator)  # so peaked that shares underflow
    found = hard_negatives(similarity, rows, cols, generator)
    for label, column in zip(row_labels, found.tolist(), strict=True):
        if column < 0:
            assert set(col_labels) == {label}
        else:
            assert col_labels[column] != label


def test_hard_negatives_are_drawn_by_their_shares():
    similarity = torch.tensor([[9.0, 0.0, 1.0, 2.0]]).expand(20000, -1)
    found = hard_negatives(similarity, torch.zeros(20000).long(), torch.arange(4), torch.Generator().manual_seed(0))
    shares = torch.bincount(found, minlength=4) / 20000
    expected = torch.tensor([0.0, *torch.tensor([0.0, 1.0, 2.0]).softmax(0).tolist()])
    torch.testing.assert_close(shares, expected, atol=0.015, rtol=0)


def test_hard_negatives_come_from_the_generator_alone():
    similarity, labels = torch.zeros(6, 6), torch.arange(6)
    state = torch.random.get_rng_state()
    first, second = (hard_negatives(similarity, labels, labels, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_hard_negatives_of_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"expected \[2, 3\] by the labels"):
        hard_negatives(torch.zeros(2, 2), torch.zeros(2).long(), torch.zeros(3).long())
