"""What a person sees of a training, and how Ctrl-C ends it between two steps."""

import signal
from types import FrameType
from typing import Any

from ...report import Steps, err, printable


class TrainingProgress:
    """A bar on a terminal, a line a checkpoint elsewhere, nothing when quiet. See run.Observer.

    The first Ctrl-C lets the step end and a checkpoint be written, the second one stops at once.
    """

    def __init__(self, quiet: bool = False) -> None:
        self.quiet, self.stopping = quiet, False
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
        """See run.Observer."""
        if not self.quiet:
            err.print(printable(text), soft_wrap=True, markup=False)

    def step(self, record: dict[str, Any], steps: int) -> None:
        """See run.Observer."""
        self.bar.at(record["step"], steps, _told(record, steps))

    def saved(self, record: dict[str, Any], steps: int) -> None:
        """See run.Observer."""
        if not err.is_terminal:
            self.note(_told(record, steps))

    def stop(self) -> bool:
        """See run.Observer."""
        return self.stopping


def quiet_transformers() -> None:
    """No bars and tables of transformers' own: what they would tell is checked and told in a line of ours."""
    from transformers.utils import logging

    logging.disable_progress_bar()
    logging.set_verbosity_error()


def summary(facts: dict[str, Any]) -> str:
    """A line on a finished training."""
    if facts.get("finished_before"):
        return f"{facts['out']}: nothing left to do."
    told = [f"{facts['steps']} steps on {facts['pairs']} pairs"]
    for kind, losses in facts["losses"].items():
        told.append(f"{kind}: " + ", ".join(f"{name} {value:.3f}" for name, value in losses.items()))
    return printable(f"{facts['out']}: {' · '.join(told)}")


def _told(record: dict[str, Any], steps: int) -> str:
    kind = "videos" if record["videos"] else "images"
    return f"step {record['step']} of {steps} · {record['stage']} stage · {kind} · loss {record['loss']:.3f}"
