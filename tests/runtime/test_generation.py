"""fmcompress generate and bench decode, and what they stand on."""

import json
from pathlib import Path

import pytest
import torch
from compression import run
from helpers import invoke, make_checkpoint
from torch import nn

from fmcompress.calibration import load_tokenizer
from fmcompress.errors import ConfigError
from fmcompress.runtime import PackedLinear, load
from fmcompress.runtime.decode_speed import copy_rate, measure_decoding, weight_bytes
from fmcompress.runtime.generation import dense_twin


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("generation")
    make_checkpoint(home / "model", blocks=2, hidden=64, dtype=torch.bfloat16)
    run(home / "model", home / "packed", method="magnitude", sparsity=0.5, bits=4, group_size=32, format="packed")
    run(home / "model", home / "ct", method="rtn", bits=4, group_size=32)
    return home


@pytest.mark.parametrize("name", ["model", "packed", "ct"])
def test_generate_writes_text_and_json(home, capsys, name):
    shown = invoke(capsys, "generate", home / name, "--prompt", "The list", "--max-new-tokens", 12)
    assert shown.code == 0, shown.stderr
    told = json.loads(
        invoke(capsys, "generate", home / name, "--prompt", "The list", "--max-new-tokens", 12, "--json").stdout
    )
    assert told["new_tokens"] <= 12
    assert told["text"] + "\n" == shown.stdout
    assert told["prompt"] == "The list"


def test_drawn_text_follows_the_seed_and_leaves_the_generator_alone(home, capsys):
    def drawn(seed: int) -> str:
        args = ("--prompt", "The", "--temperature", 1.5, "--max-new-tokens", 20, "--seed", seed, "--json")
        return json.loads(invoke(capsys, "generate", home / "packed", *args).stdout)["text"]

    before = torch.get_rng_state()
    first = drawn(1)
    assert drawn(1) == first
    assert drawn(2) != first
    assert torch.equal(torch.get_rng_state(), before)


def test_prompt_from_standard_input(home, capsys, monkeypatch):
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("The list"))
    outcome = invoke(capsys, "generate", home / "packed", "--prompt", "-", "--max-new-tokens", 2, "--json")
    assert json.loads(outcome.stdout)["prompt"] == "The list"


def test_a_full_context_is_said(home, capsys):
    tokenizer = load_tokenizer(home / "packed")
    prompt = max((" word" * n for n in range(1, 128)), key=lambda text: len(tokenizer(text).input_ids) % 128)
    left = 128 - len(tokenizer(prompt).input_ids)
    assert 0 < left < 8  # too few for the text to end first, with this seed
    args = ("generate", home / "packed", "--prompt", prompt, "--max-new-tokens")
    cut = invoke(capsys, *args, 500)
    assert f"context is full after {left} of 500" in cut.stderr
    assert "context" not in invoke(capsys, *args, left).stderr


BAD = {
    "empty prompt": (["--prompt", ""], "prompt: holds no tokens"),
    "long prompt": (["--prompt", "word " * 400], "the model takes at most 128"),
    "no template": (["--prompt", "a", "--chat"], "no chat template"),
    "dtype": (["--prompt", "a", "--dtype", "int8"], "dtype: expected auto"),
    "device": (["--prompt", "a", "--device", "nowhere"], "device: 'nowhere'"),
}


@pytest.mark.parametrize("case", BAD)
def test_generate_refuses_in_one_line(home, capsys, case):
    args, message = BAD[case]
    outcome = invoke(capsys, "generate", home / "packed", *args)
    assert outcome.code == 2
    assert message in outcome.stderr
    assert len(outcome.stderr.strip().splitlines()) == 1
    assert not outcome.stdout


def test_generate_of_nothing(capsys, tmp_path):
    outcome = invoke(capsys, "generate", tmp_path / "absent", "--prompt", "a")
    assert outcome.code == 2
    assert "absent: no such folder" in outcome.stderr.replace("\n", "")


def test_text_of_a_model_moves_no_cursor(capsys):
    from fmcompress.report import show_text

    show_text("a\x1b[2Jb\n\tc")
    assert capsys.readouterr().out == "a\\x1b[2Jb\n\tc"


def test_bench_decode(home, capsys):
    args = ("bench", "decode", home / "packed", "--tokens", 3, "--prompt-length", 4, "--runs", 1)
    told = json.loads(invoke(capsys, *args, "--json").stdout)
    names = [row["name"] for row in told["models"]]
    assert names == ["dense float32", "dense bfloat16", "as it is"]
    sizes = [row["bytes_per_token"] for row in told["models"]]
    assert sizes[0] == 2 * sizes[1] > 2 * sizes[2]
    assert all(row["tokens_per_second"] > 0 for row in told["models"])
    table = invoke(capsys, *args).stdout
    assert all(name in table for name in names)
    dense = json.loads(
        invoke(capsys, "bench", "decode", home / "model", *args[3:], "--dtype", "bfloat16", "--json").stdout
    )
    assert [row["name"] for row in dense["models"]] == ["dense bfloat16"]


def test_bench_decode_refuses(home, capsys):
    outcome = invoke(capsys, "bench", "decode", home / "packed", "--tokens", 200)
    assert outcome.code == 2
    assert "has room for 128 tokens" in outcome.stderr
    assert "expected one of both" in invoke(capsys, "bench", "decode", home / "packed", "--dtype", "int8").stderr


def test_dense_twin_computes_the_same(home):
    model = load(home / "packed", dtype="float32")
    twin = dense_twin(model, torch.float32)
    assert not any(isinstance(module, PackedLinear) for module in twin.modules())
    assert any(isinstance(module, PackedLinear) for module in model.modules())  # the original stays
    ids = torch.arange(6)[None]
    with torch.no_grad():
        torch.testing.assert_close(twin(ids).logits, model(ids).logits, rtol=1e-2, atol=1e-2)


def test_weight_bytes_count_what_a_token_reads():
    class Tied(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.head = nn.Embedding(10, 4), nn.Linear(4, 10, bias=False)
            self.head.weight = self.embedding.weight

    assert weight_bytes(nn.Sequential(nn.Embedding(10, 4), nn.Linear(4, 3))) == 4 * (12 + 3)
    assert weight_bytes(Tied()) == 4 * 40


def test_measured_in_turn_and_told(home):
    model = load(home / "packed")
    seen = []
    speeds = measure_decoding({"a": model, "b": model}, torch.arange(4)[None], 3, 2, lambda *done: seen.append(done))
    assert [speed.name for speed in speeds] == ["a", "b"]
    assert seen == [(done, 6) for done in range(1, 7)]
    assert speeds[0].bytes_per_second == speeds[0].bytes_per_token * speeds[0].tokens_per_second
    assert copy_rate(torch.device("cpu"), runs=2) > 0


def test_errors_are_config_errors(home):
    from fmcompress.runtime.comparison import compare_decoding

    with pytest.raises(ConfigError):
        compare_decoding(home / "packed", 2, 2, 1, "nothing", "cpu")
