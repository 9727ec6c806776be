"""Runs commands under a limit of time, in process groups of their own, so that none outlives gpu_check.py."""

import contextlib
import os
import signal
import subprocess
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

MOST_LOG_BYTES = 8 << 20
REST_S = 5.0


class Clock:
    """Seconds since the start, of a budget."""

    def __init__(self, budget_s: float) -> None:
        self._start, self.budget_s = time.monotonic(), budget_s

    def passed_s(self) -> float:
        """Since the start."""
        return time.monotonic() - self._start

    def left_s(self) -> float:
        """Until the budget is spent."""
        return self.budget_s - self.passed_s()


@dataclass(frozen=True)
class Ended:
    """status is that of the process, None where it was stopped at the limit; output is stdout and stderr together."""

    status: int | None
    seconds: float
    output: str

    def last_line(self) -> str:
        """What most likely says why."""
        lines = [line.strip() for line in self.output.splitlines() if line.strip()]
        return lines[-1] if lines else "no output"


class Processes:
    """All that runs now; several threads may start some."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        self.environment = dict(environment)
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._stopped = False

    def run(self, command: Sequence[object], limit_s: float, log: Path | None = None, **environment: str) -> Ended:
        """Run a command until it ends or the limit is reached, and append what it says to a log."""
        start = time.monotonic()
        with self._lock:
            if self._stopped:
                return Ended(None, 0.0, "stopped")
            process = subprocess.Popen(
                [str(part) for part in command],
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                errors="replace",
                start_new_session=True,
                env={**self.environment, **environment},
            )
            self._running.add(process)
        try:
            output, status = process.communicate(timeout=max(limit_s, 0.1))[0], process.returncode
        except subprocess.TimeoutExpired:
            _kill(process)
            output, status = _rest(process), None
        except BaseException:
            _kill(process)
            raise
        finally:
            with self._lock:
                self._running.discard(process)
        if log is not None:
            _append(log, f"$ {' '.join(map(str, command))}\n{output}\n")
        return Ended(status, time.monotonic() - start, output)

    def stop(self) -> None:
        """End all that runs, and start nothing more."""
        with self._lock:
            self._stopped = True
            for process in self._running:
                _kill(process)


def _kill(process: "subprocess.Popen[str]") -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _rest(process: "subprocess.Popen[str]") -> str:
    """What an ended process has said. A descendant in a session of its own may keep its output open for ever."""
    try:
        return process.communicate(timeout=REST_S)[0]
    except subprocess.TimeoutExpired as late:
        said = late.output or ""
        return said if isinstance(said, str) else said.decode(errors="replace")


def _append(log: Path, text: str) -> None:
    """Of a log that would be too long to be fetched, the beginning is kept."""
    room = MOST_LOG_BYTES - (log.stat().st_size if log.exists() else 0)
    with log.open("a") as file:
        file.write(text[: max(0, room)])
