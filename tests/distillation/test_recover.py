"""Recovery of pruned models: zeros stay in every format, the rest learns, the best step is kept."""

import json

import pytest
import torch
from helpers import DEMO, folder_bytes, make_text, run_prune
from recover_cases import assert_masks_intact, checkpoint, masks, pruned, recovered

from fmcompress.checkpoint import Checkpoint, obeys
from fmcompress.distillation.recover_writing import round_to_stored_
from fmcompress.distillation.teacher_logits import write_teacher_logits
from fmcompress.errors import CheckpointError, ConfigError, PayloadError
from fmcompress.formats import PackedCheckpoint, open_checkpoint, storage_of
from fmcompress.training.start import load_trainable, zeros_of


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    return make_text(tmp_path_factory.mktemp("text") / "text.txt", 4000)


@pytest.fixture(scope="module")
def dense(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("dense") / "model")


@pytest.fixture(scope="module")
def sparse(dense, tmp_path_factory):
    return pruned(dense, tmp_path_factory.mktemp("sparse") / "model")


class Notes:
    def __init__(self):
        self.notes = []

    def note(self, text):
        self.notes.append(text)

    def step(self, record, steps): ...

    def saved(self, record, steps): ...

    def stop(self):
        return False


def test_it_gains_and_tells_how_much(tmp_path):
    model, text = DEMO / "model", make_text(tmp_path / "text.txt", 40_000)
    sparse = pruned(model, tmp_path / "pruned", pattern="2:4")
    options = {"steps": 30, "batch_size": 4, "max_windows": 80, "sequence_length": 64, "learning_rate": None}
    facts = recovered(sparse, tmp_path / "out", model, text, **options)
    before, after, parent = (facts["perplexity"][name] for name in ("before", "after", "dense"))
    assert parent < after < before
    assert facts["regained"] == pytest.approx((before - after) / (before - parent))
    assert facts["regained"] > 0.1
    assert facts["best_step"] > 0
    assert facts["pruned"] == sum(int(zero.sum()) for zero in masks(sparse).values())
    assert json.loads((tmp_path / "out" / "fmcompress-training.json").read_text())["regained"] == facts["regained"]
    assert (tmp_path / "out" / "tokenizer.json").read_bytes() == (sparse / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("format", ["dense", "packed"])
@pytest.mark.parametrize("target", [{"pattern": "2:4"}, {"pattern": None, "sparsity": 0.6}])
def test_masks_stay_in_every_format(text, tmp_path, dtype, format, target):
    model = checkpoint(tmp_path / "model", dtype=dtype, shards=2)
    folder = pruned(model, tmp_path / "pruned", format=format, **target)
    facts = recovered(folder, tmp_path / "out", model, text, steps=8, valid_every=2)
    assert facts["best_step"] > 0
    assert_masks_intact(folder, tmp_path / "out")
    before, after = open_checkpoint(folder), open_checkpoint(tmp_path / "out")
    assert type(before) is type(after)
    for name, entry in after.tensors.items():
        assert (entry.dtype, entry.shape) == (before.tensors[name].dtype, before.tensors[name].shape)
        assert storage_of(after, name) == storage_of(before, name)
        if target["pattern"] and "proj" in name:
            assert obeys(after.read(name), 2, 4)
    assert not torch.equal(before.read("model.norm.weight"), after.read("model.norm.weight"))


def test_dense_and_packed_learn_the_same(dense, sparse, text, tmp_path):
    packed = pruned(dense, tmp_path / "packed", format="packed")
    recovered(sparse, tmp_path / "a", dense, text)
    recovered(packed, tmp_path / "b", dense, text)
    one, other = open_checkpoint(tmp_path / "a"), open_checkpoint(tmp_path / "b")
    assert isinstance(other, PackedCheckpoint)
    assert all(torch.equal(one.read(name), other.read(name)) for name in one.tensors)
    assert (tmp_path / "b" / "fmcompress.json").read_bytes() == (packed / "fmcompress.json").read_bytes()


def test_a_packed_teacher_teaches_as_a_dense_one_does(dense, sparse, text, tmp_path):
    parent = pruned(dense, tmp_path / "parent", sparsity=0.1, pattern=None, format="packed")
    facts = recovered(sparse, tmp_path / "out", parent, text, steps=8)
    assert facts["best_step"] > 0


@pytest.mark.parametrize("stored_twice", [False, True])
def test_tied_embeddings_learn_once_and_stay_tied(text, tmp_path, stored_twice):
    from safetensors.torch import load_file, save_file
    from transformers import AutoModelForCausalLM

    model = checkpoint(tmp_path / "model", tie_word_embeddings=True)
    folder = pruned(model, tmp_path / "pruned")
    if stored_twice:
        tensors = load_file(folder / "model.safetensors")
        tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].clone()
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    facts = recovered(folder, tmp_path / "out", model, text, steps=8)
    written = Checkpoint(tmp_path / "out")
    assert ("lm_head.weight" in written.tensors) == stored_twice
    if stored_twice:
        assert torch.equal(written.read("lm_head.weight"), written.read("model.embed_tokens.weight"))
    assert facts["learning"] == sum(one.numel() for one in AutoModelForCausalLM.from_pretrained(folder).parameters())
    before = Checkpoint(folder).read("model.embed_tokens.weight")
    assert not torch.equal(before, written.read("model.embed_tokens.weight"))


def test_what_is_excluded_stays_to_the_bit(dense, sparse, text, tmp_path):
    recovered(sparse, tmp_path / "out", dense, text, steps=8, exclude="embed|layers.0|lm_head", include="weight")
    before, after = Checkpoint(sparse), Checkpoint(tmp_path / "out")
    for name in before.tensors:
        same = torch.equal(before.read(name), after.read(name))
        assert same == ("embed" in name or "layers.0" in name or "lm_head" in name), name
    with pytest.raises(ConfigError, match="leave no parameter"):
        recovered(sparse, tmp_path / "none", dense, text, include="nothing")
    with pytest.raises(ConfigError, match="regular expression"):
        recovered(sparse, tmp_path / "none", dense, text, include="(")


@pytest.mark.parametrize("format", ["dense", "packed"])
def test_where_nothing_is_gained_the_start_is_kept(text, dense, tmp_path, format):
    folder, watch = pruned(dense, tmp_path / "pruned", format=format), Notes()
    facts = recovered(folder, tmp_path / "out", dense, text, steps=2, learning_rate=1.0, observer=watch)
    assert facts["best_step"] == 0
    assert facts["perplexity"]["after"] == facts["perplexity"]["before"]
    assert facts["regained"] == 0
    assert any("nothing was gained" in note for note in watch.notes)
    before, after = folder_bytes(folder), folder_bytes(tmp_path / "out")
    assert {name: after[name] for name in before} == before


def test_the_best_step_is_kept_not_the_last(dense, sparse, text, tmp_path):
    """A rate that is right at first and far too high later, by its warm-up."""
    options = {"steps": 20, "learning_rate": 0.5, "valid_every": 1}
    facts = recovered(sparse, tmp_path / "out", dense, text, **options)
    log = (tmp_path / "out" / "fmcompress-training.jsonl").read_text().splitlines()
    seen = [json.loads(line)["perplexity"] for line in log]
    lowest = min([facts["perplexity"]["before"], *seen])
    assert facts["perplexity"]["after"] == lowest
    assert facts["best_step"] == (seen.index(lowest) + 1 if lowest in seen else 0)


def test_experts_in_one_tensor_keep_their_zeros(text, tmp_path):
    from transformers import MixtralConfig, MixtralForCausalLM

    model = checkpoint(tmp_path / "model")
    config = MixtralConfig(
        vocab_size=2048, hidden_size=32, intermediate_size=32, num_hidden_layers=1, num_attention_heads=4,
        num_key_value_heads=2, num_local_experts=4, num_experts_per_tok=2, max_position_embeddings=64,
        initializer_range=0.2,
    )  # fmt: skip
    torch.manual_seed(0)
    MixtralForCausalLM(config).save_pretrained(model)
    folder = pruned(model, tmp_path / "pruned")
    zeros = {n: Checkpoint(folder).read(n) == 0 for n in Checkpoint(folder).tensors if "experts" in n}
    assert zeros
    assert all(bool(zero.any()) for zero in zeros.values())
    facts = recovered(folder, tmp_path / "out", model, text, steps=10, learning_rate=1e-3)
    assert facts["best_step"] > 0
    after = Checkpoint(tmp_path / "out")
    for name, zero in zeros.items():
        assert not bool(after.read(name)[zero].any())
        assert not torch.equal(after.read(name), Checkpoint(folder).read(name))


def test_logits_of_a_file_teach_as_the_teacher_does(dense, sparse, text, tmp_path):
    file = tmp_path / "logits.safetensors"
    write_teacher_logits(dense, text, file, k=2048, sequence_length=32, max_windows=12)
    online = recovered(sparse, tmp_path / "a", dense, text, steps=6)
    offline = recovered(sparse, tmp_path / "b", dense, text, steps=6, logits=str(file))
    for name in ("before", "dense", "after"):
        assert offline["perplexity"][name] == pytest.approx(online["perplexity"][name], rel=2e-3), name
    assert_masks_intact(sparse, tmp_path / "b")
    alone = recovered(sparse, tmp_path / "c", None, text, steps=6, logits=str(file))
    assert alone["perplexity"]["after"] == offline["perplexity"]["after"]
    assert alone["perplexity"]["dense"] is None
    assert alone["regained"] is None


def test_a_damaged_file_of_logits_is_told(dense, sparse, text, tmp_path):
    file = tmp_path / "logits.safetensors"
    write_teacher_logits(dense, text, file, k=4, sequence_length=32, max_windows=4)
    data = bytearray(file.read_bytes())
    data[-1] ^= 1
    file.write_bytes(data)
    with pytest.raises(PayloadError, match="wrong checksum"):
        recovered(sparse, tmp_path / "out", dense, text, logits=str(file))
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "out.partial").exists()


def test_who_cannot_teach_is_told(dense, sparse, text, tmp_path):
    from transformers import T5Config, T5ForConditionalGeneration

    other = checkpoint(tmp_path / "other", own_tokenizer=True)
    with pytest.raises(CheckpointError, match="other tokens"):
        recovered(sparse, tmp_path / "out", other, text)
    file = tmp_path / "logits.safetensors"
    write_teacher_logits(other, text, file, k=4, sequence_length=32)
    with pytest.raises(CheckpointError, match="other tokens"):
        recovered(sparse, tmp_path / "out", None, text, logits=str(file))
    asks = checkpoint(tmp_path / "asks")
    config = T5Config(vocab_size=2048, d_model=16, d_kv=4, d_ff=16, num_layers=1, num_heads=2)
    T5ForConditionalGeneration(config).save_pretrained(asks)
    with pytest.raises(ConfigError, match="no next token"):
        recovered(sparse, tmp_path / "out", asks, text)
    with pytest.raises(ConfigError, match="no next token"):
        recovered(asks, tmp_path / "out", dense, text)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("format", ["packed", "compressed-tensors"])
def test_codes_do_not_learn(dense, text, tmp_path, format):
    folder = tmp_path / "quantized"
    run_prune(dense, folder, text, sparsity=0.5, bits=4, group_size=32, format=format)
    with pytest.raises(ConfigError, match="quantized, and codes do not learn"):
        recovered(folder, tmp_path / "out", dense, text)


def test_a_text_too_short_to_hold_out_some_is_told(dense, sparse, text, tmp_path):
    with pytest.raises(Exception, match="too few to learn some and hold out others"):
        recovered(sparse, tmp_path / "out", dense, text, max_windows=1)
    assert recovered(sparse, tmp_path / "out", dense, text, max_windows=1, valid=str(text))["windows"]["train"] == 1


def test_kept_weights_that_round_to_zero_are_counted(tmp_path):
    folder = pruned(checkpoint(tmp_path / "dense", dtype=torch.float16), tmp_path / "pruned")
    model, _ = load_trainable(folder)
    zeros = zeros_of(model)
    name, zero = next(iter(zeros.items()))
    weight = model.get_parameter(name)
    with torch.no_grad():
        weight.view(-1)[(~zero).view(-1).nonzero()[:3, 0]] = 1e-9  # float16 tells nothing below 3e-8 from 0
    assert round_to_stored_(model, open_checkpoint(folder), zeros) == 3
    assert int((weight == 0).sum()) == int(zero.sum()) + 3
