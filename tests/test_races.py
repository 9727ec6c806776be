"""No emulated kernel has a race, and of every barrier in csrc/cuda it is known what goes wrong without it."""

import ctypes
import re
import shutil
from pathlib import Path

import pytest
import race_runs
import torch

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def one_thread():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=race_runs.LIBRARIES)
def watched(request, tmp_path_factory):
    """A library under the race checker, and what to run of it."""
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    emulation, runs = race_runs.LIBRARIES[request.param]
    return emulation.build(ROOT, tmp_path_factory.mktemp("emulated"), watched=True), runs, request.param


@pytest.mark.parametrize("backwards", [False, True])
def test_no_races(watched, backwards):
    library, runs, _ = watched
    for name, run in runs(library, backwards):
        try:
            run()
        except AssertionError as error:
            raise AssertionError(name) from error


def first_failure(library, runs):
    """What the first of the runs says that does not end well, or None."""
    for _, run in runs(library, False):
        try:
            run()
        except AssertionError as error:
            return str(error)
    return None


def test_without_any_barrier_there_is_a_race(watched):
    library, runs, name = watched
    found = {}
    for file, line in race_runs.barriers(ROOT, name):
        library.skip_barrier(file.encode(), ctypes.c_int64(line))
        found[file, line] = first_failure(library, runs)
    library.skip_barrier(b"", ctypes.c_int64(0))
    assert found, "a library without a barrier"
    assert not [place for place, text in found.items() if not re.match("race in|shared memory", text or "")], found
