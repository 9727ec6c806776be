"""The race checker on small kernels: silent about what is right, and naming the place of each planted defect."""

import ctypes
import re
import shutil
from pathlib import Path

import emulated
import pytest
import torch

ROOT = Path(__file__).parents[1]
AT = r"\(emulate_planted\.cpp:\d+\)"
IN_BLOCK = rf"race in shared memory at byte \d+: thread \d+ (wrote|read) {AT}, thread \d+ (wrote|read) {AT}, no barrier between"
IN_TIME = rf"{IN_BLOCK}|shared memory at byte \d+ is read before it is written: thread \d+ read {AT}"
IN_GRID = rf"race in global memory at 0x\w+: thread \d+ of block \d+ [\w ]+ {AT}, thread \d+ of block \d+ [\w ]+ {AT}, and nothing"
PLANTED = {
    "across_the_block": IN_TIME,
    "after_a_read": IN_BLOCK,
    "across_the_warp": IN_TIME,
    "a_warp_for_a_block": IN_TIME,
    "bytes": IN_BLOCK,
    "large": IN_TIME,
    "unwritten": rf"shared memory at byte 252 is read before it is written: thread 63 read {AT}",
    "beyond": r"shared memory at byte \d+ lies beyond its size: thread \d+ read",
    "across_blocks": IN_GRID,
    "plain_beside_atomic": IN_GRID,
    "plain_read_beside_atomic": IN_GRID,
    "last_without_release": IN_GRID,
    "last_without_acquire": IN_GRID,
    "written_too_late": IN_GRID,
    "fence_too_early": IN_GRID,
    "result_unused": IN_GRID,
    "load_for_release": IN_GRID,
    "one_warp_releases": IN_GRID,
    "two_barriers": "threads that meet at different barriers",
    "lanes_that_left": "a barrier that not every thread reaches",
}


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    if shutil.which("g++") is None:
        pytest.skip("no g++ on this machine")
    folder = tmp_path_factory.mktemp("emulated")
    return emulated.build(ROOT, folder, ROOT / "tests/emulate_planted.cpp", watched=True)


def launch(library, name, defect, backwards):
    out = torch.zeros(256, dtype=torch.int32)
    library.turn_around(backwards)
    getattr(library, f"planted_{name}")(ctypes.c_int64(defect), ctypes.c_void_p(out.data_ptr()))
    emulated.raise_failure(library)
    return out


@pytest.mark.parametrize("backwards", [False, True])
@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_defect_is_found(library, name, backwards):
    launch(library, name, False, backwards)
    with pytest.raises(AssertionError, match=PLANTED[name]) as raised:
        launch(library, name, True, backwards)
    if AT in PLANTED[name]:
        assert re.search(rf"\[block \d of {name}\(bool, unsigned int\*\)\]", str(raised.value))
    launch(library, name, False, backwards)  # nothing of the defect is left


def test_the_last_block_sees_all(library):
    for name in ("last_without_release", "last_without_acquire"):
        assert launch(library, name, False, False)[:2].tolist() == [0, 3 * 64]


def test_every_planted_kernel_is_called():
    source = (ROOT / "tests/emulate_planted.cpp").read_text()
    assert set(re.findall(r"^PLANTED\((\w+)\)", source, re.MULTILINE)) == set(PLANTED)
