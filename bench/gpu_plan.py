"""What the stages of gpu_check.py share: the check that each of them yields, and the plan that it is run by.

All of it is meant to fit into BUDGET_S. How long each part should take on an H200 beside 16 cores is in EXPECTED_S:
estimates, from what each must compute and what nvcc takes elsewhere, until a run has told better. The build, with a job
a core, takes as long as its longest file; the sanitizers run beside the tests. A bench may take twice what is expected
of it, and a whole prune is begun only where that much is left.
"""

import sys
from concurrent.futures import Future
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpu_process import Clock, Ended, Processes

ROOT = Path(__file__).resolve().parent.parent
PASSED, FAILED, NOT_RUN = "passed", "failed", "not run"
BUDGET_S = 540.0
EXPECTED_S = {
    **{"machine": 20.0, "build": 50.0, "tests": 110.0},
    **{"solve": 35.0, "cocktail": 25.0, "linear": 20.0, "hessian": 10.0, "factor": 20.0, "experts": 30.0},
    **{"attend": 9.0, "decode": 45.0, "ops": 20.0, "prune": 105.0, "cocktail triton": 20.0, "linear triton": 20.0},
}
LEAST_EXPECTED_S = 30.0  # of a bench that nobody has estimated, or whose start may take as long as the rest
# what of a bench is run among all others; of one that is asked for by --only, everything
SHARED = {
    "prune": ["--cases", "50 %", "--no-eager"],
    "cocktail triton": ["--few"],
    "linear triton": ["--few"],
}


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
    loads    whether the kernels that were built here have been seen to load
    begun    what runs beside the build: the small cases of a back-end, by its name
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
    loads: bool = False
    begun: dict[str, Future[Ended]] = field(default_factory=dict)

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
