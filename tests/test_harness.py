"""lm-eval on checkpoints of any form, with a task whose data lies in a local file; skipped where it is not installed."""

import importlib.util
import json
import math
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import run
from helpers import invoke, make_checkpoint, make_text

from fmcompress import runtime
from fmcompress.calibration import load_tokenizer
from fmcompress.errors import ConfigError
from fmcompress.harness import harness_model, run_tasks

installed = pytest.mark.skipif(
    importlib.util.find_spec("lm_eval") is None, reason="lm-eval is not installed: pip install 'fmcompress[lm-eval]'"
)
TASK = """
task: local_choice
dataset_path: json
dataset_kwargs: {{data_files: {{test: "{data}"}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "{{{{question}}}}"
doc_to_choice: "{{{{choices}}}}"
doc_to_target: "{{{{answer}}}}"
target_delimiter: ""
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
"""
QUESTIONS = [
    {"question": "The function returns", "choices": [" a list of names", " zebra"], "answer": 0},
    {"question": "Raises an", "choices": [" exception if it fails", " umbrella of the sea"], "answer": 0},
    {"question": "Changed in", "choices": [" purple", " version"], "answer": 1},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("harness")
    make_checkpoint(home / "model", hidden=64, initializer_range=0.2)
    make_text(home / "text.txt", 4_000)
    run(home / "model", home / "packed", home / "text.txt", sparsity=0.5, bits=4, group_size=32, format="packed")
    run(home / "model", home / "quantized", home / "text.txt", bits=4, group_size=32)
    (home / "tasks").mkdir()
    (home / "tasks" / "data.jsonl").write_text("".join(json.dumps(question) + "\n" for question in QUESTIONS))
    (home / "tasks" / "task.yaml").write_text(TASK.format(data=home / "tasks" / "data.jsonl"))
    return home


@pytest.fixture(autouse=True)
def offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(tmp_path / "cache"))


def log_likelihood(model: Any, tokenizer: Any, context: str, continuation: str) -> float:
    """By a plain forward pass: nats of the continuation's tokens behind the context's."""
    whole = tokenizer(context + continuation, add_special_tokens=False)["input_ids"]
    begin = len(tokenizer(context, add_special_tokens=False)["input_ids"])
    with torch.no_grad():
        logs = model(torch.tensor([whole])).logits[0].double().log_softmax(-1)
    return sum(float(logs[place - 1, whole[place]]) for place in range(begin, len(whole)))


@installed
@pytest.mark.parametrize("form", ["model", "packed", "quantized"])
def test_log_likelihoods_are_those_of_the_model(home: Path, form: str) -> None:
    from lm_eval.api.instance import Instance
    from lm_eval.api.model import LM

    bridge = harness_model(home / form, batch_size=2)
    assert isinstance(bridge, LM)
    pairs = [(question["question"], choice) for question in QUESTIONS for choice in question["choices"]]
    requests = [Instance("loglikelihood", {}, pair, number) for number, pair in enumerate(pairs)]
    model, tokenizer = runtime.load(home / form), load_tokenizer(home / form)
    for pair, (got, _) in zip(pairs, bridge.loglikelihood(requests), strict=True):
        assert got == pytest.approx(log_likelihood(model, tokenizer, *pair), rel=1e-3, abs=1e-3)


@installed
def test_packed_weights_are_run_as_they_are(home: Path) -> None:
    layers = [m for m in harness_model(home / "packed").model.modules() if isinstance(m, runtime.PackedLinear)]
    assert len(layers) == 14


@installed
@pytest.mark.slow
@pytest.mark.parametrize("form", ["model", "packed"])
def test_a_local_task(home: Path, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    model, tokenizer = runtime.load(home / form), load_tokenizer(home / form)
    right = 0
    for question in QUESTIONS:
        logs = [log_likelihood(model, tokenizer, question["question"], choice) for choice in question["choices"]]
        right += logs.index(max(logs)) == question["answer"]
    found = run_tasks(home / form, ["local_choice"], include_path=home / "tasks")
    assert found["local_choice"]["acc,none"] == pytest.approx(right / len(QUESTIONS))
    assert run_tasks(home / form, ["local_choice"], include_path=home / "tasks", limit=1)["local_choice"][
        "acc,none"
    ] in (0, 1)
    arguments = ["lm-eval", home / form, "--tasks", "local_choice", "--include-path", home / "tasks", "--device", "cpu"]
    told = json.loads(invoke(capsys, *arguments, "--json").stdout)
    assert told["tasks"]["local_choice"]["acc,none"] == found["local_choice"]["acc,none"]
    assert f"{right / len(QUESTIONS):.4f}" in invoke(capsys, *arguments).stdout


@installed
def test_bad_tasks(home: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="lm-eval has no task 'nonsense'"):
        run_tasks(home / "model", ["local_choice", "nonsense"], include_path=home / "tasks")
    with pytest.raises(ConfigError, match="is no folder"):
        run_tasks(home / "model", ["local_choice"], include_path=tmp_path / "nowhere")
    (home / "tasks" / "data.jsonl").rename(tmp_path / "data.jsonl")
    try:
        with pytest.raises(ConfigError, match="the data of a task cannot be had"):
            run_tasks(home / "model", ["local_choice"], include_path=home / "tasks")
    finally:
        (tmp_path / "data.jsonl").rename(home / "tasks" / "data.jsonl")


def test_without_lm_eval(home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval", None)
    outcome = invoke(capsys, "lm-eval", home / "model", "--tasks", "wikitext")
    assert (outcome.code, outcome.stdout) == (2, "")
    assert len(outcome.stderr.splitlines()) == 1
    assert "pip install 'fmcompress[lm-eval]'" in outcome.stderr


def test_table(capsys: pytest.CaptureFixture[str]) -> None:
    from fmcompress.report import out
    from fmcompress.tables import task_table

    metrics = {"alias": "a", "acc,none": 0.25, "acc_stderr,none": 0.01, "exact,strict": 1, "exact_stderr,strict": "N/A"}
    out.print(task_table({"a": metrics, "b": {"perplexity,none": math.inf}}))
    lines = [line.split() for line in capsys.readouterr().out.splitlines()[1:]]
    assert lines == [["a", "acc", "0.2500", "0.0100"], ["a", "exact", "(strict)", "1.0000"], ["b", "perplexity", "inf"]]
