"""What the stages of gpu_check.py share: the check that each of them yields, and the plan that it is run by."""

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_process import Clock, Ended, Processes

ROOT = Path(__file__).resolve().parent.parent
PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"


@dataclass(frozen=True)
class Check:
    """What was checked, how it went ("passed", "failed", "not run"), and what is to be said of it."""

    stage: str
    name: str
    status: str
    seconds: float = 0.0
    note: str = ""


@dataclass
class Plan:
    """Where results go, what time is left, and what was found so far.

    scratch  a folder for what no one need see
    benches  the folder of the benches
    only     the names of the benches to run, without gpu_; none: all
    tests    test files to run instead of those that need a GPU
    facts    of the machine
    rows     what each bench has written, by its name
    """

    results: Path
    clock: Clock
    processes: Processes
    rehearsal: bool
    scratch: Path
    benches: Path = ROOT / "bench"
    only: frozenset[str] = frozenset()
    tests: list[Path] = field(default_factory=list)
    facts: dict[str, Any] = field(default_factory=dict)
    rows: dict[str, Any] = field(default_factory=dict)

    def run(
        self, command: list[object], log: str, share: float = 1.0, most_s: float = 1e9, **environment: str
    ) -> Ended:
        """Run Python with these arguments, for at most that share of the time that is left."""
        limit_s = min(most_s, share * self.clock.left_s())
        return self.processes.run([sys.executable, *command], limit_s, self.results / log, **environment)


def checked(stage: str, name: str, ended: Ended) -> Check:
    """A command that ended as it should, or not, or not in time."""
    if ended.status is None:
        return Check(stage, name, NOT_RUN, ended.seconds, f"stopped at its limit of {ended.seconds:.0f} s")
    return Check(stage, name, FAILED if ended.status else PASSED, ended.seconds, ended.last_line()[:300])
