"""Networks measured between gloo ranks: what times come to, who meets whom, and what happens when a rank has gone."""

import os
import signal
import subprocess
import sys
import time
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from gradients.workers import _enter, run, start

from fmcompress.errors import CommunicationError, ConfigError
from fmcompress.scheduling import Network
from fmcompress.scheduling import probe as module
from fmcompress.scheduling.probe import LEAST_SHARE, probe, probe_under_torchrun, rounds

SIZES = {"small_bytes": 4, "large_bytes": 1 << 16, "repeats": 2}


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8, 64])
def test_all_pairs_meet_once_in_rounds_without_sharing(count):
    found = list(rounds(count))
    assert len(found) == count - 1 + count % 2
    assert sorted(pair for pairs in found for pair in pairs) == list(combinations(range(count), 2))
    for pairs in found:
        assert len({*np.array(pairs).flatten().tolist()}) == 2 * len(pairs) == count - count % 2


def truth(count: int) -> tuple[np.ndarray, np.ndarray]:
    chance = np.random.default_rng(0)
    delay = chance.uniform(0.001, 0.02, (count, count))
    return delay, chance.uniform(1e7, 1e8, (count, count))


def measure(rank: int, count: int) -> dict:
    """A probe whose messages are real and whose clock is that of a known network, later the faster."""
    delay, speed = truth(count)
    real, calls = module._Link._run, []

    def run_and_tell(link: module._Link, asks: bool, message: torch.Tensor, answer: torch.Tensor, peer: int) -> float:
        assert real(link, asks, message, answer, peer) > 0
        calls.append(peer)
        slower = 1.0 + 1 / len(calls) if len(calls) % 3 else 1.0  # one of three tries is undisturbed
        trip = delay[rank, peer] + delay[peer, rank]
        return slower * (trip + (8 * message.nbytes / speed[rank, peer] if message.nbytes > 4 else 0))

    module._Link._run = run_and_tell
    return probe(**SIZES).as_dict()


def test_the_numbers_are_those_of_the_network(tmp_path):
    found = run(measure, 5, tmp_path / "run")
    assert all(other == found[0] for other in found)
    delay, speed = truth(5)
    off = ~np.eye(5, dtype=bool)
    np.testing.assert_allclose(np.array(found[0]["delay_s"])[off], ((delay + delay.T) / 2)[off])
    np.testing.assert_allclose(np.array(found[0]["bandwidth_bits_per_s"])[off], speed[off])


def really(rank: int, count: int) -> dict:
    """Messages from rank 0 are slow when they are large; half of the ranks say where they stand."""
    real = module.dist.send

    def slow(tensor: torch.Tensor, **where: object) -> None:
        if rank == 0 and tensor.nbytes > 4:
            time.sleep(0.1)
        real(tensor, **where)

    module.dist.send = slow
    os.environ["FMCOMPRESS_REGION"] = "here"
    return probe(**SIZES, region="there" if rank % 2 else None).as_dict()


def test_links_that_differ_by_direction(tmp_path):
    found = run(really, 4, tmp_path / "run")
    assert all(other == found[0] for other in found)
    network = Network(found[0]["delay_s"], found[0]["bandwidth_bits_per_s"], found[0]["names"], found[0]["regions"])
    assert network.regions == ("here", "there", "here", "there")
    assert [name.rsplit("-", 1)[1] for name in network.names] == ["0", "1", "2", "3"]
    np.testing.assert_array_equal(network.delay_s, network.delay_s.T)
    speed = network.bandwidth_bits_per_s
    assert (speed[0, 1:] <= 8 * SIZES["large_bytes"] / (0.1 * LEAST_SHARE)).all()
    assert (speed[0, 1:] < speed[1:, 0]).all()


def no_transfer(rank: int, count: int) -> dict:
    """A clock by which a large message takes no longer than a small one."""
    module._Link._run = lambda *_: 0.5
    return probe(**SIZES).as_dict()


def test_a_transfer_that_cannot_be_told_from_the_round_trip(tmp_path):
    found = run(no_transfer, 2, tmp_path / "run")[0]
    assert found["delay_s"] == [[0.0, 0.25], [0.25, 0.0]]
    assert found["bandwidth_bits_per_s"][0][1] == pytest.approx(8 * SIZES["large_bytes"] / (0.5 * LEAST_SHARE))


def alone(rank: int, count: int) -> int:
    said = []
    for wrong in ({"small_bytes": 0}, {"large_bytes": 8}, {"repeats": 0}):
        try:
            probe(**wrong)
        except ConfigError as error:
            said.append(str(error).split(":")[0])
    assert said == ["small_bytes", "large_bytes", "repeats"]
    return len(probe())


def test_one_rank_and_bad_sizes(tmp_path):
    assert run(alone, 1, tmp_path / "run") == [1]
    with pytest.raises(CommunicationError, match="is not initialized"):
        probe()


def die(rank: int, count: int) -> str:
    real = module._Link._run

    def dies(*args: object) -> float:
        if rank == 1:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args)

    module._Link._run = dies
    try:
        probe(**SIZES, timeout_s=5)
    except CommunicationError as error:
        return str(error)
    return "nothing"


def _survive(rank: int, count: int, folder: str) -> None:
    """As a worker, but without the barrier that nobody could pass any more."""
    try:
        _enter(rank, die, count, folder, ())
    except RuntimeError:
        if not os.path.exists(f"{folder}/{rank}.pt"):
            raise


def test_a_rank_that_dies_is_noticed_by_all(tmp_path):
    context, paths = start(_survive, (3, str(tmp_path)), 3), [tmp_path / "0.pt", tmp_path / "2.pt"]
    begin = time.monotonic()
    while time.monotonic() - begin < 60 and not all(path.exists() and path.stat().st_size for path in paths):
        time.sleep(0.1)
    time.sleep(0.2)
    for process in context.processes:
        process.kill()
    for rank, path in zip((0, 2), paths, strict=True):
        message = torch.load(path)
        assert message.startswith(f"probe: rank {rank} of 3 has lost another one."), message
        assert "\n" not in message


SCRIPT = """
from fmcompress.scheduling.probe import probe_under_torchrun
import torch.distributed as dist
network = probe_under_torchrun(large_bytes=4096, repeats=1)
assert not dist.is_initialized()
if network is not None:
    print("measured", len(network), network.names[1].rsplit("-", 1)[1])
"""


@pytest.mark.slow
def test_under_torchrun_one_rank_gets_the_network(tmp_path: Path):
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [*command, str(tmp_path / "script.py")], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.split("\n")[:-1] == ["measured 2 1"]


def test_one_process_is_told_of_torchrun(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with pytest.raises(ConfigError, match=r"^probe: expected several processes, got one\. .*torchrun"):
        probe_under_torchrun()
