"""The stage of gpu_check.py that runs small cases of every op under compute-sanitizer.

A tool first has to find a fault that was planted for it, with the very options that it is used with afterwards: one
that does not, or that refuses the device, has proven nothing, and its checks are "not run".
"""

import os
import re
import shutil
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path

from gpu_plan import FAILED, NOT_RUN, PASSED, ROOT, Check, Plan, checked
from gpu_process import Ended

TOOLS = ("memcheck", "racecheck", "synccheck", "initcheck")
BACKENDS = ("native", "triton")
LOG, SMALL = "sanitize.log", ROOT / "tests/gpu_small.py"
FOUND = 86  # what compute-sanitizer returns when it has found something
# what Triton starts to compile with would be watched, too; and torch may take longer to load than a tool waits for the
# first call of CUDA, which is ten seconds
OPTIONS = ["--target-processes", "application-only", "--launch-timeout", "300"]
# no fault inside of kernels of torch and CUDA is ours; a filter sees mangled names, a report has them demangled
FOREIGN = "cublas|cutlass|nvjet|xmma|gemm|3cub|cub::|2at6native|at::native"
EXCLUDED = ["--kernel-name-exclude", f"regex={FOREIGN}"]
# after a fault the rest is still run, and the program ends by itself: what it returns is FOUND only then
GOES_ON = ["--destroy-on-device-error", "kernel"]
MORE = {
    # tensors may lie back to back, where an access beyond one is none; torch asks the driver for what it need not have
    "memcheck": [*EXCLUDED, *GOES_ON, "--padding", "256", "--report-api-errors", "no"],
    "racecheck": EXCLUDED,
    "synccheck": [*EXCLUDED, *GOES_ON],
    # what an excluded kernel writes would count as never written: reports of those are left out afterwards
    "initcheck": ["--print-limit", "1000"],
}
PLANTED = {  # what a tool says of the fault that was planted for it
    "memcheck": "Invalid __global__ write",
    "racecheck": "Race reported",
    "synccheck": "Barrier error",
    "initcheck": "Uninitialized __global__ memory read",
}
REFUSED = ("Device not supported", "no memory of a GPU")
CLEAN = ("ERROR SUMMARY: 0 errors", "RACECHECK SUMMARY: 0 hazards")
# torch's allocator would hide an access beyond a tensor, and memory that an earlier tensor has written
BARE = {"PYTORCH_NO_CUDA_MEMORY_CACHING": "1"}


def sanitizer(toolkit: str | None = None) -> str | None:
    """Where compute-sanitizer is."""
    places = [os.environ.get("COMPUTE_SANITIZER"), shutil.which("compute-sanitizer")]
    homes = [os.environ.get("CUDA_HOME"), toolkit, "/usr/local/cuda"]
    places += [f"{home}/bin/compute-sanitizer" for home in homes if home]
    return next((place for place in places if place and Path(place).exists()), None)


def compiled(plan: Plan) -> Path | None:
    """The program with faults in CUDA kernels."""
    compiler = shutil.which("nvcc") or f"{plan.facts.get('toolkit')}/bin/nvcc"
    target = f"-arch=sm_{plan.facts.get('capability', '9.0').replace('.', '')}"
    command = [compiler, target, "-O1", "-o", plan.scratch / "planted", ROOT / "tests/gpu_planted.cu"]
    try:
        ended = plan.processes.run(command, 60, plan.results / LOG)
    except OSError:
        return None
    return plan.scratch / "planted" if ended.status == 0 else None


def proven(plan: Plan, program: str, tool: str, faulty: list[object]) -> tuple[list[object], str]:
    """How the tool is called so that it finds its planted fault; or nothing, and why it proves nothing here."""
    why = ""
    for options in ([*OPTIONS, *MORE.get(tool, [])], []):
        command: list[object] = [program, "--tool", tool, f"--error-exitcode={FOUND}", *options]
        ended = plan.processes.run([*command, *faulty], min(60, plan.clock.left_s()), plan.results / LOG, **BARE)
        if PLANTED[tool] in ended.output and not any(text in ended.output for text in REFUSED):
            return command, ""
        why = why or f"it did not find a planted fault: {said(ended)}"
    return [], why


def said(ended: Ended) -> str:
    """Its first finding; or else its last word."""
    lines = [line for line in reports(ended) if line and "COMPUTE-SANITIZER" not in line]
    return (lines[0] if lines else ended.last_line())[:200]


def reports(ended: Ended) -> list[str]:
    """The lines that the tool itself has printed."""
    return [line[9:].strip() for line in ended.output.splitlines() if line.startswith("=========")]


def foreign(ended: Ended) -> int:
    """How many reads of what was never written were found, if all of them are inside of kernels that are not ours."""
    lines = reports(ended)
    places = [at for what, at in pairwise(lines) if what.startswith("Uninitialized") and at.startswith("at ")]
    all_of_them = f"ERROR SUMMARY: {len(places)} error" + ("" if len(places) == 1 else "s")
    return len(places) if all_of_them in lines and all(re.search(FOREIGN, at) for at in places) else 0


def judged(name: str, ended: Ended) -> Check:
    """What a tool says of the small cases."""
    check = checked("sanitize", name, ended)
    if ended.status == FOUND and foreign(ended):
        note = f"{foreign(ended)} reads inside of kernels of torch and CUDA, none in ours"
        return Check("sanitize", name, PASSED, ended.seconds, note)
    if check.status == FAILED:
        return Check("sanitize", name, FAILED, ended.seconds, said(ended))
    if check.status == PASSED and not any(text in ended.output for text in CLEAN):
        found = [line for line in ended.output.splitlines() if "SUMMARY:" in line]  # such as warnings of racecheck
        if found:
            return Check("sanitize", name, FAILED, ended.seconds, f"{said(ended)}; {found[-1].strip('= ')}"[:300])
        return Check("sanitize", name, NOT_RUN, ended.seconds, "it ended without a summary")
    return check


def one(plan: Plan, program: str, fault: Path | None, tool: str, backend: str) -> Check:
    """One tool on the small cases of one back-end."""
    name = f"{tool}, {backend}"
    faulty: list[object] = [fault, tool]
    if backend == "triton" and tool in ("memcheck", "initcheck"):
        faulty = [sys.executable, ROOT / "tests/gpu_planted.py", tool]
    elif fault is None:
        return Check("sanitize", name, NOT_RUN, 0.0, "the program with planted faults does not compile")
    command, why = proven(plan, program, tool, faulty)
    if why:
        return Check("sanitize", name, NOT_RUN, 0.0, why)
    whole = [*command, sys.executable, SMALL, backend]
    return judged(name, plan.processes.run(whole, 0.5 * plan.clock.left_s(), plan.results / LOG, **BARE))


def begin(plan: Plan) -> None:
    """Launch Triton's kernels while nvcc compiles the others: tests and tools find most of them compiled then."""
    if not plan.rehearsal:
        plan.begun["triton"] = ThreadPoolExecutor(1).submit(launches, plan, "triton")


def launches(plan: Plan, backend: str) -> Ended:
    """Which kernels the small cases launch."""
    return plan.run([SMALL, backend, "--kernels"], LOG, 0.5)


def sanitize(plan: Plan) -> Iterator[Check]:
    """Which kernels the small cases launch; then each tool on each back-end, all at once."""
    if plan.rehearsal:
        ended = plan.run([SMALL, "native", "--device", "cpu"], LOG)
        yield checked("sanitize", "small cases, on the CPU", ended)
        yield Check("sanitize", "compute-sanitizer", NOT_RUN, 0.0, "a rehearsal")
        return
    with ThreadPoolExecutor(len(BACKENDS) * (len(TOOLS) + 1)) as pool:
        launched = {name: plan.begun.get(name) or pool.submit(launches, plan, name) for name in BACKENDS}
        program = sanitizer(plan.facts.get("toolkit"))
        if program is None:
            for tool in TOOLS:
                yield Check("sanitize", tool, NOT_RUN, 0.0, "compute-sanitizer is not installed")
        else:
            fault = compiled(plan)
            runs = [pool.submit(one, plan, program, fault, tool, backend) for tool in TOOLS for backend in BACKENDS]
            yield from (run.result() for run in runs)
        for backend, run in launched.items():
            yield checked("sanitize", f"kernels that the small cases launch, {backend}", run.result())
