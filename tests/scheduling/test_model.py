"""Workloads of transformers models, against modules that are built and counted."""

import pytest
import torch

from fmcompress.errors import CheckpointError, ConfigError
from fmcompress.gradients import CocktailConfig
from fmcompress.gradients.traffic import traffic
from fmcompress.scheduling.model import workload_of_model

transformers = pytest.importorskip("transformers")

HIDDEN, HEADS, VOCABULARY, LAYERS, LENGTH = 32, 4, 96, 5, 16
TRAINING = {"sequence_length": LENGTH, "sequences": 6}
SHARED = {"vocab_size": VOCABULARY, "bos_token_id": 0, "eos_token_id": 1}


def llama(tied=False, **options):
    facts = {"hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_key_value_heads": 2, "intermediate_size": 48}
    facts |= {"num_hidden_layers": LAYERS, "tie_word_embeddings": tied} | SHARED | options
    return transformers.LlamaConfig(**facts), transformers.LlamaForCausalLM


def gpt2(tied=False):
    facts = {"n_embd": HIDDEN, "n_head": HEADS, "n_layer": LAYERS, "n_positions": 64, "tie_word_embeddings": tied}
    return transformers.GPT2Config(**facts, **SHARED), transformers.GPT2LMHeadModel


def opt(tied=False):
    facts = {"hidden_size": HIDDEN, "num_attention_heads": HEADS, "num_hidden_layers": LAYERS, "ffn_dim": 48}
    facts |= {"max_position_embeddings": 64, "word_embed_proj_dim": HIDDEN, "tie_word_embeddings": tied}
    return transformers.OPTConfig(**facts, **SHARED, pad_token_id=2), transformers.OPTForCausalLM


def folder_of(folder, config, model):
    config.architectures = [model.__name__]
    config.save_pretrained(folder)
    assert [path.name for path in folder.iterdir()] == ["config.json"]
    return folder


def parts(model):
    """What runs before the blocks, the blocks, and what runs after them."""
    if hasattr(model, "transformer"):
        body = model.transformer
        return [body.wte, body.wpe], body.h, [body.ln_f, model.lm_head]
    body = getattr(model.model, "decoder", model.model)
    if hasattr(body, "embed_positions"):
        return [body.embed_tokens, body.embed_positions], body.layers, [body.final_layer_norm, model.lm_head]
    return [body.embed_tokens], body.layers, [body.norm, model.lm_head]


def numels(modules):
    return [parameter.numel() for module in modules for parameter in module.parameters()]


def products(modules):
    """Elements of matrices that are no embedding."""
    found = [inner for module in modules for inner in module.modules() if not isinstance(inner, torch.nn.Embedding)]
    return sum(p.numel() for module in found for p in module._parameters.values() if p is not None and p.dim() == 2)


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("family", [llama, gpt2, opt])
def test_stages_hold_what_runs_in_them(family, tied, tmp_path):
    config, kind = family(tied)
    work = workload_of_model(folder_of(tmp_path, config, kind), stages=3, replicas=2, **TRAINING)
    before, blocks, after = parts(kind(config))
    held = [[*before, *blocks[:2]], blocks[2:4], [blocks[4], *after]]
    assert work.gradient_bytes == tuple(2 * sum(numels(modules)) for modules in held)
    assert work.state_bytes == tuple(16 * sum(numels(modules)) for modules in held)
    tokens = 6 * LENGTH
    of_attention = 12 * HIDDEN * LENGTH * tokens
    counts = (2, 2, 1)
    assert work.flops == tuple(
        6 * products(modules) * tokens + count * of_attention for modules, count in zip(held, counts, strict=True)
    )
    assert work.activation_bytes == tokens * HIDDEN * 2
    assert work.stored_bytes == tuple(count * 34 * tokens * HIDDEN for count in counts)
    assert (work.layers, work.stages, work.replicas, work.micro_batches) == (5, 3, 2, 1)


@pytest.mark.parametrize("family", [llama, gpt2])
def test_one_stage_holds_a_tied_weight_once_and_multiplies_by_it(family, tmp_path):
    sums, flops = [], []
    for tied in (False, True):
        config, kind = family(tied)
        (folder := tmp_path / str(tied)).mkdir()
        work = workload_of_model(folder_of(folder, config, kind), stages=1, replicas=1, **TRAINING)
        model = kind(config)
        assert work.gradient_bytes == (2 * sum(parameter.numel() for parameter in model.parameters()),)
        sums, flops = [*sums, work.gradient_bytes[0]], [*flops, work.flops[0]]
    assert sums[0] - sums[1] == 2 * HIDDEN * VOCABULARY
    assert flops[0] == flops[1]


def test_types_and_micro_batches(tmp_path):
    folder = folder_of(tmp_path, *llama())
    plain = workload_of_model(folder, stages=2, replicas=2, **TRAINING)
    wide = workload_of_model(
        folder, stages=2, replicas=2, micro_batches=3, activation_dtype="fp32", gradient_dtype="fp32",
        optimizer_bytes_per_parameter=12, activation_compression=4, gradient_compression=7, **TRAINING,
    )  # fmt: skip
    assert wide.activation_bytes == 2 * plain.activation_bytes
    assert wide.gradient_bytes == tuple(2 * count for count in plain.gradient_bytes)
    assert wide.state_bytes == tuple(count * 12 / 16 for count in plain.state_bytes)
    assert wide.stored_bytes == tuple(count * 66 / 34 / 3 for count in plain.stored_bytes)
    assert wide.flops == plain.flops
    assert (wide.micro_batches, wide.activation_compression, wide.gradient_compression) == (3, 4, 7)


@pytest.mark.parametrize(("dtype", "of_hidden", "of_scores"), [("fp16", 34, 5), ("fp32", 66, 9)])
def test_eager_attention_stores_scores(dtype, of_hidden, of_scores, tmp_path):
    options = {"activation_dtype": dtype, "attention": "eager"}
    work = workload_of_model(folder_of(tmp_path, *llama()), stages=5, replicas=1, **TRAINING, **options)
    assert work.stored_bytes == (6 * LENGTH * (of_hidden * HIDDEN + of_scores * HEADS * LENGTH),) * 5


@pytest.mark.parametrize(("replicas", "workers"), [(1, 2), (8, 8)])
def test_cocktail_is_what_its_traffic_says(replicas, workers, tmp_path):
    config, kind = llama(hidden_size=128, num_hidden_layers=2)
    folder, options = folder_of(tmp_path, config, kind), {"gradient_dtype": "fp32", "gradient_compression": "cocktail"}
    work = workload_of_model(folder, stages=2, replicas=replicas, **TRAINING, **options)
    expected = traffic(numels([kind(config)]), CocktailConfig(), workers, vs="fp32").ratio
    assert work.gradient_compression == pytest.approx(expected)
    assert expected > 20


def test_heads_may_be_wider_than_the_model(tmp_path):
    narrow, wide = (
        workload_of_model(folder_of(tmp_path, *llama(head_dim=size)), stages=1, replicas=1, **TRAINING)
        for size in (8, 16)
    )
    more = 6 * LENGTH * LAYERS * (6 * 2 * HIDDEN * 8 * (HEADS + 2) + 12 * HEADS * 8 * LENGTH)
    assert wide.flops[0] - narrow.flops[0] == more


@pytest.mark.parametrize("chosen", [1, 2])
def test_only_experts_that_a_token_is_sent_to_compute(chosen, tmp_path):
    config = transformers.MixtralConfig(
        hidden_size=HIDDEN, num_attention_heads=4, num_key_value_heads=4, intermediate_size=48, num_hidden_layers=1,
        num_local_experts=4, num_experts_per_tok=chosen, **SHARED,
    )  # fmt: skip
    folder = folder_of(tmp_path, config, transformers.MixtralForCausalLM)
    work = workload_of_model(folder, stages=1, replicas=1, **TRAINING)
    active = HIDDEN * (4 * HIDDEN + 4 + VOCABULARY + chosen * 3 * 48)
    assert work.flops == (6 * LENGTH * (6 * active + 12 * HIDDEN * LENGTH),)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stages": 6}, r"^stages: .* has 5 blocks, which cannot be dealt out to 6 stages\.$"),
        ({"stages": 0}, r"^stages: expected a whole number of at least 1, got 0\.$"),
        ({"sequences": "6"}, r"^sequences: expected a whole number of at least 1, got '6'\.$"),
        ({"micro_batches": 4}, r"^micro_batches: 6 sequences cannot be cut evenly into 4\.$"),
        ({"activation_dtype": "int8"}, r"^activation_dtype: expected one of fp32, fp16, bf16, got 'int8'\.$"),
        ({"gradient_dtype": "fp8"}, r"^gradient_dtype: expected one of fp32, fp16, bf16, got 'fp8'\.$"),
        ({"attention": "sdpa"}, r"^attention: expected flash or eager, got 'sdpa'\.$"),
        ({"gradient_compression": "zip"}, r"^gradient_compression: expected a number of at least 1, or cocktail"),
        ({"optimizer_bytes_per_parameter": -1}, r"^optimizer_bytes_per_parameter: expected a number of at least 0"),
    ],
)
def test_options_that_do_not_fit(options, message, tmp_path):
    folder = folder_of(tmp_path, *llama())
    with pytest.raises(ConfigError, match=message):
        workload_of_model(folder, **{"stages": 2, "replicas": 2, **TRAINING, **options})


def test_folders_that_tell_of_no_model_to_split(tmp_path):
    def refused(folder, error, message):
        with pytest.raises(error, match=message) as caught:
            workload_of_model(folder, stages=1, replicas=1, **TRAINING)
        assert "\n" not in str(caught.value)

    refused(tmp_path / "absent", ConfigError, "absent: no such folder")
    refused(tmp_path, CheckpointError, r"holds no config\.json")
    (tmp_path / "config.json").write_text('{"model_type": "nonsense"}')
    refused(tmp_path, CheckpointError, "unknown architecture: transformers .* builds no model")
    config = transformers.T5Config(d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4, vocab_size=VOCABULARY)
    folder_of(tmp_path, config, transformers.T5ForConditionalGeneration)
    refused(tmp_path, ConfigError, "T5ForConditionalGeneration has 2 stacks of blocks")
    config = transformers.ViTConfig(hidden_size=32, num_hidden_layers=1, num_attention_heads=4, intermediate_size=64)
    folder_of(tmp_path, config, transformers.ViTForImageClassification)
    refused(tmp_path, ConfigError, "takes images; expected a model of text")
    folder_of(tmp_path, transformers.ResNetConfig(depths=[1], hidden_sizes=[8]), transformers.ResNetModel)
    refused(tmp_path, CheckpointError, "has no list of blocks")
