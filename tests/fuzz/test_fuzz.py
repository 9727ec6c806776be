"""Builds what reads bytes from elsewhere with sanitizers and lets fuzz_*.cpp loose on it, for a few seconds.

FMCOMPRESS_FUZZ=3600s pytest tests/fuzz takes an hour instead, with another seed: set FMCOMPRESS_FUZZ_SEED to repeat one.
The input of a failure stays in the folder that the test names.
"""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from helpers import ROOT

HERE = Path(__file__).parent
FLAGS = [
    "-O1",
    "-g1",
    "-std=c++20",
    "-Wall",
    "-fsanitize=address,undefined,float-cast-overflow",
    "-fno-sanitize-recover=all",
]
INCLUDES = [f"-I{HERE / 'shim'}", f"-I{ROOT / 'csrc'}"]
RUNS = os.environ.get("FMCOMPRESS_FUZZ", "")
SEED = os.environ.get("FMCOMPRESS_FUZZ_SEED", str(time.time_ns() % 10**9) if RUNS.endswith("s") else "0")


# program -> the kernels that it watches, in csrc/cpu, and how many runs it makes
PROGRAMS = {"fuzz_unpack": (("codes", "bitmask"), "6000"), "fuzz_cocktail": (("cocktail",), "3000")}


@pytest.fixture(scope="module", params=PROGRAMS)
def fuzzer(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = request.param
    folder = tmp_path_factory.mktemp("fuzz")
    if shutil.which("g++") is None:
        pytest.skip("no g++")
    (folder / "empty.cpp").write_text("int main() {}")
    if subprocess.run(["g++", *FLAGS, "empty.cpp", "-o", "empty"], cwd=folder, capture_output=True).returncode:
        pytest.skip("this g++ has no sanitizers: install libasan and libubsan")
    watched = [
        (ROOT / "csrc" / "cpu" / f"{name}.cpp", ["-fsanitize-coverage=trace-pc"]) for name in PROGRAMS[program][0]
    ]
    sources = [*watched, (ROOT / "csrc" / "cpu" / "isa.cpp", []), (HERE / f"{program}.cpp", [])]
    objects = [folder / f"{source.stem}.o" for source, _ in sources]
    compiling = [
        subprocess.Popen(["g++", *FLAGS, *more, *INCLUDES, "-c", source, "-o", target])
        for (source, more), target in zip(sources, objects, strict=True)
    ]
    assert [process.wait() for process in compiling] == [0] * len(compiling)
    subprocess.run(["g++", *FLAGS, *objects, "-o", folder / program], check=True)
    return folder / program


def test_no_input_breaks_the_decoders(fuzzer: Path) -> None:
    crash = fuzzer.with_name("crash")
    runs = RUNS or PROGRAMS[fuzzer.name][1]
    done = subprocess.run([fuzzer, runs, SEED, crash], capture_output=True, text=True)
    assert done.returncode == 0, f"seed {SEED}, {crash}:\n{done.stderr[:4000]}"
    facts = json.loads(done.stdout)
    assert facts["edges"] > 500, "the decoders are not watched"
    assert facts["inputs"] > 50, "nothing is learnt from what inputs reach"


def test_a_byte_beyond_the_end_is_noticed(fuzzer: Path) -> None:
    crash = fuzzer.with_name("expected_crash")
    done = subprocess.run([fuzzer, "short", "1000", "0", crash], capture_output=True, text=True)
    assert done.returncode != 0
    assert "AddressSanitizer: heap-buffer-overflow" in done.stderr
    again = subprocess.run([fuzzer, "short", "replay", crash], capture_output=True, text=True)
    assert "heap-buffer-overflow" in again.stderr
    assert subprocess.run([fuzzer, "replay", crash], capture_output=True).returncode == 0
