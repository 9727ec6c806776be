"""A checkpoint that continues text: the same whatever the batch, free of global generators; and its scores."""

import subprocess
import sys

import pytest
import torch
from architectures import zoo
from compression import run
from helpers import make_checkpoint

from fmcompress.calibration import encode_prompt, load_tokenizer
from fmcompress.errors import ConfigError, LanguageModelError
from fmcompress.language_model import Score, TransformersLanguageModel
from fmcompress.language_model.sampling import draw
from fmcompress.runtime import load
from fmcompress.runtime.generation import GREEDY

PROMPTS = ["The list", "Once a function is called, its arguments are", "A", "class Node:\n    def"]


@pytest.fixture(scope="module")
def demo(demo_model):
    return TransformersLanguageModel(demo_model, batch=3)


def naive(model, tokenizer, prompt, tokens):
    ids = encode_prompt(tokenizer, prompt)
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=tokens, **GREEDY)
    return tokenizer.decode(out[0])[len(tokenizer.decode(ids[0])) :]


def test_greedy_text_is_that_of_each_prompt_alone(demo, demo_model):
    model, tokenizer = load(demo_model), load_tokenizer(demo_model)
    expected = [[naive(model, tokenizer, prompt, 20)] for prompt in PROMPTS]
    assert demo.generate(PROMPTS, max_tokens=20) == expected
    assert demo.generate(PROMPTS[::-1], max_tokens=20) == expected[::-1]
    assert demo.generate(PROMPTS[:1], max_tokens=20, samples=3) == [expected[0] * 3]


def test_drawn_text_follows_seed_and_sample_whatever_the_batch(demo):
    asked = {"max_tokens": 12, "temperature": 1.0, "top_p": 0.9, "samples": 4}
    before = torch.get_rng_state()
    texts = demo.generate(PROMPTS, seed=1, **asked)
    assert all(len(set(some)) > 1 for some in texts)
    assert demo.generate(PROMPTS[2:], seed=1, **asked) == texts[2:]
    assert demo.generate(PROMPTS, seed=2, **asked) != texts
    assert torch.equal(torch.get_rng_state(), before)


def test_a_token_is_drawn_as_often_as_it_is_likely():
    logits = torch.tensor([0.5, 0.2, 0.3]).log().repeat(1000, 1)
    uniform = torch.linspace(0, 1, 1001, dtype=torch.float64)[:-1]
    count = lambda t, p: torch.bincount(draw(logits, uniform, t, p), minlength=3).tolist()  # noqa: E731
    assert count(1.0, 1.0) == pytest.approx([500, 200, 300], abs=1)
    assert count(1.0, 0.6) == pytest.approx([625, 0, 375], abs=1)  # those before the last have less than 0.6
    assert count(1.0, 0.5) == [1000, 0, 0]
    assert count(0.5, 1.0) == pytest.approx([658, 105, 237], abs=1)  # squares


def test_a_text_ends_before_a_stop(demo):
    whole = demo.generate(PROMPTS[:2], max_tokens=24)
    stop = whole[0][0][5:8]
    assert demo.generate(PROMPTS[:2], max_tokens=24, stop=[stop]) == [[t[0].split(stop)[0]] for t in whole]


def test_the_spaces_that_a_text_begins_with_are_kept(demo):
    text = demo.generate(["The list of"], max_tokens=4)[0][0]
    assert text[0].isspace()


def test_a_context_that_fills_ends_the_text_as_alone(tmp_path):
    model = TransformersLanguageModel(zoo.save(zoo.LANGUAGE["gpt2"], tmp_path / "m"))  # whose positions have an end
    prompts = ["The list", "The list " * 15]
    lengths = [len(model.encode(prompt)) for prompt in prompts]
    assert model.longest == 64 < lengths[1] + 50 < 64 + 50 > lengths[0] + 50
    assert model.generate(prompts, max_tokens=50) == [model.generate([p], max_tokens=50)[0] for p in prompts]
    with pytest.raises(LanguageModelError, match=r"prompt has \d+ tokens, and the model takes 64"):
        model.generate(["The list " * 200])
    with pytest.raises(LanguageModelError, match="and the model takes 64"):
        model.score("The list " * 15, ["The list " * 20])


@pytest.mark.parametrize("name", ["packed", "ct"])
def test_compressed_checkpoints_write_what_their_dense_twins_do(tmp_path, name):
    form = {"packed": "packed", "ct": "compressed-tensors"}[name]
    make_checkpoint(tmp_path / "m", hidden=64)
    options = {"method": "rtn", "bits": 8, "group_size": 32}
    run(tmp_path / "m", tmp_path / "small", format=form, **options)
    run(tmp_path / "m", tmp_path / "dense", format="dense", **options)
    small, dense = (TransformersLanguageModel(tmp_path / n) for n in ("small", "dense"))
    assert small.generate(PROMPTS, max_tokens=8) == dense.generate(PROMPTS, max_tokens=8)


def naive_score(model, tokenizer, prefix, text):
    head, both = (encode_prompt(tokenizer, t)[0] for t in (prefix, prefix + text))
    logits = torch.log_softmax(model(input_ids=both[None]).logits[0].double(), -1)
    places = range(len(head), len(both))
    return Score(sum(float(logits[at - 1, both[at]]) for at in places), len(places))


def test_scores_are_those_of_the_whole_text(demo, demo_model):
    model, tokenizer = load(demo_model), load_tokenizer(demo_model)
    texts = [" of arguments", " x", " is a function that returns the given value.", " of", " None"]
    for found, text in zip(demo.score("The list", texts), texts, strict=True):
        expected = naive_score(model, tokenizer, "The list", text)
        assert found.tokens == expected.tokens
        assert found.log_probability == pytest.approx(expected.log_probability, abs=1e-4)


def test_the_prefix_is_read_once(demo, monkeypatch):
    lengths = []
    forward = demo.model.forward
    spy = lambda *a, **k: lengths.append(tuple(k["input_ids"].shape)) or forward(*a, **k)  # noqa: E731
    monkeypatch.setattr(demo.model, "forward", spy)
    head = len(demo.encode("The list of arguments"))
    demo.score("The list of arguments", [" is", " of them all", " was", " or the other"])
    assert lengths[0] == (1, head)
    assert sum(rows * cols for rows, cols in lengths[1:]) < 4 * head + 8


def test_a_token_across_the_boundary_is_taken_apart(demo):
    tokenizer = demo.tokenizer
    apart = demo.score("The li", ["st"])[0]
    assert tokenizer("The list")["input_ids"][:-1] != tokenizer("The li")["input_ids"]
    assert apart.tokens == len(tokenizer("st", add_special_tokens=False)["input_ids"])


def test_scores_of_nothing(demo):
    assert demo.score("The list", []) == []
    with pytest.raises(LanguageModelError, match="holds no tokens"):
        demo.score("The list", [" of", ""])


@pytest.mark.parametrize("name", ["gpt2", "opt", "bloom", "gemma3", "mistral", "t5", "bart"])
def test_other_architectures(tmp_path, name):
    check(TransformersLanguageModel(zoo.save(zoo.ZOO[name], tmp_path / "m")))


def test_recurrent_layers_read_the_prefix_for_each(tmp_path):
    """Their states cannot be repeated: what is computed is the same."""
    layers = ["conv", "full_attention"]
    kind = zoo.Kind("lfm2", "Lfm2ForCausalLM", (), {**zoo.GROUPED, "layer_types": layers})
    check(TransformersLanguageModel(zoo.save(kind, tmp_path / "m")))


def check(model):
    """Texts do not depend on the batch, nor scores; those are the whole text's, also past a sliding window of 8."""
    asked = {"max_tokens": 8, "temperature": 1.0, "samples": 2}
    assert model.generate(PROMPTS, **asked) == [model.generate([prompt], **asked)[0] for prompt in PROMPTS]
    prefix, texts = "The list of the arguments that a function takes", [" of arguments", " x", " is a list of texts"]
    assert len(model.encode(prefix)) > 8
    scores = model.score(prefix, texts)
    model.batch = 1
    for one, other in zip(scores, model.score(prefix, texts), strict=True):
        assert one.log_probability == pytest.approx(other.log_probability, abs=1e-4)
    if not model.answers:
        for found, text in zip(scores, texts, strict=True):
            expected = naive_score(model.model, model.tokenizer, prefix, text)
            assert found.tokens == expected.tokens
            assert found.log_probability == pytest.approx(expected.log_probability, abs=1e-4)


def test_an_encoder_decoder_is_scored_by_its_own_loss(tmp_path):
    model = TransformersLanguageModel(zoo.save(zoo.ZOO["t5"], tmp_path / "m"))
    tail = torch.tensor([model.tokenizer(" of arguments", add_special_tokens=False)["input_ids"]])
    head = torch.tensor([model.encode("The list")])
    loss = float(model.model(input_ids=head, labels=tail).loss)
    found = model.score("The list", [" of arguments", " x"])[0]
    assert found.tokens == tail.shape[1]
    assert found.log_probability == pytest.approx(-loss * tail.shape[1], abs=1e-4)


def test_nothing_is_said_on_the_way(demo_model):
    code = (
        "from fmcompress.language_model import TransformersLanguageModel as T\n"
        f"m = T({str(demo_model)!r}, 'cpu'); m.generate(['A', 'The list'], max_tokens=3, temperature=1.0, stop=['x'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")


def test_what_cannot_be_asked(demo, demo_model):
    with pytest.raises(ConfigError, match="no chat template"):
        TransformersLanguageModel(demo_model, chat=True)
    for wrong, told in (
        ({"temperature": -1}, "temperature: expected 0 or more"),
        ({"top_p": 0}, "top_p: expected more than 0"),
        ({"samples": 0}, "samples"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"stop": ["a", ""]}, "stop: expected texts that are not empty"),
        ({"stop": "end"}, "stop: expected a list"),
    ):
        with pytest.raises(ConfigError, match=told):
            demo.generate(["A"], **wrong)
