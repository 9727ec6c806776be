"""Rows of text for models with bounds of their own: positions, a decoder's first tokens, a vocabulary."""

import pytest
import torch
from text_cases import EXAMPLES, TEXTS, tokenizer
from transformers import (
    BartConfig,
    BartForConditionalGeneration,
    GPT2Config,
    GPT2LMHeadModel,
    OPTConfig,
    OPTForCausalLM,
)

from fmcompress.errors import CheckpointError, ConfigError, LanguageModelError
from fmcompress.language_model import TransformersLanguageModel
from fmcompress.training.start import new_tokenizer
from fmcompress.training.text_objective import TextObjective
from fmcompress.training.text_rows import IGNORED, Row, RowTokenizer

POSITIONS, FORCED = 24, 5
LONG = [(Row("1 + 2 " * 40, "3", "label"), Row("1", "3 " * 40, "why"), Row("2 + 1 " * 20, "3 " * 20, "why"))]


def bounded(kind, vocabulary=None):
    words, torch_state = tokenizer(), torch.get_rng_state()
    torch.manual_seed(0)
    common = {"vocab_size": vocabulary or len(words), "pad_token_id": 0, "eos_token_id": 1}
    if kind == "gpt2":
        model = GPT2LMHeadModel(GPT2Config(n_positions=POSITIONS, n_embd=16, n_layer=1, n_head=2, **common))
    elif kind == "opt":
        size = {"hidden_size": 16, "word_embed_proj_dim": 16, "ffn_dim": 16, "num_hidden_layers": 1}
        model = OPTForCausalLM(OPTConfig(max_position_embeddings=POSITIONS, num_attention_heads=2, **size, **common))
    else:
        halves = {f"{half}_{name}": 1 for half in ("encoder", "decoder") for name in ("layers", "attention_heads")}
        size = {"d_model": 16, "encoder_ffn_dim": 16, "decoder_ffn_dim": 16, "max_position_embeddings": POSITIONS}
        model = BartForConditionalGeneration(BartConfig(**halves, **size, decoder_start_token_id=1, **common))
        model.generation_config.forced_bos_token_id = FORCED
    torch.set_rng_state(torch_state)
    return model, words


@pytest.mark.parametrize("kind", ["gpt2", "opt", "bart"])
def test_what_is_longer_than_the_model_takes_is_cut_at_the_end_that_says_least(kind):
    model, words = bounded(kind)
    what = TextObjective(model, words, LONG, {"label": 1.0, "why": 1.0})
    assert what.cut == 3
    prompt, _, both = what.examples[0]
    assert len(prompt.prompt) == POSITIONS if kind == "bart" else len(prompt.prompt) == POSITIONS + 1 - 2
    assert both.completion == (*words("3 " * 20, add_special_tokens=False)["input_ids"], 1)
    assert all(bool(loss.isfinite()) for losses in what.losses(0) for loss in losses.values())


def test_a_decoder_is_taught_behind_the_tokens_that_it_is_forced_to_begin_with():
    model, words = bounded("bart")
    rows = RowTokenizer(model, words)
    row = rows.tokens(EXAMPLES[5][0])
    batch = rows.batch([row], torch.device("cpu"))
    written = model.eval().generate(batch.inputs["input_ids"], max_new_tokens=3)
    begun = batch.inputs["decoder_input_ids"][0].tolist()
    assert begun[:2] == written[0, :2].tolist() == [1, FORCED]
    assert begun[2:] == list(row.completion[:-1])
    assert batch.labels[0].tolist() == [IGNORED, *row.completion]


def test_a_decoder_without_a_begin_and_tokens_that_a_model_lacks_are_refused():
    model, words = bounded("bart")
    model.generation_config.decoder_start_token_id = model.generation_config.bos_token_id = None
    with pytest.raises(ConfigError, match="decoder_start_token_id"):
        RowTokenizer(model, words)
    model, words = bounded("gpt2", 6)
    with pytest.raises(CheckpointError, match="expected tokens below 6"):
        TextObjective(model, words, EXAMPLES, {"label": 1.0, "why": 1.0})


def test_an_encoder_and_its_decoder_are_asked_within_their_positions():
    model, _ = bounded("bart")
    asked = TransformersLanguageModel.of(model.eval(), new_tokenizer(TEXTS, 400, "words"))
    assert len(asked.generate(["1 + 2"], max_tokens=5 * POSITIONS)) == 1
    with pytest.raises(LanguageModelError, match=f"the model takes {POSITIONS}"):
        asked.generate(["1 + 2 " * POSITIONS])
