"""What scores a checkpoint: perplexity as `eval` has it, and commands that print a number, print none, or fail."""

import sys
from pathlib import Path

import pytest
from helpers import make_checkpoint, make_text

from fmcompress.errors import ConfigError, DiskError
from fmcompress.merging.scores import command_score, perplexity_on


def program(folder: Path, source: str) -> str:
    """A command that runs a Python program with the model's folder."""
    path = folder / "score it.py"  # a space, which the command must quote
    path.write_text(source)
    return f"{sys.executable} '{path}' --model={{model}}"


def test_the_number_in_the_last_line_counts(tmp_path) -> None:
    score = command_score(
        program(tmp_path, "import sys\nprint('loading', 7)\nprint(len(sys.argv[1]) / 2)\nprint('\\n')")
    )
    assert score.of(Path("/models/a b")) == len("--model=/models/a b") / 2
    assert not score.lower_is_better
    assert command_score("x {model}", lower_is_better=True).lower_is_better


def test_no_shell_reads_the_command(tmp_path) -> None:
    score = command_score(program(tmp_path, "import sys\nprint(len(sys.argv))") + f" '; touch {tmp_path}/made' $HOME")
    assert score.of(Path("$(touch made)")) == 4
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("source", "told"),
    [
        ("print('accuracy 0.5')", "expected a number in the last line that .* prints, got \"?'accuracy 0.5'"),
        ("", "expected a number in the last line that .* prints, got nothing"),
        ("print(1)\nraise ValueError('no such\\nfile')", "ended with code 1: file"),
        ("import sys\nsys.exit(3)", "ended with code 3: without a word"),
    ],
)
def test_commands_that_fail_are_told_in_one_line(tmp_path, source, told) -> None:
    with pytest.raises(ConfigError, match=told) as raised:
        command_score(program(tmp_path, source)).of(tmp_path)
    assert "\n" not in str(raised.value)


def test_commands_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"expected \{model\} in it"):
        command_score("python eval.py")
    with pytest.raises(ConfigError, match="cannot be split into words"):
        command_score("python 'eval.py {model}")
    with pytest.raises(ConfigError, match="'no-such-program' cannot be started"):
        command_score("no-such-program {model}").of(Path("m"))


def test_perplexity_is_that_of_eval(tmp_path) -> None:
    import math

    import torch

    from fmcompress.evaluation import evaluate

    model, text = make_checkpoint(tmp_path / "model", blocks=1), make_text(tmp_path / "text.txt", 4000)
    wanted = evaluate(model, text, 32, torch.device("cpu"), "auto", 4)
    options = {"sequence_length": 32, "max_windows": 4, "device": "cpu"}
    perplexity, nats = (perplexity_on(text, nats=nats, **options) for nats in (False, True))
    assert perplexity.of(model) == wanted.perplexity
    assert math.isclose(math.exp(nats.of(model)), wanted.perplexity)
    assert perplexity.lower_is_better
    assert nats.lower_is_better
    other = make_text(tmp_path / "other.txt", 4001)
    identities = [perplexity_on(each, **options).identity for each in (text, other, text)]
    assert identities[0] == identities[2] != identities[1]


def test_a_text_that_is_not_there_is_told_first(tmp_path) -> None:
    with pytest.raises(DiskError, match=r"text\.txt"):
        perplexity_on(tmp_path / "text.txt")
