"""Runs of gpu_check.sh on a machine without a GPU, with benches made for a test."""

import json
import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "bench"))
import gpu_check  # noqa: E402
import gpu_plan  # noqa: E402
import gpu_sanitize  # noqa: E402
import gpu_stages  # noqa: E402
import gpu_table  # noqa: E402
from gpu_plan import Check, Plan  # noqa: E402
from gpu_process import Clock, Ended, Processes  # noqa: E402

# with the path set above
__all__ = [
    "Check",
    "Clock",
    "Ended",
    "Plan",
    "Processes",
    "gpu_check",
    "gpu_plan",
    "gpu_sanitize",
    "gpu_stages",
    "gpu_table",
]

BENCH = """
import json, sys
rows = [{"group": "layer solve", "case": "4 x 4", "seconds": 0.5, "baseline": "eager", "baseline_s": 1.0, "speedup": 2.0,
         "bytes_floor_s": 0.1, "flops_floor_s": 0.0, "most_s": 1.0, "least_speedup": None, "least_of_floor": None,
         "met": True}]
Rows(rows)
"""
GOOD = "def Rows(rows):\n    about = {'ceilings': {'copy': 1e9}, 'small': True, 'machine': {}}\n"
GOOD += "    open(sys.argv[sys.argv.index('--json') + 1], 'w').write(json.dumps({**about, 'rows': rows}))\n"


def folder_of(folder: Path, **programs: str) -> Path:
    """A folder of benches; those called good write a row."""
    folder.mkdir()
    for name, program in programs.items():
        (folder / f"gpu_{name}.py").write_text("import json, sys\n" + GOOD + BENCH if program == "good" else program)
    return folder


def rehearse(results: Path, *arguments: object, **environment: str) -> tuple[int, dict, str]:
    """The exit status, what gpu.json holds and what was printed."""
    command = ["bash", ROOT / "bench/gpu_check.sh", "--rehearse", *arguments, results]
    whole = {**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **environment}
    run = subprocess.run(list(map(str, command)), check=False, capture_output=True, text=True, env=whole)
    assert (results / "gpu.json").exists(), run.stderr
    return run.returncode, json.loads((results / "gpu.json").read_text()), run.stdout


def plan_of(folder: Path, rehearsal: bool = True, **more: object) -> Plan:
    return Plan(folder, Clock(60), Processes(os.environ), rehearsal, folder, **more)


def status_of(found: dict) -> dict[str, str]:
    return {check["name"]: check["status"] for check in found["checks"]}
