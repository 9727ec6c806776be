import subprocess
import sys

import pytest
import torch
from omnivl_cases import DEC, PAD, pixels, texts, tiny_config, tiny_omnivl

from fmcompress.models import register
from fmcompress.models.omnivl import OmniVLConfig, OmniVLForVisualClassification, OmniVLModel, SpaceTimeLayer
from fmcompress.runtime import load


def test_video_of_one_frame_is_the_image_bit_for_bit():
    model = tiny_omnivl(trained=True)
    images = pixels(3)
    assert torch.equal(
        model.visual_encoder(images[:, None]).last_hidden_state, model.visual_encoder(images).last_hidden_state
    )
    assert torch.equal(model.get_image_features(images[:, None]), model.get_image_features(images))


def test_new_layer_adds_nothing_over_time_even_where_it_attends():
    encoder = tiny_omnivl().visual_encoder
    layer, hidden = encoder.layers[0], encoder.embed(pixels(2))
    assert torch.equal(layer.over_time(hidden, 1), hidden)
    videos = encoder.embed(pixels(2, 8))
    assert torch.equal(layer.over_time(videos, 4), videos)
    with torch.no_grad():
        layer.temporal_projection.weight.fill_(0.1)
    assert not torch.equal(layer.over_time(videos, 4), videos)


def test_layer_over_one_tube_is_the_same_whichever_way_it_is_computed():
    encoder = tiny_omnivl(trained=True).visual_encoder
    layer, hidden = encoder.layers[0], encoder.embed(pixels(2))
    mixed = hidden + layer.over_space(hidden, 1)
    assert torch.equal(mixed + layer.mlp(layer.layernorm_after(mixed)), layer(hidden))


def test_video_that_stands_still_is_its_frame_at_first():
    model = tiny_omnivl()
    images = pixels(2)
    still = images[:, None].expand(-1, 8, -1, -1, -1)
    encoder = model.visual_encoder
    torch.testing.assert_close(
        encoder.patch_embeddings(still), encoder.patch_embeddings(images).expand(-1, 4, -1, -1), atol=1e-6, rtol=1e-5
    )
    torch.testing.assert_close(encoder(still).pooler_output, encoder(images).pooler_output, atol=5e-6, rtol=1e-5)


def test_videos_begin_as_their_frames_whatever_images_taught():
    encoder = tiny_omnivl(trained=True).visual_encoder
    images = pixels(2)
    still = images[:, None].expand(-1, 8, -1, -1, -1)
    before = encoder(images).last_hidden_state
    assert not torch.allclose(encoder(still).pooler_output, before[:, 0], atol=1e-2)
    encoder.begin_videos_()
    torch.testing.assert_close(encoder(still).pooler_output, before[:, 0], atol=5e-6, rtol=1e-5)
    assert torch.equal(encoder(images).last_hidden_state, before)
    assert torch.equal(encoder.layers[1].temporal_attention.q_proj.weight, encoder.layers[1].attention.q_proj.weight)


def test_attention_over_space_sees_no_other_tube_and_over_time_no_other_place():
    encoder = tiny_omnivl(trained=True).visual_encoder
    layer, hidden = encoder.layers[0], encoder.embed(pixels(1, 8))
    changed = hidden.clone()
    changed[:, 1 + 16 + 5, ::2] += 1.0  # place 5 of tube 1
    time = (layer.over_time(changed, 4) - layer.over_time(hidden, 4)).abs().sum(-1)[0, 1:].view(4, 16)
    assert set(time.nonzero()[:, 1].tolist()) == {5}
    assert set(time.nonzero()[:, 0].tolist()) == {0, 1, 2, 3}
    space = (layer.over_space(changed, 4) - layer.over_space(hidden, 4)).abs().sum(-1)[0]
    assert set(space[1:].view(4, 16).nonzero()[:, 0].tolist()) == {1}
    assert space[0] > 0  # the class token sees all tubes


def test_order_of_frames_matters_once_trained():
    model = tiny_omnivl(trained=True)
    videos = pixels(1, 8)
    assert not torch.allclose(model.get_image_features(videos), model.get_image_features(videos.flip(1)), atol=1e-4)


def test_joint_attention_has_no_weights_over_time_and_mixes_all():
    encoder = tiny_omnivl(config=tiny_config(space_time_attention="joint"), trained=True).visual_encoder
    assert not any("temporal" in name for name, _ in encoder.named_parameters())
    hidden = encoder.embed(pixels(1, 8))
    changed = hidden.clone()
    changed[:, 1 + 16 + 5, ::2] += 1.0
    assert ((encoder.layers[0](changed, tubes=4) - encoder.layers[0](hidden, tubes=4)).abs().sum(-1) > 0).all()


def test_videos_of_other_lengths_have_their_times_interpolated():
    encoder = tiny_omnivl(trained=True).visual_encoder
    assert encoder(pixels(1, 4)).last_hidden_state.shape == (1, 1 + 2 * 16, 32)
    assert encoder(pixels(1, 12)).last_hidden_state.shape == (1, 1 + 6 * 16, 32)


@pytest.mark.parametrize(
    ("shape", "told"),
    [
        ((2, 1, 28, 28), r"\[items, 3, height, width\]"),
        ((2, 3, 32, 32), "28 x 28 pixels"),
        ((2, 3, 3, 28, 28), "multiple of 2 frames, got 3"),
        ((3, 28, 28), r"got \[3, 28, 28\]"),
    ],
)
def test_pixels_of_another_shape_are_refused(shape, told):
    with pytest.raises(ValueError, match=told):
        tiny_omnivl().visual_encoder(torch.zeros(shape))


def test_generation_is_causal_and_alignment_is_not():
    model = tiny_omnivl(trained=True)
    ids, mask = torch.arange(5, 13)[None], torch.ones(1, 8, dtype=torch.long)
    seen = model.visual_encoder(pixels(1)).last_hidden_state
    before, fused = model.predict_tokens(ids, mask, seen), model.fuse(ids, mask, seen)
    for place in range(1, 8):
        other = ids.clone()
        other[0, place] = 40
        after = model.predict_tokens(other, mask, seen)
        assert torch.equal(after[:, :place], before[:, :place])
        assert not torch.equal(after[:, place], before[:, place])
        assert not torch.equal(model.fuse(other, mask, seen)[:, 0], fused[:, 0])


def test_decoders_look_at_the_image_and_the_text_encoder_does_not():
    model = tiny_omnivl(trained=True)
    ids, mask = texts(2)
    one, other = model(pixels(2), ids, mask), model(pixels(2, seed=1), ids, mask)
    assert torch.equal(one.text_embeds, other.text_embeds)
    assert not torch.equal(one.matching_logits, other.matching_logits)
    assert not torch.equal(one.logits, other.logits)


def test_padding_changes_nothing():
    model = tiny_omnivl(trained=True)
    ids, mask = texts(1)
    longer = torch.nn.functional.pad(ids, (0, 5), value=PAD)
    whole, padded = model(pixels(1), ids, mask), model(pixels(1), longer, (longer != PAD).long())
    torch.testing.assert_close(padded.text_embeds, whole.text_embeds)
    torch.testing.assert_close(padded.matching_logits, whole.matching_logits)
    torch.testing.assert_close(padded.logits[:, :3], whole.logits[:, :3])


def test_padding_of_a_question_changes_no_answer():
    model = tiny_omnivl(trained=True)
    ids, mask = texts(1)
    longer = torch.nn.functional.pad(ids, (0, 5), value=PAD)
    seen = model.visual_encoder(pixels(1)).last_hidden_state
    answer, found = texts(1, seed=4)[0], []
    for question, its_mask in ((ids, mask), (longer, (longer != PAD).long())):
        fused = model.fuse(question, its_mask, seen)
        written = model.generate(
            pixels(1), question_ids=question, question_mask=its_mask, num_beams=2, max_new_tokens=6
        )
        found.append((model.predict_tokens(answer, None, fused, its_mask), written))
    torch.testing.assert_close(found[1][0], found[0][0])
    assert torch.equal(found[1][1], found[0][1])


def test_generate_writes_what_the_logits_say():
    model = tiny_omnivl(trained=True)
    images = pixels(2)
    written = model.generate(images, max_new_tokens=5, do_sample=False)
    assert written[:, 0].tolist() == [DEC, DEC]
    seen = model.visual_encoder(images).last_hidden_state
    logits = model.predict_tokens(written, None, seen)
    for row in range(2):
        for place in range(written.shape[1] - 1):
            if written[row, place + 1] == PAD:
                break
            assert logits[row, place].argmax() == written[row, place + 1]


def test_answers_depend_on_question_and_image():
    model = tiny_omnivl(trained=True)
    ids, mask = texts(1)
    seen = model.visual_encoder(pixels(1)).last_hidden_state
    fused = model.fuse(ids, mask, seen)
    written = model.generate(pixels(1), question_ids=ids, question_mask=mask, max_new_tokens=4, do_sample=False)
    logits = model.predict_tokens(written, None, fused, mask)
    assert logits[0, 0].argmax() == written[0, 1]
    assert not torch.equal(model.predict_tokens(written, None, seen), logits)


def test_beams_look_at_their_own_images():
    model = tiny_omnivl(trained=True)
    images = pixels(3)
    together = model.generate(images, max_new_tokens=6, num_beams=3, do_sample=False)
    for row in range(3):
        alone = model.generate(images[row : row + 1], max_new_tokens=6, num_beams=3, do_sample=False)
        assert together[row, : alone.shape[1]].tolist() == alone[0].tolist()


def test_saved_model_is_read_by_transformers_and_by_the_runtime(tmp_path):
    from transformers import AutoModel

    register()
    model = tiny_omnivl(trained=True)
    model.save_pretrained(tmp_path)
    ids, mask = texts(2)
    expected = model(pixels(2, 8), ids, mask)
    for other in (AutoModel.from_pretrained(tmp_path).eval(), OmniVLModel.from_pretrained(tmp_path), load(tmp_path)):
        got = other.eval()(pixels(2, 8), ids, mask)
        assert all(torch.equal(got[key], expected[key]) for key in expected)
        assert other.temperature.item() == model.temperature.item()


def test_new_models_of_equal_seeds_are_equal():
    first, second = tiny_omnivl(3).state_dict(), tiny_omnivl(3).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_hidden_sizes_must_be_equal():
    with pytest.raises(ValueError, match="hidden_size 32 as of vision_config"):
        OmniVLConfig(vision_config={"hidden_size": 32, "num_attention_heads": 4}, text_config={"hidden_size": 64})


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"tubelet_size": 3}, "num_frames"),
        ({"space_time_attention": "none"}, "divided or joint"),
        ({"patch_size": 5}, "image_size"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(given, told):
    with pytest.raises(ValueError, match=told):
        tiny_config(**given)


def test_classifier_has_a_head_over_the_encoder():
    config = tiny_config(num_labels=4).vision_config
    model = OmniVLForVisualClassification(config).eval()
    out = model(pixels(3, 8), labels=torch.tensor([0, 1, 3]))
    assert out.logits.shape == (3, 4)
    assert out.loss.isfinite()
    assert isinstance(model.visual_encoder.layers[0], SpaceTimeLayer)


def test_package_is_light():
    code = "import fmcompress.models, sys; assert not {'torch', 'transformers'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize("name", ["enc_token_id", "dec_token_id"])
@pytest.mark.parametrize("token", [-1, 50])
def test_tokens_that_no_text_has_are_refused(name, token):
    with pytest.raises(ValueError, match=f"{name}: expected one of 50 tokens"):
        OmniVLConfig(**{**tiny_config(50).to_dict(), name: token})
