"""fmcompress reason: a question answered from a file, by answers that stand in another."""

import json

import pytest
from helpers import invoke
from lynx import CONTEXT, HUNTS, QUESTION, solver

from fmcompress.language_model import Recorded
from fmcompress.reasoning import TrainedPrompts, read_statements, read_trace
from fmcompress.reasoning.build import METHODS, Options, build


@pytest.fixture
def asked(tmp_path):
    """Arguments of a run whose model's answers were recorded before."""
    (tmp_path / "context.txt").write_text("\n".join(CONTEXT) + "\n")
    for method in (METHODS[0], "direct"):
        recorded = Recorded(solver(), tmp_path / "answers.jsonl")
        for options in (Options(), Options(steps=2, halt="fixed"), Options(beam=2)):
            build(method, recorded, TrainedPrompts(), options).run(CONTEXT, QUESTION, ("yes", "no"))
    return [
        "reason", "--context", tmp_path / "context.txt", "-q", QUESTION, "--choices", "yes,no",
        "--language-model", tmp_path / "answers.jsonl", "--prompts", "trained",
    ]  # fmt: skip


def test_the_answer_the_steps_and_the_files(asked, capsys, tmp_path):
    assert invoke(capsys, *asked).stdout == "Answer: yes\n"
    files = ["--output", tmp_path / "trace.json", "--plot", tmp_path / "trace.png"]
    told = invoke(capsys, *asked, "--explain", *files)
    assert told.code == 0
    assert f"  therefore   6. {HUNTS}\n" in told.stdout
    assert "Rests on: statements 1, 3, 4 of 4 (1 not used)\n" in told.stdout
    found = read_trace((tmp_path / "trace.json").read_bytes())
    assert found.context == read_statements(tmp_path / "context.txt")
    assert (tmp_path / "trace.png").read_bytes().startswith(b"\x89PNG")
    assert invoke(capsys, *asked, *files).code == 2
    assert invoke(capsys, *asked, *files, "--force").code == 0


def test_json_and_other_ways(asked, capsys):
    facts = json.loads(invoke(capsys, *asked, "--json", "--beam", 2).stdout)
    assert (facts["answer"], facts["state"], facts["support"]) == ("yes", "answered", [0, 2, 3, 4, 5])
    assert invoke(capsys, *asked, "--halt", "fixed", "--steps", 2).stdout == "Answer: yes\n"
    assert json.loads(invoke(capsys, *asked, "--json", "--method", "direct").stdout)["answer"] in ("yes", "no")


def test_what_is_missing_or_odd_is_told_in_a_line(asked, capsys, tmp_path):
    for given, told in (
        (["reason"], "--context, --question: expected both"),
        (asked[:5], "--language-model: who is to reason?"),
        ([*asked, "--choices", "yes"], "--choices: expected different answers"),
        ([*asked, "--prompts", "mine"], "prompts: expected trained, few-shot"),
        ([*asked, "--plot", tmp_path / "a.png", "--method", "direct"], "--plot: draws a trace"),
        ([*asked, "--output", tmp_path / "no" / "a.json"], "there is no folder"),
        ([*asked, "--context", tmp_path / "no.txt"], "cannot be read"),
        ([*asked, "--method", "chain-of-thought"], "answers 0 of 1 prompts"),
    ):
        outcome = invoke(capsys, *given)
        assert (outcome.code, outcome.stdout) == (2, "")
        assert told in " ".join(outcome.stderr.split())
        assert outcome.stderr.startswith("error: ")


def test_help_names_the_options(capsys):
    told = invoke(capsys, "reason", "--help").stdout
    assert "--explain" in told
    assert "--halt" in told


def test_the_package_is_light():
    import subprocess
    import sys

    code = "import sys, fmcompress.reasoning.build, fmcompress.reasoning.few_shot; " \
           "sys.exit(bool({'torch', 'transformers', 'matplotlib'} & sys.modules.keys()))"  # fmt: skip
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
