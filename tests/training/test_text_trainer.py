"""Training of language models: it learns, goes on to the bit, and keeps zeros."""

import pytest
import torch
from text_cases import EXAMPLES, TEXTS, tokenizer, trainer

from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.language_model import TransformersLanguageModel
from fmcompress.training.start import load_trainable, new_model, new_tokenizer, zeros_of

KINDS = ["t5", "llama"]


def weights(what):
    return {name: one.detach().clone() for name, one in what.model.named_parameters()}


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_model_learns_all_of_sixteen_examples_and_answers_them(kind, tmp_path):
    what = trainer(kind, steps=200, learning_rate=5e-3)
    what.run()
    words = tokenizer()
    what.model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    asked = TransformersLanguageModel(tmp_path)
    rows = [row for pair in EXAMPLES for row in pair]
    answers = asked.generate([row.prompt for row in rows], max_tokens=16)
    assert [answer.strip() for (answer,) in answers] == [row.completion.strip() for row in rows]


@pytest.mark.parametrize("kind", KINDS)
def test_a_training_that_goes_on_ends_with_the_same_bits(kind):
    whole = trainer(kind, micro_batch=8)
    whole.run()
    first = trainer(kind, micro_batch=8)
    first.run(until=3)
    state = {part: {name: one.clone() for name, one in tensors.items()} for part, tensors in first.state().items()}
    second = trainer(kind, micro_batch=8)
    second.load(3, state)
    second.run()
    assert all(torch.equal(one, weights(second)[name]) for name, one in weights(whole).items())


@pytest.mark.parametrize("kind", KINDS)
def test_zeros_stay_and_the_rest_learns(kind):
    torch.manual_seed(0)
    plain = trainer(kind, steps=3)
    zeros = {}
    for name, module in plain.model.named_modules():
        if isinstance(module, torch.nn.Linear) and module.weight is not plain.model.get_input_embeddings().weight:
            zeros[f"{name}.weight"] = torch.rand(module.weight.shape) < 0.5
    pruned = trainer(kind, steps=3)
    with torch.no_grad():
        for name, zero in zeros.items():
            dict(pruned.model.named_parameters())[name][zero] = 0
    pruned = type(pruned)(pruned.objective, 3, pruned.schedule, zeros)
    before = weights(pruned)
    assert zeros_of(pruned.model).keys() == zeros.keys()
    pruned.run()
    for name, one in weights(pruned).items():
        if name in zeros:
            assert torch.equal(one == 0, zeros[name]), name
        if name in zeros or "norm" not in name:
            assert not torch.equal(one, before[name]), name


def test_zeros_that_are_none_are_told():
    with pytest.raises(ConfigError, match="is 0 wherever"):
        trainer(zeros={"shared.weight": torch.ones(1, 1, dtype=torch.bool)})
    name, weight = next((n, w) for n, w in trainer().model.named_parameters() if n.endswith("q.weight"))
    with pytest.raises(ConfigError, match="is 0 wherever"):
        trainer(zeros={name: torch.ones_like(weight, dtype=torch.bool)})


def test_a_loss_that_is_no_number_leaves_the_model_as_it_was():
    what = trainer(steps=2)
    before = weights(what)
    hook = what.model.lm_head.register_forward_hook(lambda *call: call[2] * float("inf"))
    with pytest.raises(CalibrationError, match="lower --learning-rate"):
        what.one()
    hook.remove()
    assert all(torch.equal(one, before[name]) for name, one in weights(what).items())


def test_a_state_of_another_model_is_refused():
    what, other = trainer("t5"), trainer("llama")
    what.run(until=1)
    with pytest.raises(ConfigError, match="this training"):
        other.load(1, what.state())


@pytest.mark.parametrize("kind", KINDS)
def test_a_checkpoint_is_loaded_to_learn(kind, tmp_path):
    words = tokenizer()
    model = new_model(kind, words, seed=3, width=32, heads=2)
    model.save_pretrained(tmp_path)
    words.save_pretrained(tmp_path)
    loaded, _ = load_trainable(tmp_path)
    own, theirs = dict(model.named_parameters()), dict(loaded.named_parameters())
    assert own.keys() == theirs.keys()
    assert all(torch.equal(own[name], theirs[name]) and theirs[name].requires_grad for name in own)


@pytest.mark.parametrize("kind", ["bpe", "words"])
def test_a_new_tokenizer_writes_what_it_read(kind):
    words = new_tokenizer(TEXTS, 400, kind)
    for text in TEXTS:
        ids = words(text.strip(), add_special_tokens=False)["input_ids"]
        assert words.decode(ids).strip() == text.strip()
        assert words.unk_token_id not in ids
    again = new_tokenizer(list(reversed(TEXTS)), 400, kind)
    assert again.get_vocab() == words.get_vocab()


def test_equal_seeds_give_equal_models_and_the_global_generator_stays():
    words = tokenizer()
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    one, two, other = (new_model("t5", words, seed=seed, width=32, heads=2) for seed in (1, 1, 2))
    assert torch.equal(torch.rand(3), expected)
    assert torch.equal(one.shared.weight, two.shared.weight)
    assert not torch.equal(one.shared.weight, other.shared.weight)


@pytest.mark.parametrize("sizes", [{"width": 30, "heads": 4}, {"no_such_field_at_all": 1}])
def test_sizes_that_do_not_fit_are_told(sizes):
    with pytest.raises(ConfigError, match="sizes of the model"):
        new_model("t5", tokenizer(), **sizes)
