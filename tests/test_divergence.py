"""`fmcompress eval --compare` against a plain computation in float64 on whole models."""

import json
import math
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import run
from helpers import CPU, invoke, make_checkpoint, make_text, streamed
from torch import Tensor

from fmcompress import divergence, evaluation
from fmcompress.calibration import cut_windows, load_tokenizer, token_stream
from fmcompress.checkpoint import Checkpoint
from fmcompress.divergence import Quality, compare, kl_
from fmcompress.errors import CalibrationError, CheckpointError, ConfigError
from fmcompress.formats import open_checkpoint

LENGTH = 64
FORMS: dict[str, dict[str, Any]] = {
    "dense": {"sparsity": 0.6},
    "packed": {"sparsity": 0.5, "bits": 4, "group_size": 32, "format": "packed"},
    "compressed-tensors": {"bits": 3, "group_size": 32},
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model whose outputs are far from uniform, and what runs of every form made of it."""
    home = tmp_path_factory.mktemp("divergence")
    make_checkpoint(home / "model", hidden=64, initializer_range=0.1)
    make_text(home / "text.txt", 4_000)
    make_text(home / "held.txt", 3_000, "heldout")
    for form, options in FORMS.items():
        run(home / "model", home / form, home / "text.txt", **options)
    return home


def whole_logits(folder: Path, windows: Tensor) -> Tensor:
    """Logits in float64 by transformers, with the weights that stand in a checkpoint of any form."""
    from transformers import AutoConfig, AutoModelForCausalLM

    checkpoint = open_checkpoint(folder)
    config = AutoConfig.from_pretrained(folder)
    config.quantization_config = None
    model = AutoModelForCausalLM.from_config(config, dtype=torch.float64)
    model.load_state_dict({name: checkpoint.read(name).double() for name in checkpoint.tensors})
    with torch.no_grad():
        return model.eval()(input_ids=windows).logits[:, :-1]


def expected(home: Path, form: str, windows: Tensor) -> dict[str, float]:
    p, q = (whole_logits(home / name, windows).log_softmax(-1) for name in ("model", form))
    targets = windows[:, 1:].unsqueeze(-1)
    kl = (p.exp() * (p - q)).sum(-1).flatten().sort().values
    nats, base = (-float(log.gather(-1, targets).mean()) for log in (q, p))
    return {
        "perplexity": math.exp(nats),
        "nats_per_token": nats,
        "ratio": math.exp(nats - base),
        "kl_mean": float(kl.mean()),
        "kl_p99": float(kl[len(kl) * 99 // 100]),
        "kl_max": float(kl[-1]),
        "top1_agreement": float((p.argmax(-1) == q.argmax(-1)).double().mean()),
    }


def windows_of(home: Path) -> Tensor:
    return cut_windows(token_stream(load_tokenizer(home / "model"), home / "held.txt"), LENGTH, "held")


def assert_close(got: Quality, want: dict[str, Any]) -> None:
    for name, value in want.items():
        assert name == "model" or getattr(got, name) == pytest.approx(value, rel=2e-4, abs=1e-6), name


@pytest.mark.parametrize("most", [None, 1])
def test_figures_are_those_of_whole_models(home: Path, most: int | None) -> None:
    windows = windows_of(home)[:most]
    models = [home / "model", *(home / form for form in FORMS)]
    result = compare(models, home / "held.txt", LENGTH, CPU, max_windows=most)
    assert (result.windows, result.predicted_tokens) == (len(windows), len(windows) * (LENGTH - 1))
    for got, form in zip(result.models[1:], FORMS, strict=True):
        want = expected(home, form, windows)
        assert want["kl_mean"] > 1e-2  # else nothing was compared
        assert want["top1_agreement"] < 1
        assert_close(got, want)
        assert got.model == str(home / form)


def test_perplexity_is_that_of_eval(home: Path) -> None:
    result = compare([home / "model", home / "packed"], home / "held.txt", LENGTH, CPU, max_windows=3)
    for got in result.models:
        alone = evaluation.evaluate(Path(got.model), home / "held.txt", LENGTH, CPU, max_windows=3)
        assert got.perplexity == pytest.approx(alone.perplexity, rel=1e-6)
    assert result.windows == 3


def test_a_model_beside_itself(home: Path) -> None:
    reference, same = compare([home / "packed", home / "packed"], home / "held.txt", LENGTH, CPU).models
    for model in (reference, same):
        assert (model.kl_mean, model.kl_p99, model.kl_max) == (0, 0, 0)
        assert (model.top1_agreement, model.ratio) == (1, 1)
    assert reference.perplexity == same.perplexity


def test_sizes_are_those_of_the_run(home: Path) -> None:
    result = compare([home / "model", *(home / form for form in FORMS)], home / "held.txt", LENGTH, CPU, max_windows=1)
    assert result.models[0].bits_per_weight == 32
    assert result.models[0].checkpoint_bytes == Checkpoint(home / "model").total_bytes
    for got in result.models[1:]:
        facts = json.loads((Path(got.model) / "fmcompress.json").read_text())
        assert got.bits_per_weight == facts["bits_per_weight"]
        assert got.checkpoint_bytes == facts["checkpoint_bytes_after"]


@pytest.mark.parametrize("at_once", [1, 7, LENGTH - 1, 3 * LENGTH])
def test_logits_are_held_in_slices(home: Path, monkeypatch: pytest.MonkeyPatch, at_once: int) -> None:
    """Parts of a window, or several windows: never more logits than allowed, and the same figures."""
    models, text = [home / "model", home / "dense"], home / "held.txt"
    straight = compare(models, text, LENGTH, CPU).models[1]
    real, seen = evaluation.StreamedModel.logits, []

    def logits(self: Any, tokens: Tensor, hidden: Tensor) -> Tensor:
        seen.append(tokens.numel())
        return real(self, tokens, hidden)

    monkeypatch.setattr(evaluation.StreamedModel, "logits", logits)
    monkeypatch.setattr(evaluation, "LOGIT_BYTES", 4 * 2048 * at_once)
    assert_close(compare(models, text, LENGTH, CPU).models[1], vars(straight))
    assert max(seen) <= at_once


@pytest.mark.parametrize("kind", ["opt", "gemma2"])  # positions that are learned, logits that are capped
def test_what_follows_the_last_block_may_be_cut_anywhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    from transformers import CONFIG_MAPPING, AutoModelForCausalLM

    sizes = {"vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "head_dim": 8}
    more = {"ffn_dim": 64, "word_embed_proj_dim": 32} if kind == "opt" else {"intermediate_size": 64}
    torch.manual_seed(0)
    config = CONFIG_MAPPING[kind](**sizes, **more, max_position_embeddings=32)
    AutoModelForCausalLM.from_config(config).save_pretrained(tmp_path)
    model, windows = streamed(tmp_path), torch.arange(2 * 32).view(2, 32)
    hidden = evaluation.final_hidden(model, windows, lambda block: None)
    for at_once in (1, 7, 100):
        monkeypatch.setattr(evaluation, "LOGIT_BYTES", 4 * 128 * at_once)
        slices = list(evaluation.predictions(model, hidden))
        assert torch.cat([targets.flatten() for _, _, targets in slices]).equal(windows[:, 1:].flatten())
        got = torch.cat([model.logits(tokens, states).flatten(0, 1) for tokens, states, _ in slices])
        torch.testing.assert_close(got, model.logits(*hidden[0])[:, :-1].flatten(0, 1), rtol=0, atol=1e-5)


def test_long_texts_run_in_parts(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    models, text = [home / "model", home / "dense"], home / "held.txt"
    straight, steps = compare(models, text, LENGTH, CPU).models[1], list[tuple[int, int]]()
    monkeypatch.setattr(evaluation, "ACTIVATION_BYTES", 2 * 2 * 64 * 4 * LENGTH)  # two windows of two models
    parts = -(-len(windows_of(home)) // 2)
    again = compare(models, text, LENGTH, CPU, progress=lambda done, total: steps.append((done, total)))
    assert_close(again.models[1], vars(straight))
    assert steps == [(done, parts * 2 * 2) for done in range(1, parts * 2 * 2 + 1)]


def test_only_two_output_layers_at_a_time(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streamed, most = list[Any](), 0
    real = divergence.open_streamed
    monkeypatch.setattr(divergence, "open_streamed", lambda *args: streamed.append(real(*args)) or streamed[-1])
    forward = evaluation.StreamedModel.logits

    def logits(self: Any, *args: Any) -> Tensor:
        nonlocal most
        result = forward(self, *args)
        most = max(most, sum(not model.model.lm_head.weight.is_meta for model in streamed))
        assert all(p.is_meta for model in streamed for p in model.blocks[0][1].parameters())
        return result

    monkeypatch.setattr(evaluation.StreamedModel, "logits", logits)
    compare([home / "model", *(home / form for form in FORMS)], home / "held.txt", LENGTH, CPU, max_windows=1)
    assert most == 2


def other_vocabulary(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"vocab_size": 2047, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1}
    LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4)).save_pretrained(folder)


def other_tokenizer(folder: Path) -> None:
    content = json.loads((folder / "tokenizer.json").read_text())
    content["model"]["merges"] = content["model"]["merges"][:10]
    (folder / "tokenizer.json").write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (other_vocabulary, "expected the 2048 tokens of .*, got a vocabulary of 2047"),
        (other_tokenizer, "its tokenizer cuts the text into other tokens"),
    ],
)
def test_models_of_other_tokens_are_refused(home: Path, tmp_path: Path, damage: Any, message: str) -> None:
    other = Path(shutil.copytree(home / "model", tmp_path / "other"))
    damage(other)
    with pytest.raises(CheckpointError, match=message):
        compare([home / "model", other], home / "held.txt", LENGTH, CPU)


def test_needs_two_models_and_a_whole_window(home: Path) -> None:
    with pytest.raises(ConfigError, match="at least one other"):
        compare([home / "model"], home / "held.txt", LENGTH, CPU)
    (home / "short.txt").write_text("too short")
    with pytest.raises(CalibrationError, match="shorter than one sequence"):
        compare([home / "model", home / "dense"], home / "short.txt", LENGTH, CPU)


def test_command(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    models = [home / "model", home / "packed"]
    arguments = ["eval", "--compare", *models, "--text", home / "held.txt", "--sequence-length", 4096]
    told = json.loads(invoke(capsys, *arguments, "--json").stdout)
    assert [model["model"] for model in told["models"]] == [str(model) for model in models]
    assert (told["sequence_length"], told["models"][0]["kl_mean"]) == (128, 0)
    assert told["notes"] == ["sequence length 4096 lowered to 128, the model's longest"]
    shown = invoke(capsys, *arguments)
    assert shown.code == 0, shown.stderr
    packed = next(line for line in shown.stdout.splitlines() if str(home / "packed") in line)
    assert f"{told['models'][1]['kl_mean']:.5f}" in packed
    assert f"{100 * told['models'][1]['top1_agreement']:.2f} %" in packed
    refused = invoke(capsys, "eval", *models, "--text", home / "held.txt")
    assert (refused.code, refused.stdout) == (2, "")
    assert "Add --compare" in refused.stderr


def test_tokens_that_both_rule_out_cost_nothing() -> None:
    log_p = torch.tensor([[[0.5, 0.5, 0.0]]]).log()
    log_q = torch.tensor([[[0.25, 0.75, 0.0]]]).log()
    expected = 0.5 * math.log(0.5 / 0.25) + 0.5 * math.log(0.5 / 0.75)
    assert float(kl_(log_p.clone(), log_q)) == pytest.approx(expected)
    assert float(kl_(log_p.clone(), log_p)) == 0.0
    assert float(kl_(log_q.clone(), torch.tensor([[[1.0, 0.0, 0.0]]]).log())) == math.inf
