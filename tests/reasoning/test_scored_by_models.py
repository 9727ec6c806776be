"""Statements scored by transformers models: as plain forward passes have it, whatever is scored beside them."""

import pytest
import torch
from architectures import zoo

from fmcompress.language_model import TransformersLanguageModel
from fmcompress.reasoning import ScoringSelector, TrainedPrompts

PROMPTS = TrainedPrompts()
SHORT, QUESTION = ("It is a list.", "All is well.", "A list is long."), "Is it long?"  # contexts end at 64 tokens


@pytest.fixture(scope="module", params=["gpt2", "llama", "t5"])
def ready(request, tmp_path_factory):
    return TransformersLanguageModel(zoo.save(zoo.ZOO[request.param], tmp_path_factory.mktemp(request.param) / "m"))


def plain(ready, prefix, text):
    """The log probability of a text by one forward pass over everything."""
    head, tail = ready.encode(prefix), ready.tokenizer(text, add_special_tokens=False)["input_ids"]
    with torch.inference_mode():
        if ready.answers:
            start = ready.model.generation_config.decoder_start_token_id
            inputs = {"input_ids": torch.tensor([head]), "decoder_input_ids": torch.tensor([[start, *tail[:-1]]])}
            logits = ready.model(**inputs).logits[0]
        else:
            logits = ready.model(input_ids=torch.tensor([head + tail])).logits[0, len(head) - 1 : -1]
    chances = torch.log_softmax(logits.double(), -1)
    return sum(float(chances[place, token]) for place, token in enumerate(tail))


def test_the_selection_is_what_plain_passes_say(ready):
    selected = ScoringSelector(ready, PROMPTS, 2).select(SHORT, QUESTION)
    total, chosen = 0.0, []
    for _ in range(2):
        prefix = PROMPTS.selection(SHORT, QUESTION, [SHORT[number] for number in chosen])
        scores = {n: plain(ready, prefix, PROMPTS.chosen(SHORT[n])) for n in range(3) if n not in chosen}
        chosen.append(max(scores, key=scores.__getitem__))
        total += scores[chosen[-1]]
    assert selected.numbers == tuple(chosen)
    assert selected.score == pytest.approx(total, abs=1e-4)


def test_a_score_does_not_depend_on_what_is_scored_beside_it(ready):
    prefix, texts = PROMPTS.selection(SHORT, QUESTION, []), [PROMPTS.chosen(one) for one in (*SHORT, "A.", "B c d.")]
    together = ready.score(prefix, texts)
    ready.batch = 2
    for text, found, few in zip(texts, together, ready.score(prefix, texts), strict=True):
        assert found.log_probability == pytest.approx(plain(ready, prefix, text), abs=1e-4)
        assert few.log_probability == pytest.approx(found.log_probability, abs=1e-5)


def test_the_encoder_runs_once(tmp_path, monkeypatch):
    ready = TransformersLanguageModel(zoo.save(zoo.ZOO["t5"], tmp_path / "m"), batch=2)
    encoder, passes = ready.model.get_encoder(), []
    forward = encoder.forward
    monkeypatch.setattr(encoder, "forward", lambda *a, **k: passes.append(1) or forward(*a, **k))
    ready.score("select: A. B.", [" A", " B", " C", " D", " E"])
    assert len(passes) == 1


def test_a_decoder_without_a_cache_begins_anew(tmp_path, monkeypatch):
    ready = TransformersLanguageModel(zoo.save(zoo.ZOO["t5"], tmp_path / "m"))
    texts = [" A", " B c d.", " E f"]
    expected, forward = ready.score("select: A. B.", texts), ready.model.forward

    def forgetful(*arguments, **named):
        found = forward(*arguments, **named)
        found.past_key_values = None
        return found

    monkeypatch.setattr(ready.model, "forward", forgetful)
    for found, known in zip(ready.score("select: A. B.", texts), expected, strict=True):
        assert found.log_probability == pytest.approx(known.log_probability, abs=1e-5)
