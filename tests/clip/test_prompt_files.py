"""Tuned prompts on disk: what is written comes back, and nothing else is taken."""

import json

import pytest
import torch
from prompt_cases import CLASSES, KINDS, clip, clouds, made

from fmcompress.clip.files import write_tensors
from fmcompress.clip.prompt_files import load_prompt, save_prompt
from fmcompress.clip.prompt_models import LinearPrompt
from fmcompress.errors import CheckpointError, ConfigError

NAMES = ("a", "b", "c", "d")
MODEL = {"model": "clip", "revision": "1"}


@pytest.mark.parametrize("kind", KINDS)
def test_a_prompt_that_was_written_gives_the_same_logits(kind, tmp_path):
    model = clip()
    prompt, images = made(kind, model)
    with torch.no_grad():
        for values in prompt.parameters():
            values += torch.linspace(0, 0.1, values.numel()).reshape(values.shape)
    save_prompt(tmp_path / "p.safetensors", prompt, NAMES, MODEL)
    other, _ = made(kind, model)
    assert not torch.equal(other.logits(images, CLASSES), prompt.logits(images, CLASSES))
    assert load_prompt(tmp_path / "p.safetensors", other, NAMES, MODEL) == NAMES
    assert torch.equal(other.logits(images, CLASSES), prompt.logits(images, CLASSES))


def test_vectors_serve_other_classes_but_a_linear_prompt_does_not(tmp_path):
    words, _ = made("text", clip())
    save_prompt(tmp_path / "t.safetensors", words, NAMES)
    assert load_prompt(tmp_path / "t.safetensors", words, ("e", "f", "g", "h")) == NAMES
    linear = LinearPrompt(clouds()[0], 1.0)
    save_prompt(tmp_path / "l.safetensors", linear, NAMES)
    with pytest.raises(ConfigError, match="other classes, or another order"):
        load_prompt(tmp_path / "l.safetensors", linear, NAMES[::-1])


def test_what_is_no_such_prompt_is_told(tmp_path):
    model, path = clip(), tmp_path / "p.safetensors"
    words, _ = made("text", model)
    with pytest.raises(ConfigError, match=r"ends in \.safetensors"):
        save_prompt(tmp_path / "p.npy", words, NAMES)
    with pytest.raises(ConfigError, match="no such file"):
        load_prompt(path, words)
    save_prompt(path, words, NAMES, MODEL)
    with pytest.raises(ConfigError, match="expected a prompt of kind image, got text"):
        load_prompt(path, made("image", model)[0])
    with pytest.raises(ConfigError, match="expected tensors"):
        load_prompt(path, made("text", model, places=5)[0])
    with pytest.raises(ConfigError, match="of another model"):
        load_prompt(path, words, NAMES, {**MODEL, "revision": "2"})
    write_tensors(path, {"x": clouds()[0]}, {"format": "another"})
    with pytest.raises(ConfigError, match="no prompt"):
        load_prompt(path, words)
    for classes in ("[", json.dumps(5)):
        facts = {"format": "fmcompress-prompt 1", "kind": "text", "classes": classes, "identity": "{}"}
        write_tensors(path, {"context": clouds()[0]}, facts)
        with pytest.raises(CheckpointError, match="damaged"):
            load_prompt(path, words)
