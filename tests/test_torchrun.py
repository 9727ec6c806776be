"""The command line under torchrun: two processes, one voice."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from helpers import ROOT, make_checkpoint, make_text

from fmcompress.formats import open_checkpoint
from fmcompress.journal import FILE

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("torchrun")
    make_checkpoint(home / "model", blocks=3, hidden=64)
    make_text(home / "text.txt", 200_000)
    return home


def start(*args: object, count: int = 2, program: tuple[object, ...] = ("-m", "fmcompress")) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={count}"]
    command += map(str, [*program, *args])
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "COLUMNS": "200"}
    return subprocess.Popen(
        command, cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def run(*args: object, count: int = 2) -> tuple[int, str, str]:
    process = start(*args, count=count)
    stdout, stderr = process.communicate(timeout=120)
    return process.returncode, stdout, stderr


def prune(home: Path, out: Path, samples: int, *more: object) -> list[object]:
    options = ["--sparsity", 0.5, "--calibration", home / "text.txt", "--samples", samples, "--sequence-length", 64]
    return ["prune", home / "model", out, *options, *more]


def test_two_processes_speak_with_one_voice(home: Path, tmp_path: Path) -> None:
    code, stdout, stderr = run(*prune(home, tmp_path / "out", 17))
    assert code == 0, stderr
    assert len(stdout.splitlines()) == 1
    assert "50.00 % of 110,592 weights are zero" in stdout
    assert "2 ranks" in stdout
    told = re.findall(r"block \d/3 · (\S+)", stderr)
    assert len(told) == len(set(told)) == 21
    code, stdout, stderr = run(*prune(home, tmp_path / "out", 17))
    assert code != 0
    assert stderr.count("error:") == 1
    assert "is not empty" in stderr
    code, stdout, stderr = run("eval", tmp_path / "out", "--text", home / "text.txt", "--max-windows", 2)
    assert code == 0, stderr
    assert stdout.count("perplexity") == 1
    assert stderr.count("eval runs in one process") == 1


SCRIPT = """
from pathlib import Path
from fmcompress.ranks import Ranks

with Ranks.of_environment() as ranks:
    import transformers.models.llama.modeling_llama
    ranks.gather(1)
names = [(task / "comm").read_text() for task in Path("/proc/self/task").iterdir()]
assert not [name for name in names if "gloo" in name], names
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="needs /proc to see threads")
def test_no_thread_outlives_the_connection(tmp_path: Path) -> None:
    """One that does may abort a process that exits, now and then."""
    (tmp_path / "script.py").write_text(SCRIPT)
    process = start(program=(tmp_path / "script.py",))
    _, stderr = process.communicate(timeout=120)
    assert process.returncode == 0, stderr


def pid_of(agent: int, rank: int) -> int:
    """The process of a rank, among the children of torchrun."""
    for child in Path(f"/proc/{agent}/task/{agent}/children").read_text().split():
        if f"\0RANK={rank}\0" in f"\0{Path(f'/proc/{child}/environ').read_text()}":
            return int(child)
    raise AssertionError("torchrun has no such child")


@pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="needs /proc to tell the processes apart")
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_process_is_told_and_resumed(home: Path, tmp_path: Path, victim: int) -> None:
    out, samples = tmp_path / "out", 300
    process = start(*prune(home, out, samples))
    journal = out.with_name("out.partial") / FILE
    while process.poll() is None and not (journal.exists() and len(journal.read_bytes().splitlines()) > 1):
        time.sleep(0.01)
    assert process.poll() is None, process.communicate()
    os.kill(pid_of(process.pid, victim), signal.SIGKILL)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode != 0
    assert stdout == ""
    assert stderr.count("error: another rank ended (") == 1
    assert "the same command with --resume goes on" in stderr
    assert not out.exists()
    code, stdout, stderr = run(*prune(home, out, samples, "--resume"), count=1 + victim)
    assert code == 0, stderr
    assert "resuming: " in stderr
    weight = open_checkpoint(out).read("model.layers.2.mlp.down_proj.weight")
    assert int((weight == 0).sum()) == weight.numel() // 2
