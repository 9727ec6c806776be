"""Two-tower models of transformers: against the library itself, by family, dense and packed, and what is refused."""

import json
import shutil

import numpy as np
import pytest
import tiny_models
import torch
from helpers import CPU, Silent
from safetensors.torch import load_file, save_file

from fmcompress.clip import load_encoder, predict
from fmcompress.clip.siglip_text import canonicalised
from fmcompress.errors import CheckpointError, ConfigError

TEXTS = ["a photo of a cat.", "Two_dogs, asleep!", "x"]
LONG = "word " * 40


@pytest.fixture(scope="module", params=tiny_models.FAMILIES)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    return tiny_models.save(family, tmp_path_factory.mktemp(family) / "model")


@pytest.fixture(scope="module")
def encoder(folder):
    return load_encoder(folder, device="cpu", batch_size=2)


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    return tiny_models.make_images(tmp_path_factory.mktemp("images"), 5)


def of_transformers(folder, texts=None, images=None):
    """As the model cards have it."""
    import transformers
    from PIL import Image

    model = transformers.AutoModel.from_pretrained(folder).eval()
    if texts is None:
        processor = transformers.AutoImageProcessor.from_pretrained(folder, backend="pil")
        inputs = processor(images=[Image.open(path).convert("RGB") for path in images], return_tensors="pt")
        found = model.get_image_features(**inputs)
    else:
        siglip = model.config.model_type.startswith("siglip")
        tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
        options = {"padding": "max_length", "max_length": 64 if siglip else None} if siglip else {"padding": True}
        inputs = tokenizer(texts, truncation=siglip, return_tensors="pt", **options)
        inputs.pop("token_type_ids", None)
        found = model.get_text_features(**({"input_ids": inputs["input_ids"]} if siglip else inputs))
    return torch.nn.functional.normalize(found.pooler_output.detach()).numpy()


def test_images_are_those_of_transformers(encoder, folder, paths):
    rows = encoder.encode_images(paths)
    assert rows.shape == (5, encoder.dim)
    assert rows.dtype == np.float32
    assert abs(rows - of_transformers(folder, images=paths)).max() < 1e-6
    assert abs(np.linalg.norm(rows, axis=1) - 1).max() < 1e-6


def test_texts_are_those_of_transformers(encoder, folder, family):
    given = [canonicalised(text) for text in TEXTS] if family.startswith("siglip") else TEXTS
    rows = encoder.encode_text(TEXTS)
    assert abs(rows - of_transformers(folder, texts=given)).max() < 1e-6
    assert abs(rows[0] - rows[2]).max() > 0.01


def test_batches_do_not_matter(encoder, folder, paths):
    """Beside a long text a short one is padded: that must change nothing."""
    texts = [*TEXTS, LONG]
    alone = np.concatenate([encoder.encode_text([text]) for text in texts])
    assert abs(load_encoder(folder, device="cpu", batch_size=9).encode_text(texts) - alone).max() < 1e-6
    alone = np.concatenate([encoder.encode_images([path]) for path in paths])
    assert abs(encoder.encode_images(paths) - alone).max() < 1e-6


def test_images_in_memory_are_those_of_files(encoder, paths):
    from PIL import Image

    opened = [Image.open(path) for path in paths]
    assert (encoder.encode_images(opened) == encoder.encode_images(paths)).all()


def test_cut_texts_are_counted(folder):
    encoder = load_encoder(folder, device="cpu")
    encoder.encode_text(TEXTS)
    assert encoder.notes == []
    encoder.encode_text([LONG, "another"])
    told = f"1 of 5 texts are longer than the model's {encoder.max_tokens} tokens: their ends were cut"
    assert encoder.notes == [told]
    encoder.encode_text([LONG])  # each counts once
    assert encoder.notes == [told]


def test_scale_and_bias_are_the_stored_ones(encoder, folder, family):
    stored = load_file(folder / "model.safetensors")
    if family == "align":
        assert encoder.logit_scale == pytest.approx(1 / 0.05)
    else:
        assert encoder.logit_scale == pytest.approx(float(stored["logit_scale"].exp()))
    assert encoder.logit_bias == (float(stored["logit_bias"]) if family.startswith("siglip") else 0)


def test_the_identity_follows_what_decides_embeddings(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "copy")
    one = load_encoder(copy, device="cpu").identity
    assert one == load_encoder(folder, device="cpu").identity
    assert one["normalised"] is True
    (copy / "README.md").write_text("Another story of the same model")
    assert load_encoder(copy, device="cpu").identity == one
    assert load_encoder(copy, device="cpu", dtype="bfloat16").identity != one
    config = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps({**config, "image_mean": [0.4, 0.4, 0.4]}))
    changed = load_encoder(copy, device="cpu").identity
    assert changed["revision"] != one["revision"]
    tensors = load_file(copy / "model.safetensors")
    tensors["logit_scale" if "logit_scale" in tensors else "temperature"].add_(1e-3)
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    assert load_encoder(copy, device="cpu").identity["revision"] not in (one["revision"], changed["revision"])


def test_lower_precision_is_near(encoder, folder, paths):
    half = load_encoder(folder, device="cpu", dtype="bfloat16")
    assert (half.encode_images(paths) * encoder.encode_images(paths)).sum(1).min() > 0.99
    assert half.logit_scale == encoder.logit_scale  # as stored, not rounded


def test_what_is_not_finite_is_told(folder, tmp_path, paths):
    copy = shutil.copytree(folder, tmp_path / "copy")
    tensors = load_file(copy / "model.safetensors")
    for name, tensor in tensors.items():
        if "patch_embedding" in name or "embeddings.convolution" in name:
            tensor.flatten()[0] = torch.nan
    save_file(tensors, copy / "model.safetensors", {"format": "pt"})
    with pytest.raises(ConfigError, match="images: of number 0 come numbers that are not finite"):
        load_encoder(copy, device="cpu").encode_images(paths)


def test_bad_items_are_told(encoder, tmp_path):
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"a\.png: cannot be read as an image"):
        encoder.encode_images([tmp_path / "a.png"])
    for texts in ([""], ["a", "  "], [3]):
        with pytest.raises(ConfigError, match="texts: expected texts that are not empty"):
            encoder.encode_text(texts)
    assert encoder.encode_text([]).shape == encoder.encode_images([]).shape == (0, encoder.dim)


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_pruned_and_packed_models_embed(kind, tmp_path, paths):
    """A packed model gives the embeddings of the dense one that it stands for."""
    from fmcompress.config import PruneConfig
    from fmcompress.pipeline import compress_checkpoint, prepare

    model = tiny_models.save(kind, tmp_path / "model")
    for name, form in (("dense", "dense"), ("packed", "packed")):
        config = PruneConfig(method="magnitude", sparsity=0.5, format=form)
        compress_checkpoint(prepare(model, config, None, CPU), tmp_path / name, Silent())
    assert (tmp_path / "packed" / "packed.safetensors").exists()
    dense, packed = (load_encoder(tmp_path / name, device="cpu") for name in ("dense", "packed"))
    assert any(type(module).__name__ == "PackedLinear" for module in packed.model.modules())
    assert abs(dense.encode_images(paths) - packed.encode_images(paths)).max() < 1e-5
    assert abs(dense.encode_text(TEXTS) - packed.encode_text(TEXTS)).max() < 1e-5
    assert packed.logit_scale == dense.logit_scale
    full = load_encoder(model, device="cpu")
    assert abs(full.encode_images(paths) - dense.encode_images(paths)).max() > 1e-3


def test_quantized_models_embed(tmp_path, paths):
    """As compressed-tensors stores them."""
    from fmcompress.config import QuantizeConfig
    from fmcompress.pipeline import compress_checkpoint, prepare

    model = tiny_models.save("clip", tmp_path / "model")
    found = {}
    for form in ("compressed-tensors", "dense"):
        config = QuantizeConfig(method="rtn", bits=8, group_size=16, format=form)
        compress_checkpoint(prepare(model, config, None, CPU), tmp_path / form, Silent())
        found[form] = load_encoder(tmp_path / form, device="cpu").encode_images(paths)
    assert abs(found["dense"] - found["compressed-tensors"]).max() < 1e-5
    full = load_encoder(model, device="cpu").encode_images(paths)
    assert 0 < abs(full - found["dense"]).max() < 0.1


def test_what_is_no_model_of_two_towers_is_refused(tmp_path, demo_model):
    with pytest.raises(ConfigError, match="expected a model of clip, siglip, siglip2, align, altclip, omnivl, got"):
        load_encoder(demo_model)
    with pytest.raises(ConfigError, match="no such folder"):
        load_encoder(tmp_path / "absent")
    with pytest.raises(CheckpointError, match="holds neither"):
        load_encoder(tmp_path)
    folder = tiny_models.save("clip", tmp_path / "clip")
    with pytest.raises(ConfigError, match="batch size: expected at least 1, got 0"):
        load_encoder(folder, batch_size=0)
    with pytest.raises(ConfigError, match="dtype: expected float32, bfloat16 or float16, got 'int8'"):
        load_encoder(folder, dtype="int8")
    (folder / "preprocessor_config.json").unlink()
    encoder = load_encoder(folder, device="cpu")
    assert len(encoder.encode_text(["text needs no processor"])) == 1
    with pytest.raises(CheckpointError, match="its image processor does not load"):
        encoder.encode_images([tmp_path / "a.png"])


def test_siglip_reads_canonical_text():
    assert canonicalised(" A photo,\tof  a Ice_Cream-cone! ") == "a photo of a ice creamcone"


def test_siglip_gives_one_row_for_all_spellings(tmp_path):
    encoder = load_encoder(tiny_models.save("siglip2", tmp_path / "model"), device="cpu")
    rows = encoder.encode_text(["A photo of a cat.", "a photo of a cat", "a photo of a dog"])
    assert predict(rows[:2], rows[1:]).tolist() == [0, 0]
    assert (rows[0] == rows[1]).all()
