import pytest
import torch
from omnivl_cases import BEGIN, DEC, ENC, PAD, pixels, texts, tiny_config, tiny_omnivl
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertModel, ViTConfig, ViTModel

from fmcompress.errors import CheckpointError, ConfigError
from fmcompress.models.omnivl import config_of_parts, from_bert_, from_vit_, load_part
from fmcompress.models.omnivl.modelling import OmniVLModel

LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}


def vit(seed: int = 0, **given):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return ViTModel(
            ViTConfig(**{**LAYERS, "image_size": 28, "patch_size": 7, **given}), add_pooling_layer=False
        ).eval()


def bert(seed: int = 0, **given):
    config = BertConfig(**{**LAYERS, "vocab_size": 48, "max_position_embeddings": 16, **given})
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return BertModel(config, add_pooling_layer=False).eval()


def test_images_are_what_the_vit_makes_of_them_and_still_videos_too():
    source, model = vit(), tiny_omnivl()
    from_vit_(model.visual_encoder, source)
    expected = source(pixels(2)).last_hidden_state
    torch.testing.assert_close(model.visual_encoder(pixels(2)).last_hidden_state, expected, atol=0, rtol=0)
    still = pixels(2)[:, None].expand(-1, 8, -1, -1, -1)
    torch.testing.assert_close(model.visual_encoder(still).pooler_output, expected[:, 0], atol=5e-6, rtol=1e-5)


def test_text_encoder_is_the_bert():
    source, model = bert(), tiny_omnivl()
    from_bert_(model, source, class_token=BEGIN)
    ids, mask = texts(2)
    ids = ids.clamp(max=47)
    expected = source(ids, attention_mask=mask).last_hidden_state
    got = model.text_encoder(ids, attention_mask=mask).last_hidden_state
    torch.testing.assert_close(got[mask.bool()], expected[mask.bool()], atol=2e-6, rtol=1e-5)
    words = model.alignment_decoder.embeddings.word_embeddings.weight
    assert torch.equal(words[:48], source.embeddings.word_embeddings.weight)
    assert torch.equal(words[48:], source.embeddings.word_embeddings.weight[BEGIN].expand(2, -1))
    head = model.generation_decoder.cls.predictions.decoder.weight
    assert torch.equal(head[:48], source.embeddings.word_embeddings.weight)  # tied


def test_positions_of_other_sizes_are_interpolated():
    source, model = vit(image_size=56), tiny_omnivl()
    from_vit_(model.visual_encoder, source)
    assert torch.equal(model.visual_encoder.position_embeddings[:, 0], source.embeddings.position_embeddings[:, 0])


@pytest.mark.parametrize(
    "given", [{"num_hidden_layers": 1}, {"num_hidden_layers": 3}, {"intermediate_size": 48}, {"patch_size": 14}]
)
def test_vits_of_other_sizes_are_refused(given):
    with pytest.raises(ConfigError, match="expected"):
        from_vit_(tiny_omnivl().visual_encoder, vit(**given))


@pytest.mark.parametrize(
    "given", [{"num_hidden_layers": 3}, {"intermediate_size": 48}, {"vocab_size": 60}, {"max_position_embeddings": 8}]
)
def test_berts_of_other_sizes_are_refused(given):
    with pytest.raises(ConfigError, match="expected"):
        from_bert_(tiny_omnivl(), bert(**given), class_token=BEGIN)


def test_config_and_parts_from_folders(tmp_path):
    vit().save_pretrained(tmp_path / "vit")
    bert(max_position_embeddings=16, pad_token_id=PAD).save_pretrained(tmp_path / "bert")
    eye, words = load_part(tmp_path / "vit", "vit"), load_part(tmp_path / "bert", "bert")
    config = config_of_parts(eye, words, vocabulary=50, num_frames=4, projection_dim=8)
    model = OmniVLModel(config)
    from_vit_(model.visual_encoder, eye)
    from_bert_(model, words, class_token=BEGIN)
    assert (config.dec_token_id, config.enc_token_id) == (48, 49)
    assert model.get_image_features(pixels(1, 4)).shape == (1, 8)
    with pytest.raises(CheckpointError, match="type vit, got bert"):
        load_part(tmp_path / "bert", "vit")
    file = tmp_path / "vit" / "model.safetensors"
    tensors = load_file(file)
    save_file({name: one for name, one in tensors.items() if ".1." not in name}, file, metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match="expected all tensors of a ViTModel; 16 are missing"):
        load_part(tmp_path / "vit", "vit")  # and not a layer of random weights
    torch.save(tensors, tmp_path / "vit" / "pytorch_model.bin")
    file.unlink()
    with pytest.raises(CheckpointError, match="does not load as ViTModel"):  # pickle is never read
        load_part(tmp_path / "vit", "vit")
    (tmp_path / "vit" / "config.json").write_text('{"model_type": "vit", "hidden_act": "none"}')
    with pytest.raises(CheckpointError, match="does not load as ViTModel"):
        load_part(tmp_path / "vit", "vit")
    with pytest.raises(ConfigError, match="no such folder"):
        load_part(tmp_path / "none", "vit")


def test_special_tokens_differ():
    config = tiny_config()
    assert len({config.enc_token_id, config.dec_token_id, PAD, BEGIN}) == 4
    assert (config.enc_token_id, config.dec_token_id) == (ENC, DEC)
