"""Prompts around frozen towers: exact without vectors, true gradients with them."""

import numpy as np
import pytest
import torch
from prompt_cases import CLASSES, IDS, KINDS, SIGLIP_IDS, clip, digest, made, pixels, siglip, unit

from fmcompress.clip.prompt_models import LinearPrompt, TextPrompt, VisualPrompt
from fmcompress.clip.towers import TextTower, VisionTower
from fmcompress.clip.unified_prompt import UnifiedPrompt
from fmcompress.errors import ConfigError


@pytest.mark.parametrize("build", [clip, siglip])
@pytest.mark.parametrize("kind", KINDS)
def test_no_vectors_at_all_are_the_model_itself(kind, build):
    model = build()
    prompt, images = made(kind, model, places=0)
    expected = 10 * unit(model.get_image_features(pixel_values=pixels())) @ prompt.text.T
    assert torch.allclose(prompt.zero_shot(images, CLASSES), expected, rtol=0, atol=1e-12)
    assert torch.allclose(prompt.logits(images, CLASSES), expected, rtol=0, atol=1e-12)


def test_without_places_towers_give_the_same_bits_as_the_model():
    for model, ids in ((clip(), IDS), (siglip(), SIGLIP_IDS)):
        context = torch.empty(0, 16, dtype=torch.float64)
        assert torch.equal(TextTower(model, ids, 0)(context, CLASSES), unit(model.get_text_features(input_ids=ids)))
        images = VisionTower(model)(context, pixels())
        assert torch.equal(images, unit(model.get_image_features(pixel_values=pixels())))


def test_padding_behind_the_end_changes_nothing_in_clip():
    model, context = clip(), torch.randn(2, 16, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    padded = torch.cat([IDS, torch.full((4, 6), 39)], dim=1)
    short, long = TextTower(model, IDS, 2), TextTower(model, padded, 2)
    assert short.token_ids.shape == long.token_ids.shape == (4, 7)
    assert torch.equal(short(context, CLASSES), long(context, CLASSES))


@pytest.mark.parametrize("build", [clip, siglip])
def test_vectors_that_are_the_models_own_tokens_give_the_text_of_these_tokens(build):
    """The prompt "X X name" of tokens that the vocabulary has, so that the model's own forward is the truth."""
    model = build()
    is_clip = model.config.model_type == "clip"
    ids, front = (IDS, 1) if is_clip else (SIGLIP_IDS, 0)
    own = torch.tensor([[20, 21]]).expand(4, -1)
    spelled = torch.cat([ids[:, :front], own, ids[:, front:] if is_clip else ids[:, :-2]], dim=1)
    context = model.text_model.embeddings.token_embedding(own[0]).detach()
    expected = unit(model.get_text_features(input_ids=spelled))
    assert torch.allclose(TextTower(model, ids, 2)(context, CLASSES), expected, rtol=0, atol=1e-12)


def test_the_old_number_of_the_end_token_means_the_highest():
    model = clip(eos_token_id=2)
    tower = TextTower(model, IDS, 1)
    spelled = torch.cat([IDS[:, :1], torch.full((4, 1), 3), IDS[:, 1:]], dim=1)
    context = model.text_model.embeddings.token_embedding.weight[3:4].detach()
    expected = unit(model.get_text_features(input_ids=spelled))
    assert torch.allclose(tower(context, CLASSES), expected, rtol=0, atol=1e-12)


def test_a_vector_among_patches_stands_behind_the_class_token():
    model = clip()
    seen = []
    hook = model.vision_model.pre_layrnorm.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    tower = VisionTower(model)
    tower(torch.full((2, 16), 7.0, dtype=torch.float64), pixels())
    model.get_image_features(pixel_values=pixels())
    hook.remove()
    with_prefix, plain = seen
    assert (with_prefix[:, 1:3] == 7).all()
    assert torch.equal(torch.cat([with_prefix[:, :1], with_prefix[:, 3:]], dim=1), plain)


@pytest.mark.parametrize("build", [clip, siglip])
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_the_differences_that_they_stand_for(kind, build):
    model = build()
    prompt, images = made(kind, model, places=2)
    generator = torch.Generator().manual_seed(3)
    labels = torch.tensor([0, 3, 1])

    def loss():
        return torch.nn.functional.cross_entropy(prompt.logits(images, CLASSES), labels)

    loss().backward()
    for name, values in prompt.named_parameters():
        toward = torch.randn(values.shape, generator=generator, dtype=torch.float64)
        step, told = 1e-5, float((values.grad * toward).sum())
        with torch.no_grad():
            values += step * toward
            above = float(loss())
            values -= 2 * step * toward
            below = float(loss())
            values += step * toward
        assert (above - below) / (2 * step) == pytest.approx(told, rel=1e-5, abs=1e-8), name


@pytest.mark.parametrize("kind", KINDS)
def test_only_the_prompt_is_trained(kind):
    model = clip()
    prompt, images = made(kind, model)
    before, start = digest(model), [p.detach().clone() for p in prompt.parameters()]
    optimizer = torch.optim.SGD(prompt.parameters(), 0.1)
    for _ in range(2):
        optimizer.zero_grad()
        torch.nn.functional.cross_entropy(prompt.logits(images, CLASSES), torch.tensor([0, 3, 1])).backward()
        optimizer.step()
    assert digest(model) == before
    assert all(p.grad is None and not p.requires_grad for p in model.parameters())
    assert any(not torch.equal(a, b) for a, b in zip(start, prompt.parameters(), strict=True))


def test_towers_leave_no_hook_behind_even_after_an_error():
    model = clip()
    before = unit(model.get_image_features(pixel_values=pixels()))
    with pytest.raises(RuntimeError):
        VisionTower(model)(torch.zeros(2, 5, dtype=torch.float64), pixels())
    assert torch.equal(unit(model.get_image_features(pixel_values=pixels())), before)


def test_prompts_begin_as_the_sources_say():
    model = clip()
    text = np.eye(4, dtype=np.float32)
    words, eyes = TextTower(model, IDS, 8), VisionTower(model)
    assert TextPrompt(text, 1.0, words).context.std().item() == pytest.approx(0.02, rel=0.2)
    assert VisualPrompt(text, 1.0, eyes, 400).prefix.std().item() == pytest.approx(16**-0.5, rel=0.1)
    both = UnifiedPrompt(text, 1.0, words, eyes, 400)
    most = (6 / (3 * 8 * 8 + 16)) ** 0.5
    assert 0.95 * most < both.prefix.abs().max().item() <= most
    assert both.context.std().item() == pytest.approx(0.02, rel=0.2)
    assert not LinearPrompt(text, 1.0).residual.any()


@pytest.mark.parametrize("kind", KINDS)
def test_a_seed_gives_the_same_prompt_and_leaves_the_global_generator_alone(kind):
    model = clip()
    before = torch.get_rng_state()
    prompt, _ = made(kind, model)
    first = [p.detach().clone() for p in prompt.parameters()]
    prompt.reset(torch.Generator().manual_seed(1))
    other = [p.detach().clone() for p in prompt.parameters()]
    prompt.reset(torch.Generator().manual_seed(0))
    assert all(torch.equal(a, b) for a, b in zip(first, prompt.parameters(), strict=True))
    assert kind == "linear" or not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert torch.equal(torch.get_rng_state(), before)


def test_each_tower_gets_its_own_vectors_and_they_know_of_each_other():
    prompt, images = made("multimodal", clip())
    prompt.parts["mix"] = torch.nn.Identity()  # so that only the maps to and from the transformer are left
    words = prompt.parts["text_out"](prompt.parts["text_in"](prompt.context))
    eyes = prompt.parts["image_out"](prompt.parts["image_in"](prompt.prefix))
    assert torch.allclose(prompt.text_features(CLASSES), prompt.text_tower(words, CLASSES), rtol=0, atol=1e-12)
    assert torch.allclose(prompt.image_features(images), prompt.vision_tower(eyes, images), rtol=0, atol=1e-12)
    mixed, images = made("multimodal", clip())
    before = mixed.image_features(images)
    with torch.no_grad():
        mixed.context[0] += 1
    assert not torch.allclose(mixed.image_features(images), before, rtol=0, atol=1e-9)


def test_some_classes_are_columns_of_all():
    for kind in KINDS:
        prompt, images = made(kind, clip())
        every = prompt.logits(images, CLASSES)
        assert torch.allclose(prompt.logits(images, torch.tensor([3, 1])), every[:, [3, 1]], rtol=0, atol=1e-12)


def test_what_does_not_fit_is_an_error():
    model = clip()
    with pytest.raises(ConfigError, match="do not fit in 16 tokens"):
        TextTower(model, IDS, 12)
    with pytest.raises(ConfigError, match="do not fit in 16 tokens"):
        TextTower(siglip(), SIGLIP_IDS, 14)
    with pytest.raises(ConfigError, match="expected a model of kind clip"):
        VisionTower(torch.nn.Linear(2, 2))
    with pytest.raises(ConfigError, match="logit_scale"):
        LinearPrompt(np.eye(2), float("nan"))
    with pytest.raises(ConfigError, match="rows of length 1"):
        LinearPrompt(2 * np.eye(2), 1.0)
    with pytest.raises(ConfigError, match="both of one model"):
        UnifiedPrompt(np.eye(4), 1.0, TextTower(model, IDS, 1), VisionTower(clip()))


def test_an_end_token_numbered_0_is_not_taken_for_a_place():
    model = clip(eos_token_id=0)
    ids = torch.where(IDS == 39, 0, IDS)  # 39 ends a text in the other tests
    tower = TextTower(model, ids, 2)
    filled = torch.cat([ids[:, :1], torch.full((4, 2), 7), ids[:, 1:]], dim=1)
    context = model.text_model.embeddings.token_embedding.weight[7:8].detach().expand(2, -1)
    expected = unit(model.get_text_features(input_ids=filled))
    assert torch.allclose(tower(context, CLASSES), expected, rtol=0, atol=1e-12)
    assert not torch.allclose(expected[0], expected[1], atol=1e-3)
