"""The stages of gpu_check.py: the machine, the build, the tests and the benches; gpu_sanitize.py has one more.

Each yields checks. A stage raises for nothing that it finds: what fails or is not run is a check that says so.
"""

import json
import os
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree import ElementTree

from gpu_plan import EXPECTED_S, FAILED, LEAST_EXPECTED_S, NOT_RUN, PASSED, ROOT, SHARED, Check, Plan, checked
from gpu_process import Ended
from gpu_sanitize import sanitize

NEEDED = ["torch", "numpy", "safetensors", "typer", "rich", "pydantic", "yaml", "pybind11", "setuptools", "pytest"]
NEEDED += ["triton", "packaging", "transformers", "tokenizers", "hypothesis"]
FACTS = """
import json, platform, torch
from torch.utils.cpp_extension import CUDA_HOME
found = {"python": platform.python_version(), "torch": torch.__version__, "cuda": torch.version.cuda}
found["toolkit"] = CUDA_HOME
for name in ("triton", "transformers", "numpy"):
    try:
        found[name] = __import__(name).__version__
    except ImportError:
        found[name] = None
if torch.cuda.is_available():
    about = torch.cuda.get_device_properties(0)
    found |= {"gpu": about.name, "capability": f"{about.major}.{about.minor}", "memory_bytes": about.total_memory}
print(json.dumps(found))
"""
LOADS = """
import fmcompress, fmcompress_triton.register
explained = fmcompress.explain()
print(*(f"{name}: {reason}" for name, reason in explained.items()), sep="; ")
assert explained["cuda"] == "built in" and explained["triton"] == "loaded"
"""
# benches by importance; those of other names come before the last one
ORDER = ["solve", "cocktail", "linear", "hessian", "factor", "experts", "decode", "prune"]
HANGS_S = 90  # a test that takes so long says where it is: it may be the one that ends the stage
LEAST_S = 8.0  # with less time left nothing is begun
WHOLE = {"prune"}  # with less time than is expected of it, one that writes its rows at its end takes that of others


def machine(plan: Plan) -> Iterator[Check]:
    """Versions, and what the environment lacks."""
    find = f"import importlib.util as u; print(*(n for n in {NEEDED!r} if u.find_spec(n) is None))"
    ended = plan.run(["-c", find], "build.log", most_s=60)
    missing = ended.output.split() if ended.status == 0 else []
    if not plan.rehearsal and shutil.which("ninja", path=plan.processes.environment.get("PATH")) is None:
        missing.append("ninja, without which the build takes many times as long")
    if missing:
        note = f"not installed: {', '.join(missing)}. Install them; where no index is reached, carry their wheels"
        yield Check("machine", "packages", FAILED, ended.seconds, note)
    ended = plan.run(["-c", FACTS], "build.log", most_s=120)
    if ended.status != 0:
        yield checked("machine", "torch", ended)
        return
    plan.facts.update(json.loads(ended.last_line()))
    if shutil.which("nvidia-smi"):
        query = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
        plan.facts["driver"] = plan.processes.run(query, 20).last_line()
    lacks = [] if plan.rehearsal or "gpu" in plan.facts else [f"torch {plan.facts['torch']} sees no GPU"]
    if not plan.rehearsal and plan.facts["toolkit"] is None:
        lacks.append("no CUDA toolkit: set CUDA_HOME to where bin/nvcc is")
    if not plan.rehearsal and shutil.which("g++") is None:
        lacks.append("no g++")
    name = "what it has" if plan.rehearsal else "GPU, toolkit and compiler"
    yield Check("machine", name, FAILED if lacks else PASSED, ended.seconds, "; ".join(lacks))


def build(plan: Plan) -> Iterator[Check]:
    """The extension with CUDA, for this GPU only."""
    if plan.rehearsal:
        yield Check("build", "extension with CUDA", NOT_RUN, 0.0, "a rehearsal")
        return
    target = os.environ.get("TORCH_CUDA_ARCH_LIST") or plan.facts.get("capability", "9.0")
    jobs = os.environ.get("MAX_JOBS") or str(os.cpu_count())
    wanted = {"FMCOMPRESS_BUILD": "cuda", "TORCH_CUDA_ARCH_LIST": target, "MAX_JOBS": jobs}
    ended = plan.run(["setup.py", "build_ext", "--inplace"], "build.log", 0.6, **wanted)
    yield checked("build", f"extension with CUDA for {target}, {jobs} jobs", ended)
    loads = checked("build", "it loads", plan.run(["-c", LOADS], "build.log", most_s=60))
    plan.loads = loads.status == PASSED
    yield loads


def tests_on_gpu() -> list[Path]:
    """The test files that may hold tests marked cuda: what the others import need not be installed."""
    every = sorted((ROOT / "tests").rglob("test_*.py"))
    return [path for path in every if re.search(r"mark\.cuda|\bon_devices\b", path.read_text())]


def counted(report: Path, ended: Ended, name: str = "tests marked cuda") -> Check:
    """What a run of tests says: passed tests and nothing else will do, and there must be some."""
    if ended.status is None or not report.exists():
        note = f"stopped at its limit of {ended.seconds:.0f} s" if ended.status is None else ended.last_line()[:300]
        return Check("tests", name, FAILED, ended.seconds, note)
    cases = list(ElementTree.parse(report).iter("testcase"))
    bad: dict[str, list[str]] = {}
    for case in cases:
        for kind in ("failure", "error", "skipped"):
            if case.find(kind) is not None:
                bad.setdefault(kind, []).append(f"{case.get('classname')}::{case.get('name')}")
    counts = [f"{len(cases)} tests", *(f"{len(names)} {kind}" for kind, names in bad.items())]
    names = "; ".join(f"{kind}: {', '.join(names)}" for kind, names in bad.items())
    good = ended.status == 0 and cases and not bad
    note = ", ".join(counts) + (f". {names}" if names else "")
    return Check("tests", name, PASSED if good else FAILED, ended.seconds, note[:1500])


def tests(plan: Plan) -> Iterator[Check]:
    """All tests marked cuda, of which none may be skipped; then what the compilers made of the kernels."""
    report = plan.results / "tests.xml"
    report.unlink(missing_ok=True)
    files = plan.tests or ([ROOT / "tests/test_on_gpu.py"] if plan.rehearsal else tests_on_gpu())
    pytest: list[object] = ["-m", "pytest", "-ra", "-p", "no:cacheprovider"]
    pytest += ["--continue-on-collection-errors", "-o", f"faulthandler_timeout={HANGS_S}"]
    several: list[object] = []
    if not plan.rehearsal and plan.run(["-c", "import xdist"], "build.log", most_s=30).status == 0:
        several = ["-n", min(8, os.cpu_count() or 1), "--dist", "worksteal"]  # compiling Triton takes longest
    marked = ["-m", "not cuda" if plan.rehearsal else "cuda", "--durations=10", f"--junitxml={report}"]
    expected = "reference" if plan.rehearsal else "reference,native,triton,cuda"
    command = [*pytest, *several, *marked, *files]
    ended = plan.run(command, "tests.log", 0.5, FMCOMPRESS_EXPECT_BACKENDS=expected)
    yield counted(report, ended, "tests without a GPU" if plan.rehearsal else "tests marked cuda")
    if plan.rehearsal:
        return
    compiling = [ROOT / "tests/test_kernels_compile.py", ROOT / "tests/test_triton_cocktail.py"]
    few = "cuda_key or rounding"  # the rest needs no GPU and takes minutes
    command = [*pytest, *several, "-k", few, "-m", "not cuda", *compiling]
    ended = plan.run(command, "tests.log", 0.5, most_s=60)
    yield checked("tests", "every op has a CUDA kernel, and Triton rounds as written", ended)


def benches_in(folder: Path) -> list[Path]:
    """All gpu_NAME.py that write rows as bench/gpu.py says, the most important first."""
    found = [path for path in sorted(folder.glob("gpu_*.py")) if re.search(r"\bRows\(", path.read_text())]

    def place(path: Path) -> float:
        name = path.stem.removeprefix("gpu_")
        return ORDER.index(name) if name in ORDER else len(ORDER) - 1.5

    return sorted(found, key=place)


def runs_of(plan: Plan) -> list[tuple[str, list[object]]]:
    """Names and commands of the benches to run: all, then with the Triton twins those that can choose a back-end."""
    paths = [path for path in benches_in(plan.benches) if not plan.only or path.stem.removeprefix("gpu_") in plan.only]
    how = ["--device", "cpu", "--small"] if plan.rehearsal else ["--device", "cuda"]
    runs: list[tuple[str, list[object]]] = [(path.stem, [path, *how]) for path in paths]
    if not plan.rehearsal:  # on a CPU they are interpreted
        choosing = [path for path in paths if '"--backend"' in path.read_text()]
        runs += [(f"{path.stem} triton", [path, *how, "--backend", "triton"]) for path in choosing]
    shared = not plan.rehearsal and not plan.only
    return [(name, [*command, *(SHARED.get(short(name), ()) if shared else ())]) for name, command in runs]


def short(name: str) -> str:
    """Of a bench, as EXPECTED_S and --only have it."""
    return name.removeprefix("gpu_")


def bench(plan: Plan) -> Iterator[Check]:
    """Every bench in turn, alone on the machine; one that no time is left for says so."""
    runs = runs_of(plan)
    if not runs:
        yield Check("bench", "benches", FAILED, 0.0, f"there is none in {plan.benches}")
    if not plan.rehearsal and not plan.loads:  # else whole commands would run on the reference, and time that
        yield checked("bench", "the kernels load", plan.run(["-c", LOADS], "build.log", most_s=60))
    for name, command in runs:
        left_s, shared = plan.clock.left_s(), not plan.rehearsal and not plan.only
        expected_s = max(LEAST_EXPECTED_S, EXPECTED_S.get(short(name), 0.0))
        if left_s < max(LEAST_S, expected_s if shared and short(name) in WHOLE else 0.0):
            only = short(name).split()[0]
            yield Check("bench", name, NOT_RUN, 0.0, f"{left_s:.0f} s were left: run it with --only {only}")
            continue
        written = plan.scratch / f"{name}.json"
        own_s = 2 * expected_s if shared else left_s
        ended = plan.run([*command, "--json", written], "bench.log", most_s=min(own_s, left_s - 3))
        check = checked("bench", name, ended)
        try:
            found = json.loads(written.read_text())
        except (OSError, ValueError):
            found = {}
        if found.get("rows"):
            plan.rows[name] = found
        elif check.status == PASSED:
            check = Check("bench", name, FAILED, ended.seconds, "it wrote no rows")
        yield check


STAGES: dict[str, Callable[[Plan], Iterator[Check]]] = {
    "build": build,
    "tests": tests,
    "sanitize": sanitize,
    "bench": bench,
}
