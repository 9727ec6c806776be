"""CLIP's real tokenizer in a tiny CLIP: its published tokens, and the end that is kept when a text is cut."""

import gzip

import pytest
import tiny_models
import transformers

from fmcompress.clip import load_encoder


def byte_letters():
    """Bytes as letters that can be seen: those that can be stay, the others follow from 256 on."""
    seen = [*range(33, 127), *range(161, 173), *range(174, 256)]
    return [chr(byte) for byte in seen] + [chr(256 + n) for n in range(256 - len(seen))]


@pytest.fixture(scope="module")
def folder(shared_data, tmp_path_factory):
    lines = gzip.decompress((shared_data / "clip-tokenizer" / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode()
    merges = [tuple(line.split()) for line in lines.split("\n")[1 : 49152 - 256 - 2 + 1]]
    letters = byte_letters()
    tokens = [*letters, *(letter + "</w>" for letter in letters), *map("".join, merges)]
    tokens += ["<|startoftext|>", "<|endoftext|>"]
    vocab = {token: number for number, token in enumerate(tokens)}
    folder = tiny_models.save("clip", tmp_path_factory.mktemp("clip") / "model", tokens=len(vocab))
    transformers.CLIPTokenizer(vocab=vocab, merges=merges).save_pretrained(folder)
    return folder


def test_tokens_are_the_published_ones(folder):
    encoder = load_encoder(folder, device="cpu")
    for text, tokens in {
        "a photo of a cat": [49406, 320, 1125, 539, 320, 2368, 49407],
        "Hello, WORLD!": [49406, 3306, 267, 1002, 256, 49407],
    }.items():
        assert encoder.tokenizer(text)["input_ids"] == tokens


def test_the_end_stays_when_a_text_is_cut(folder):
    encoder = load_encoder(folder, device="cpu")
    tokens = encoder._tokens(["cat " * 100, "dog"])["input_ids"]
    assert tokens.shape == (2, 24)
    assert tokens[0, -1] == 49407
    encoder.encode_text(["cat " * 100, "dog"])
    assert "1 of 2 texts are longer than the model's 24 tokens" in encoder.notes[0]
