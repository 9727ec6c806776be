"""What a checkpoint is worth: its perplexity on a text, or what a command of the user's own says of it."""

import shlex
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..errors import ConfigError, in_one_line

MODEL = "{model}"


@dataclass(frozen=True)
class Score:
    """A number for a checkpoint's folder.

    of               what finds it
    name             what it is called
    lower_is_better  whether less is more
    identity         all that decides it, as JSON: a soup goes on only with the same
    """

    of: Callable[[Path], float]
    name: str = "score"
    lower_is_better: bool = False
    identity: Mapping[str, Any] = field(default_factory=dict)


def perplexity_on(
    text: Path,
    *,
    sequence_length: int = 2048,
    max_windows: int | None = None,
    device: str = "auto",
    dtype: str = "auto",
    nats: bool = False,
    note: Callable[[str], None] = lambda text: None,
) -> Score:
    """The perplexity of a language model on a held-out text, or with nats its logarithm. See evaluation.evaluate.

    note  called once where windows are shorter than asked for, since a model takes no longer ones

    Raises DiskError if the text cannot be read, ConfigError for an unknown device.
    """
    from ..devices import pick_device
    from ..evaluation import evaluate
    from ..files import sha256_of

    where, noted = pick_device(device), list[str]()

    def measured(model: Path) -> float:
        found = evaluate(model, text, sequence_length, where, dtype, max_windows)
        if found.sequence_length < sequence_length and not noted:
            noted.append(f"sequence length {sequence_length} lowered to {found.sequence_length}, the model's longest")
            note(noted[0])
        return found.nats_per_token if nats else found.perplexity

    name = "nats a token" if nats else "perplexity"
    settings = {"sequence_length": sequence_length, "max_windows": max_windows, "device": device, "dtype": dtype}
    return Score(measured, name, True, {"score": name, "text": sha256_of(text).hex(), **settings})


def command_score(command: str, *, lower_is_better: bool = False) -> Score:
    """The number in the last line that a command prints, such as "python eval.py {model}".

    command  split as a shell would, but run without one; {model} becomes the checkpoint's folder

    Raises ConfigError for a command without {model}, and when it runs, if it cannot be started, fails, or prints no
    number.
    """
    try:
        parts = shlex.split(command)
    except ValueError as error:
        raise ConfigError(f"command: {command!r} cannot be split into words ({error}).") from None
    if not any(MODEL in part for part in parts):
        raise ConfigError(f"command: expected {MODEL} in it, where the folder goes, got {command!r}.")

    def measured(model: Path) -> float:
        return _last_number(command, [part.replace(MODEL, str(model)) for part in parts])

    return Score(measured, "score", lower_is_better, {"score": command, "lower_is_better": lower_is_better})


def _last_number(command: str, parts: list[str]) -> float:
    try:
        done = subprocess.run(parts, stdin=subprocess.DEVNULL, capture_output=True)
    except (OSError, ValueError) as error:
        raise ConfigError(f"command: {parts[0]!r} cannot be started ({in_one_line(error)}).") from None
    if done.returncode:
        said = _last_line(done.stderr) or "without a word"
        raise ConfigError(f"command: {command!r} ended with code {done.returncode}: {in_one_line(said)}")
    line = _last_line(done.stdout)
    try:
        return float(line)
    except ValueError:
        got = in_one_line(repr(line)) if line else "nothing"
        raise ConfigError(
            f"command: expected a number in the last line that {command!r} prints, got {got}. Print it alone there."
        ) from None


def _last_line(printed: bytes) -> str:
    lines = [line.strip() for line in printed.decode(errors="replace").splitlines()]
    return next((line for line in reversed(lines) if line), "")
