"""Builds, proves and measures the GPU back-ends within a budget of time, and writes gpu.json and gpu.md.

Tests and sanitizers run beside each other, benches alone. The files are written anew after every check, so that
whatever ends the run leaves what was found until then. Stages that are not asked for keep what RESULTS/gpu.json says.
With --rehearse it is run on a machine without a GPU: nothing is built, benches are tiny, and the tables say so.
The status is 0 if all passed, 1 if something failed, 3 if nothing failed but something was not run, 4 if all passed
but a measurement missed its target.
"""

import argparse
import os
import signal
import sys
import tempfile
import threading
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any, NoReturn

import gpu_table
from gpu_plan import BUDGET_S, FAILED, NOT_RUN, ROOT, Check, Plan
from gpu_process import Clock, Processes
from gpu_sanitize import begin
from gpu_stages import STAGES, benches_in, machine

TO_PRINT = 11_000  # characters: who called may see no more than the end


class Record:
    """All checks so far, on disk after each one; several threads may add some."""

    def __init__(self, plan: Plan, chosen: list[str]) -> None:
        self.plan, self.chosen, self.checks = plan, chosen, list[Check]()
        self._lock = threading.Lock()
        self._kept = gpu_table.read(plan.results / "gpu.json")
        self._done: set[str] = set()
        self._ended = False

    def add_all(self, stage: str, checks: Iterable[Check]) -> None:
        """Note them as they come; a stage that raises has failed."""
        try:
            for check in checks:
                self.add(check)
        except Exception as error:
            self.add(Check(stage, stage, FAILED, 0.0, f"{type(error).__name__}: {error}"))
        with self._lock:
            if not self._ended:
                self._done.add(stage)
                self.write()

    def add(self, check: Check) -> None:
        """Note one, say so, and write the files."""
        passed_s = self.plan.clock.passed_s()
        with self._lock:
            if self._ended:
                return
            print(f"[{passed_s:.0f} s] {check.stage}: {check.name}: {check.status}. {check.note}", flush=True)
            self.checks.append(check)
            self.write()

    def end(self) -> None:
        """Write for the last time: what is ended from now on has not failed, and no thread writes beside another."""
        with self._lock:
            self._ended = True
            self.write()

    def found(self) -> dict[str, Any]:
        """What the JSON holds."""
        checks = [asdict(check) for check in self.checks]
        for stage in self.chosen:
            if stage not in self._done:
                checks.append(asdict(Check(stage, gpu_table.REST, NOT_RUN, 0.0, "the run ended before")))
        about = {"rehearsal": self.plan.rehearsal, "seconds": self.plan.clock.passed_s(), "facts": self.plan.facts}
        return gpu_table.merged([self._kept, {**about, "checks": checks, "benches": self.plan.rows}])

    def write(self) -> None:
        """gpu.json and gpu.md."""
        found = self.found()
        gpu_table.write(found, self.plan.results)

    def status(self) -> int:
        """Of the process; what a rehearsal leaves out is no fault of it, nor what it measures."""
        found = self.found()
        seen = {check["status"] for check in found["checks"] if check["note"] != "a rehearsal"}
        if seen & {FAILED, NOT_RUN}:
            return 1 if FAILED in seen else 3
        return 4 if gpu_table.missed(found) else 0


def run(record: Record) -> None:
    """All chosen stages: first the build, then whatever only proves, at once, then the benches."""
    plan, chosen = record.plan, record.chosen
    record.add_all("machine", machine(plan))
    if any(check.status == FAILED for check in record.checks if check.name != "packages"):
        return
    if {"build", "sanitize"} <= set(chosen):
        begin(plan)
    if "build" in chosen:
        record.add_all("build", STAGES["build"](plan))
    beside = [
        threading.Thread(target=record.add_all, args=(stage, STAGES[stage](plan)), daemon=True)
        for stage in ("tests", "sanitize")
        if stage in chosen
    ]
    for thread in beside:
        thread.start()
    for thread in beside:
        thread.join()
    if "bench" in chosen:
        record.add_all("bench", STAGES["bench"](plan))


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", nargs="?", type=Path, default=Path("gpu-results"), help="a folder")
    parser.add_argument("--rehearse", action="store_true", help="on a machine without a GPU")
    stages = os.environ.get("STAGES", ",".join(STAGES))
    parser.add_argument("--stages", default=stages, help="of build,tests,sanitize,bench; or the variable STAGES")
    parser.add_argument("--budget", type=float, default=BUDGET_S, help="seconds, 540 by default")
    parser.add_argument("--benches", type=Path, help="another folder of gpu_NAME.py")
    parser.add_argument("--only", nargs="+", default=[], help="of the benches: solve, prune, …; after RESULTS")
    parser.add_argument("--tests", type=Path, action="append", default=[], help="another test file")
    given = parser.parse_args()
    given.stages = [stage.strip() for stage in given.stages.split(",") if stage.strip()]
    if unknown := set(given.stages) - set(STAGES):
        parser.error(f"stages: expected some of {', '.join(STAGES)}, got {', '.join(sorted(unknown))}.")
    known = [path.stem.removeprefix("gpu_") for path in benches_in(given.benches or ROOT / "bench")]
    if unknown := set(given.only) - set(known):
        parser.error(
            f"only: expected some of {', '.join(known)}, got {', '.join(sorted(unknown))}. RESULTS goes first."
        )
    if given.budget <= 0:
        parser.error(f"budget: expected seconds above 0, got {given.budget:g}.")
    try:
        given.results.mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=given.results).close()
    except OSError as error:
        parser.error(f"results: {given.results} cannot be written ({error.strerror}). Give another folder.")
    if given.rehearse and gpu_table.read(given.results / "gpu.json").get("rehearsal") is False:
        parser.error(
            f"results: {given.results} holds a run on a GPU, which a rehearsal would replace. Give another folder."
        )
    return given


def environment(scratch: Path) -> dict[str, str]:
    """The source tree goes first, whatever is installed; the Triton twins need the name of their package."""
    (scratch / "fmcompress_triton").symlink_to(ROOT / "triton_kernels")
    paths = [str(ROOT), str(scratch), *filter(None, [os.environ.get("PYTHONPATH")])]
    # torch looks for the ninja of a virtual environment on the PATH alone, and compiles file by file without it
    programs = [str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]
    found = {"PYTHONPATH": os.pathsep.join(paths), "PATH": os.pathsep.join(programs), "PYTHONUNBUFFERED": "1"}
    # a bench that is ended leaves its files, of up to 32 GB: there they end with the run
    return {**os.environ, **found, "TMPDIR": str(scratch)}


def main() -> None:
    """Run the stages, print the table."""
    given = options()
    scratch = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    processes = Processes(environment(Path(scratch.name)))
    plan = Plan(given.results.resolve(), Clock(given.budget), processes, given.rehearse, Path(scratch.name))
    plan.tests = [path.resolve() for path in given.tests]
    plan.benches, plan.only = given.benches or plan.benches, frozenset(given.only)
    os.chdir(ROOT)
    record = Record(plan, given.stages)

    def end(number: int, frame: object) -> NoReturn:
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGINT, end)
    try:
        run(record)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        record.end()
        processes.stop()
        scratch.cleanup()
        print(gpu_table.markdown(record.found(), TO_PRINT), flush=True)
    sys.exit(record.status())


if __name__ == "__main__":
    main()
