import pytest
import torch
from omnivl_cases import PAD, pixels, texts, tiny_omnivl

from fmcompress.vision_language.omnivl import Batch, Keys, Objective, univlc_loss
from fmcompress.vision_language.omnivl.objective import next_token_loss


def batch_of(items=6, *frames, labels=None, **given):
    ids, mask = texts(items)
    labels = torch.full((items,), -1) if labels is None else torch.tensor(labels)
    return Batch(pixels(items, *frames), ids, mask, labels, **given)


def objective(model=None, **given):
    given = {"bank_size": 16, "generator": torch.Generator().manual_seed(0), **given}
    return Objective(model or tiny_omnivl(trained=True), **given)


def test_contrastive_loss_is_univlc_over_momentum_keys_and_bank():
    model, batch = tiny_omnivl(trained=True), batch_of(labels=[3, 3, -1, -1, 0, -1])
    found = objective(model, momentum=1.0)
    for banked in (0, 6):
        assert len(found.bank) == banked
        before = found.bank.keys()
        loss = found(batch)["contrastive"]
        labels = torch.where(batch.labels < 0, -1 - banked - torch.arange(6), batch.labels)
        visual, text = (
            model.get_image_features(batch.pixels),
            model.get_text_features(batch.input_ids, batch.attention_mask),
        )
        keys = Keys(
            torch.cat([visual, before.visual]), torch.cat([text, before.text]), torch.cat([labels, before.labels])
        )
        expected = univlc_loss(visual, text, labels, keys=keys, temperature=model.temperature)
        torch.testing.assert_close(loss, expected)


def test_captioned_items_never_share_a_number():
    found = objective()
    given = [found._numbered(torch.tensor([-1, 2, -1, 0])) for _ in range(3)]
    own = [int(label) for labels in given for label in labels if label < 0]
    assert len(own) == len(set(own)) == 6
    assert given[0][1] == 2


def test_plain_contrast_tells_labelled_items_apart():
    plain = objective(contrast="plain")
    assert (plain._numbered(torch.tensor([1, 1, 1])) < 0).all()
    model = tiny_omnivl(trained=True)
    losses = [objective(model, contrast=kind)(batch_of(labels=[1] * 6))["contrastive"] for kind in ("plain", "univlc")]
    assert losses[0] != losses[1]
    captions = [objective(model, contrast=kind)(batch_of())["contrastive"] for kind in ("plain", "univlc")]
    assert torch.equal(*captions)


def test_decoders_learn_from_captions_only_and_from_so_many_rows():
    model = tiny_omnivl(trained=True)
    assert set(objective(model)(batch_of(labels=[0, 1, 0, 1, 2, 2]))) == {"contrastive"}
    seen = []
    model.register_forward_hook(lambda *_: None)
    model.alignment_decoder.register_forward_pre_hook(
        lambda _, args, kwargs: seen.append(len(args[0])), with_kwargs=True
    )
    assert set(objective(model)(batch_of(labels=[-1, 1, -1, 1, -1, 2]))) == {"contrastive", "matching", "writing"}
    assert set(objective(model, decoder_rows=2)(batch_of())) == {"contrastive", "matching", "writing"}
    assert seen == [9, 6]


def test_one_caption_alone_has_no_negatives_but_is_matched():
    losses = objective()(batch_of(1))
    assert losses["matching"].isfinite()


def test_matching_sees_a_text_and_an_image_of_another_item(monkeypatch):
    model, batch, given = tiny_omnivl(trained=True), batch_of(), []
    visual = model.visual_encoder(batch.pixels).last_hidden_state

    def spy(ids, mask, seen):
        text = [int((batch.input_ids == row).all(1).nonzero()[0]) for row in ids]
        image = [int((visual - one).abs().sum((1, 2)).argmin()) for one in seen]
        given.extend(zip(text, image, strict=True))
        return torch.zeros(len(ids), 2)

    monkeypatch.setattr(model, "match", spy)
    objective(model)(batch)
    assert given[:6] == [(row, row) for row in range(6)]
    assert all(text != image for text, image in given[6:])
    assert [image for _, image in given[6:12]] == list(range(6))  # another text for each image
    assert [text for text, _ in given[12:]] == list(range(6))  # another image for each text


def test_writing_ignores_padding_and_the_first_token():
    ids, mask = texts(3)
    logits = torch.randn(3, 6, 50, generator=torch.Generator().manual_seed(1))
    terms = [
        -logits[row, place - 1].log_softmax(-1)[ids[row, place]]
        for row in range(3)
        for place in range(1, 6)
        if ids[row, place] != PAD
    ]
    torch.testing.assert_close(next_token_loss(logits, ids, mask), torch.stack(terms).mean())


def test_answers_are_written_from_question_and_image():
    model = tiny_omnivl(trained=True)
    question, question_mask = texts(4, seed=5)
    ids, mask = texts(4)
    batch = Batch(pixels(4), ids, mask, torch.full((4,), -1), question, question_mask)
    losses = objective(model)(batch)
    assert set(losses) == {"answering"}
    other = Batch(pixels(4, seed=3), ids, mask, batch.labels, question, question_mask)
    asked = Batch(pixels(4), ids, mask, batch.labels, question.roll(1, 0), question_mask.roll(1, 0))
    values = {losses["answering"].item(), *(objective(model)(b)["answering"].item() for b in (other, asked))}
    assert len(values) == 3


def test_images_teach_nothing_about_time():
    model = tiny_omnivl()
    sum(objective(model)(batch_of()).values()).backward()
    over_time = [p for name, p in model.named_parameters() if "temporal" in name or "time_" in name or "video_" in name]
    assert len(over_time) > 10
    assert all(parameter.grad is None for parameter in over_time)
    model.zero_grad()
    sum(objective(model)(batch_of(4, 8)).values()).backward()
    assert model.visual_encoder.layers[0].temporal_projection.weight.grad.abs().sum() > 0


def test_a_handful_of_pairs_is_learned():
    model, batch = tiny_omnivl(3).train(), batch_of(4)
    found, optimizer = objective(model, momentum=0.5, bank_size=0), torch.optim.Adam(model.parameters(), 1e-3)
    for step in range(300):
        losses = found(batch)
        if step == 0:
            first = {name: loss.item() for name, loss in losses.items()}
        optimizer.zero_grad()
        sum(losses.values()).backward()
        optimizer.step()
    assert {name for name, loss in losses.items() if loss.item() < 0.2 * first[name]} == set(first)


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_momentum_follows_before_the_keys_are_made(momentum):
    model = tiny_omnivl(trained=True)
    found = objective(model, momentum=momentum)
    with torch.no_grad():
        model.visual_projection.weight.mul_(-1)
    found(batch_of())
    same = torch.equal(found.follower.model.visual_projection.weight, model.visual_projection.weight)
    assert same == (momentum == 0.0)
