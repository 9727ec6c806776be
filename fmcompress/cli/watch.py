"""What a person sees of long work, and how Ctrl-C ends a training between two steps."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..report import Steps, err, printable


def told_of(record: dict[str, Any], steps: int) -> str:
    """A line on a step: its number and its loss, and how many answers on the validation split are right if known."""
    valid = f" · valid {100 * record['valid']:.1f} %" if "valid" in record else ""
    return f"step {record['step']} of {steps} · loss {record['loss']:.3f}{valid}"


class TrainingProgress:
    """A bar on a terminal, a line a checkpoint elsewhere, nothing when quiet. See training.loop.Observer.

    told  the line on a step

    The first Ctrl-C lets the step end and a checkpoint be written, the second one stops at once.
    """

    def __init__(self, quiet: bool = False, told: Callable[[dict[str, Any], int], str] = told_of) -> None:
        self.quiet, self.told, self.stopping = quiet, told, False
        self.bar = Steps("training", quiet)

    def __enter__(self) -> "TrainingProgress":
        self._before = signal.signal(signal.SIGINT, self._interrupted)
        self.bar.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.__exit__(*error)
        signal.signal(signal.SIGINT, self._before)

    def _interrupted(self, *_: int | FrameType | None) -> None:
        self.stopping = True
        signal.signal(signal.SIGINT, signal.default_int_handler)

    def note(self, text: str) -> None:
        """See Observer."""
        if not self.quiet:
            err.print(printable(text), soft_wrap=True, markup=False)

    def step(self, record: dict[str, Any], steps: int) -> None:
        """See Observer."""
        self.bar.at(record["step"], steps, self.told(record, steps))

    def saved(self, record: dict[str, Any], steps: int) -> None:
        """See Observer."""
        if not err.is_terminal:
            self.note(self.told(record, steps))

    def stop(self) -> bool:
        """See Observer."""
        return self.stopping


@contextmanager
def watched(doing: str, quiet: bool) -> Iterator[Callable[[int, int], None]]:
    """A bar for what is looked at: a context that gives the function to tell."""
    with Steps(doing, quiet) as steps:
        yield lambda done, total: steps.at(done, total, f"{done} of {total}")


def quiet_transformers() -> None:
    """No bars and tables of transformers' own: what they would tell is checked and told in a line of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()
