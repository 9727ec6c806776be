from dataclasses import replace

import pytest
import torch
from omnivl_cases import pixels, tiny_omnivl
from training_cases import images, said

from fmcompress.errors import ConfigError
from fmcompress.vision_language.omnivl import Keys, objective, univlc_loss
from fmcompress.vision_language.omnivl.data import CAPTION, LABEL, QUESTION, Batch
from fmcompress.vision_language.omnivl.objective import LOSSES, Objective, next_token_loss, same_groups


def losses(batch, *, seed=0, trained=True, **given):
    model = tiny_omnivl(trained=trained)
    return Objective(model, **given).losses(batch, torch.Generator().manual_seed(seed))


def test_each_kind_has_its_losses():
    found = losses(images(6, kinds=[CAPTION] * 2 + [LABEL] * 2 + [QUESTION] * 2))
    assert tuple(found) == LOSSES
    assert set(losses(images(4, kinds=[LABEL] * 4))) == {"contrastive", "matching"}
    assert set(losses(images(4, kinds=[QUESTION] * 4))) == {"answers"}
    assert set(losses(images(1))) == {"contrastive", "captions"}  # no negative to match


def test_losses_are_their_definitions():
    model, batch = tiny_omnivl(trained=True), images(5)
    found = Objective(model, momentum=0, bank=0).losses(batch, torch.Generator().manual_seed(0))
    out = model(batch.pixels, batch.said.ids, batch.said.mask)
    own = batch.said.labels
    expected = univlc_loss(out.image_embeds, out.text_embeds, own, temperature=model.temperature)
    torch.testing.assert_close(found["contrastive"], expected)
    total = count = 0.0
    shares = out.logits.detach().log_softmax(dim=-1)
    for row in range(5):
        length = int(batch.said.mask[row].sum())
        for place in range(length - 1):
            total, count = total - float(shares[row, place, batch.said.ids[row, place + 1]]), count + 1
    assert found["captions"].item() == pytest.approx(total / count, rel=1e-5)


def test_answers_look_at_question_and_image():
    model, batch = tiny_omnivl(trained=True), images(3, kinds=[QUESTION] * 3)
    found = Objective(model).losses(batch, torch.Generator())["answers"]
    seen = model.visual_encoder(batch.pixels).last_hidden_state
    fused = model.fuse(batch.said.ids, batch.said.mask, seen)
    logits = model.predict_tokens(batch.said.answers, batch.said.answers_mask, fused, batch.said.mask)
    torch.testing.assert_close(found, next_token_loss(logits, batch.said.answers, batch.said.answers_mask))
    other = Batch(pixels(3, seed=9), batch.said)
    assert not torch.equal(found, Objective(model).losses(other, torch.Generator())["answers"])


def test_matching_has_one_pair_and_two_hard_negatives_each(monkeypatch):
    model, batch = tiny_omnivl(trained=True), images(6, kinds=[LABEL] * 6, labels=[0, 0, 1, 1, 2, 3])
    given = {}

    def spy(ids, mask, seen):
        given.update(ids=ids, seen=seen)
        return torch.zeros(len(ids), 2).index_fill(1, torch.tensor([0]), 1.0)

    monkeypatch.setattr(model, "match", spy)
    found = Objective(model, momentum=0).losses(batch, torch.Generator().manual_seed(1))["matching"]
    seen = model.visual_encoder(batch.pixels).last_hidden_state
    texts = [(ids == batch.said.ids[:, : len(ids)]).all(dim=1).nonzero().item() for ids in given["ids"]]
    shown = [(one == seen).all(dim=(1, 2)).nonzero().item() for one in given["seen"].detach()]
    assert texts[:6] == shown[:6] == list(range(6))
    assert shown[6:12] == texts[12:] == list(range(6))
    labels = batch.said.labels.tolist()
    assert all(labels[text] != labels[image] for text, image in zip(texts[6:], shown[6:], strict=True))
    no, yes = torch.tensor([[1.0, 0.0]]).log_softmax(dim=1)[0].tolist()
    assert float(found) == pytest.approx(-(6 * yes + 12 * no) / 18)


def test_negatives_are_the_likest_in_both_directions(monkeypatch):
    model, given = tiny_omnivl(trained=True), {}
    batch, every = said(4), torch.eye(4)
    monkeypatch.setattr(
        model, "match", lambda ids, mask, seen: given.update(ids=ids, seen=seen) or torch.zeros(len(ids), 2)
    )
    own = Keys(every, every.roll(1, 0), batch.labels)  # image i is like text i + 1
    seen = torch.arange(4.0)[:, None, None]
    objective.matching_loss(model, own, batch, seen, torch.Generator().manual_seed(0))
    texts = [(ids == batch.ids).all(dim=1).nonzero().item() for ids in given["ids"]]
    shown = given["seen"].flatten().int().tolist()
    assert list(zip(shown[4:8], texts[4:8], strict=True)) == [(0, 1), (1, 2), (2, 3), (3, 0)]
    assert list(zip(texts[8:], shown[8:], strict=True)) == [(0, 3), (1, 0), (2, 1), (3, 2)]


def test_equal_texts_are_no_negatives_of_each_other(monkeypatch):
    model, batch = tiny_omnivl(trained=True), images(3)
    batch.said.ids[1], batch.said.mask[1] = batch.said.ids[0], batch.said.mask[0]
    given = []
    monkeypatch.setattr(
        objective, "hard_negatives", lambda a, rows, cols, g: given.append((rows, cols)) or torch.full((3,), -1)
    )
    assert "matching" not in Objective(model).losses(batch, torch.Generator())
    assert [one.tolist() for pair in given for one in pair] == [[0, 0, 2]] * 4


def test_decoders_may_learn_from_the_first_items_alone():
    batch, first = images(6), images(6).said.take(torch.arange(2))
    few, alone = losses(batch, decoder_rows=2), losses(Batch(batch.pixels[:2], first))
    assert torch.equal(few["contrastive"], losses(batch)["contrastive"])
    for name in ("matching", "captions"):
        torch.testing.assert_close(few[name], alone[name])


def test_groups_spread_by_label_and_by_text():
    ids = torch.tensor([[1, 1], [2, 2], [3, 3], [2, 2], [4, 4], [5, 5]])
    labels, own = torch.tensor([7, 7, 8, 9, 9, 1]), torch.arange(6)
    assert same_groups(labels, own, ids).tolist() == [0, 0, 2, 0, 0, 5]


def test_hard_negatives_are_never_the_own_image_under_another_label():
    """An image with a caption and a class: neither text is wrong of it."""
    one, two = said(4, kinds=[CAPTION, LABEL] * 2, labels=[5, 0, 6, 1]), said(4)
    twice = replace(one, own=torch.tensor([0, 0, 1, 1]))
    assert same_groups(twice.labels, twice.own, twice.ids).tolist() == [0, 0, 2, 2]
    assert same_groups(one.labels, one.own, one.ids).tolist() == same_groups(two.labels, two.own, two.ids).tolist()
    alone = Batch(pixels(2), replace(twice.take(torch.arange(2)), own=torch.tensor([0, 0])))
    assert "matching" not in losses(alone)


def test_plain_is_univlc_where_labels_are_unique():
    batch, labelled = images(6), images(6, kinds=[LABEL] * 6, labels=[0, 0, 1, 1, 2, 2])
    plain, univlc = losses(batch, contrast="plain"), losses(batch)
    assert all(torch.equal(plain[name], univlc[name]) for name in univlc)
    assert not torch.equal(losses(labelled, contrast="plain")["contrastive"], losses(labelled)["contrastive"])
    assert torch.equal(losses(labelled, contrast="plain")["contrastive"], losses(batch)["contrastive"])


def test_bank_holds_the_momentum_models_embeddings():
    model = tiny_omnivl(trained=True)
    what = Objective(model, momentum=0.5, bank=16)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(1.1)
    batch = images(4)
    what.losses(batch, torch.Generator())
    follower = what.momentum.model
    before = tiny_omnivl(trained=True).text_projection.weight
    torch.testing.assert_close(follower.text_projection.weight, 1.05 * before.detach())
    kept = what.bank.keys()
    torch.testing.assert_close(kept.visual, follower.get_image_features(batch.pixels))
    torch.testing.assert_close(kept.text, follower.get_text_features(batch.said.ids, batch.said.mask))
    assert not torch.allclose(kept.visual, model.get_image_features(batch.pixels), atol=1e-4)
    assert kept.labels.tolist() == [0, 1, 2, 3]
    other = images(4, seed=5)
    own = Keys(
        model.get_image_features(other.pixels),
        model.get_text_features(other.said.ids, other.said.mask),
        other.said.labels + 10,
    )
    found = what.losses(
        Batch(other.pixels, type(other.said)(**{**vars(other.said), "labels": own.labels})), torch.Generator()
    )
    new = Keys(
        follower.get_image_features(other.pixels),
        follower.get_text_features(other.said.ids, other.said.mask),
        own.labels,
    )
    keys = Keys(*(torch.cat(both) for both in zip(new, kept, strict=True)))
    torch.testing.assert_close(found["contrastive"], univlc_loss(*own, keys=keys, temperature=model.temperature))


def test_all_parts_that_have_a_share_get_gradients():
    model = tiny_omnivl(trained=True)
    batch = Batch(pixels(6, 4), said(6, kinds=[CAPTION] * 2 + [LABEL] * 2 + [QUESTION] * 2))
    sum(Objective(model).losses(batch, torch.Generator().manual_seed(0)).values()).backward()
    without = [name for name, one in model.named_parameters() if one.grad is None]
    assert without
    assert all("image_projection" in name for name in without)  # of images alone


def test_bank_needs_a_second_model_by_default():
    assert [Objective(tiny_omnivl(), momentum=m).bank.size for m in (0.995, 0)] == [1024, 0]
    assert Objective(tiny_omnivl(), momentum=0, bank=8).bank.size == 8


@pytest.mark.parametrize("given", [{"contrast": "clip"}, {"momentum": 1.5}, {"bank": -1}])
def test_objectives_that_are_none_are_refused(given):
    with pytest.raises(ConfigError, match="expected"):
        Objective(tiny_omnivl(), **given)
