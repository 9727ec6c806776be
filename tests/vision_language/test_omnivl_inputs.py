import numpy as np
import pytest
import torch
from PIL import Image
from training_cases import TEXTS, made
from transformers import BertConfig

from fmcompress.errors import CalibrationError, CheckpointError
from fmcompress.vision_language.omnivl.inputs import OmniVLInputs, make_inputs


def test_texts_become_tokens_and_texts_again(tmp_path):
    inputs = made(tmp_path, longest=32)
    ids, mask = inputs.tokens([TEXTS[0], "a", "an Ünseen wörd"])
    text = inputs.config.text_config
    begin, end = inputs.tokenizer.cls_token_id, text.sep_token_id
    assert ids.dtype == mask.dtype == torch.int64
    assert ids.shape == mask.shape
    for row, kept in zip(ids.tolist(), mask.sum(dim=1).tolist(), strict=True):
        assert (row[0], row[kept - 1]) == (begin, end)
        assert end not in row[: kept - 1]
        assert set(row[kept:]) <= {text.pad_token_id}
    ids[:, 0] = inputs.config.dec_token_id
    assert inputs.decode(ids) == [TEXTS[0], "a", "an Ünseen wörd"]


def test_new_tokenizer_ends_with_the_decoders_tokens(tmp_path):
    inputs = made(tmp_path)
    count = len(inputs.tokenizer)
    assert inputs.tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [count - 2, count - 1]
    assert (inputs.config.dec_token_id, inputs.config.enc_token_id) == (count - 2, count - 1)


def test_special_tokens_in_a_text_are_letters(tmp_path):
    inputs = made(tmp_path)
    ids, _ = inputs.tokens(["a [SEP][DEC]"])
    assert (ids == inputs.config.text_config.sep_token_id).sum() == 1
    assert inputs.config.dec_token_id not in ids
    assert inputs.decode(ids) == ["a [SEP][DEC]"]


def test_long_texts_are_cut_and_counted(tmp_path):
    inputs = made(tmp_path)
    ids, mask = inputs.tokens(["a " * 40, "a", "b " * 15])
    assert ids.shape == (3, 16)
    assert mask.sum(dim=1).tolist() == [16, 3, 16]
    assert ids[0, -1] == ids[2, -1] == inputs.config.text_config.sep_token_id
    inputs.tokens(["a " * 40])  # again
    assert inputs.cut == 2
    assert inputs.notes == ["2 texts were longer than 16 tokens and lost their end."]


def test_pixels_are_what_the_processor_makes_of_frames(tmp_path):
    inputs = made(tmp_path)
    video = np.random.default_rng(0).integers(0, 256, (4, 28, 28, 3), np.uint8)
    np.save(tmp_path / "film.npy", video)
    Image.fromarray(video[2]).save(tmp_path / "one.png")
    expected = torch.from_numpy(video).permute(0, 3, 1, 2).float() / 127.5 - 1
    torch.testing.assert_close(inputs.pixels([tmp_path / "film.npy"] * 2), expected.expand(2, -1, -1, -1, -1))
    torch.testing.assert_close(inputs.pixels([tmp_path / "one.png"])[0], expected[2])
    torch.testing.assert_close(inputs.image(tmp_path / "film.npy"), expected[2])
    assert inputs.pixels([tmp_path / "one.png", tmp_path / "film.npy"], 8).shape == (2, 8, 3, 28, 28)


def test_images_among_videos_are_refused(tmp_path):
    inputs = made(tmp_path)
    np.save(tmp_path / "film.npy", np.zeros((4, 9, 9, 3), np.uint8))
    Image.new("RGB", (40, 30)).save(tmp_path / "one.png")
    assert inputs.pixels([tmp_path / "one.png"]).shape == (1, 3, 28, 28)
    with pytest.raises(CalibrationError, match=r"film\.npy: a video among images"):
        inputs.pixels([tmp_path / "one.png", tmp_path / "film.npy"])


def test_parts_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="no config of OmniVL"):
        OmniVLInputs(tmp_path)
    inputs = made(tmp_path, image_size=14)
    Image.new("RGB", (40, 30)).save(tmp_path / "one.png")
    with pytest.raises(CheckpointError, match="14 x 14 pixels, but its processor gives"):
        inputs.pixels([tmp_path / "one.png"])
    (tmp_path / "bert").mkdir()
    BertConfig().save_pretrained(tmp_path / "bert")
    with pytest.raises(CheckpointError, match="of type omnivl, got bert"):
        OmniVLInputs(tmp_path / "bert")
    inputs.config.text_config.sep_token_id = 9
    inputs.config.save_pretrained(tmp_path)
    with pytest.raises(CheckpointError, match=r"are 9 and 0 as config\.json says"):
        OmniVLInputs(tmp_path)


def test_tokenizer_of_a_bert_gets_two_tokens_more(tmp_path):
    from transformers import BertTokenizerFast

    bert, out = tmp_path / "bert", tmp_path / "out"
    bert.mkdir(), out.mkdir()
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "red", "seven", "[", "]", "de", "##c"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(tmp_path / "vocab.txt")).save_pretrained(bert)
    tokenizer = make_inputs(out, [], image_size=28, bert=bert)
    assert len(tokenizer) == len(words) + 2
    assert tokenizer.convert_tokens_to_ids(["[DEC]", "[ENC]"]) == [len(words), len(words) + 1]
    with pytest.raises(CheckpointError, match=r"has \[DEC\] or \[ENC\] already"):
        make_inputs(tmp_path, [], image_size=28, bert=out)
