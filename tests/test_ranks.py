"""Several processes write what one writes; one of them that fails or dies ends all, in a state that can be resumed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import run as run_alone
from helpers import folder_bytes, make_checkpoint, make_text
from rank_workers import compress, compress_elsewhere, compress_unequally, fail, on_ranks

from fmcompress.formats import open_checkpoint
from fmcompress.journal import FILE

BLOCKS = 4
SHORT: dict[str, Any] = {"sequence_length": 64, "samples": 16}
HALF = {**SHORT, "sparsity": 0.5}
FORMS: dict[str, dict[str, Any]] = {
    "dense": HALF,
    "true-sequential": {**SHORT, "pattern": "2:4", "true_sequential": True},
    "packed": {**HALF, "bits": 4, "group_size": 32, "format": "packed"},
    "compressed-tensors": {**SHORT, "bits": 4, "group_size": 32, "symmetric": False},
}
WITHOUT_DATA: list[dict[str, Any]] = [
    {"sparsity": 0.4, "method": "magnitude"},
    {"bits": 3, "method": "rtn", "clip_search": True, "group_size": 32, "format": "packed"},
]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("ranks")
    make_checkpoint(home / "model", blocks=BLOCKS, hidden=64, shards=2)
    text = make_text(home / "text.txt", 12_000).read_text()
    (home / "other.txt").write_text(text[500:])
    return home


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """As the ranks have: another number of threads sums in another order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def alone(home: Path, out: Path, options: dict[str, Any], **how: Any) -> dict[str, Any]:
    text = None if options.get("method") in ("magnitude", "rtn") else home / "text.txt"
    return run_alone(home / "model", out, text, **options, **how)


def together(home: Path, out: Path, options: dict[str, Any], count: int = 2, resume: bool = False) -> dict[str, Any]:
    """The writer's facts of a run that succeeds on all ranks."""
    ends = on_ranks(compress, count, Path(f"{out}.ends.{resume}"), home, out, options, resume)
    assert [(end.error, end.code) for end in ends] == [("", 0)] * count
    assert all(end.value == {} for end in ends[1:])
    return ends[0].value


@pytest.fixture(scope="module")
def halved(home: Path) -> Path:
    """What two ranks write, undisturbed."""
    together(home, home / "halved", HALF)
    return home / "halved"


def assert_close(one: Path, other: Path) -> None:
    """Equal facts but for rounding, which may move single weights at near ties and what depends on them."""
    facts, others = (json.loads((out / "fmcompress.json").read_text()) for out in (one, other))
    assert facts.keys() == others.keys()
    rounds = bool(facts["config"]["bits"])  # where a weight lies between two levels, and whether at zero
    vague = {"loss", "relative_error", *(["zeros", "sparsity"] if rounds else [])}
    near = 0.1 if rounds else 1e-3
    for record, twin in zip(facts["layers"], others["layers"], strict=True):
        assert {key: twin[key] for key in twin if key not in vague} == {
            key: record[key] for key in record if key not in vague
        }
        assert {key: twin[key] for key in vague} == pytest.approx({key: record[key] for key in vague}, rel=near)
    weights, twins = open_checkpoint(one), open_checkpoint(other)
    # a weight at another level changes what its row is rounded to from there on, and so on through the blocks
    for name in [name for name in weights.tensors if not rounds or "layers.0." in name]:
        weight, twin = weights.read(name).float(), twins.read(name).float()
        moved = (weight - twin).abs() > 1e-3 * weight.abs().max()
        assert moved.float().mean() < near, name


@pytest.mark.parametrize("form", FORMS)
def test_two_ranks_write_what_one_does(home: Path, tmp_path: Path, form: str) -> None:
    alone(home, tmp_path / "one", FORMS[form])
    facts = together(home, tmp_path / "two", FORMS[form])
    assert_close(tmp_path / "one", tmp_path / "two")
    assert facts["ranks"] == 2
    assert 0 < facts["exchange_seconds"] < facts["seconds"]


@pytest.mark.parametrize("options", WITHOUT_DATA)
def test_without_data_bits_are_equal(home: Path, tmp_path: Path, options: dict[str, Any]) -> None:
    alone(home, tmp_path / "one", options)
    together(home, tmp_path / "two", options)
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "two")


def test_more_ranks_than_sequences(home: Path, tmp_path: Path) -> None:
    """Sums of one summand and zeros are exact, and where a layer is solved changes no bit."""
    options = {**HALF, "samples": 1, "true_sequential": True}
    alone(home, tmp_path / "one", options)
    together(home, tmp_path / "three", options, count=3)
    assert folder_bytes(tmp_path / "one") == folder_bytes(tmp_path / "three")


def test_runs_of_as_many_ranks_write_equal_bytes(home: Path, tmp_path: Path, halved: Path) -> None:
    together(home, tmp_path / "again", HALF)
    assert folder_bytes(tmp_path / "again") == folder_bytes(halved)


def test_only_the_writer_needs_out(home: Path, tmp_path: Path, halved: Path) -> None:
    ends = on_ranks(compress_elsewhere, 2, tmp_path / "ends", home, tmp_path / "out", HALF)
    assert [end.error for end in ends] == ["", ""]
    assert folder_bytes(tmp_path / "out") == folder_bytes(halved)


def test_a_finished_run_is_finished_for_all(home: Path, tmp_path: Path, halved: Path) -> None:
    ends = on_ranks(compress, 2, tmp_path / "ends", home, halved, HALF, True)
    assert [end.error for end in ends] == ["", ""]
    assert ends[0].value["finished_before"]


def interrupted(home: Path, out: Path, rank: int, how: str, resume: bool = False) -> list[Any]:
    """A run of two ranks, one of which meets a misfortune at block 2."""
    return on_ranks(fail, 2, Path(f"{out}.failed"), home, out, HALF, rank, how, resume)


def blocks_done(out: Path) -> int:
    return len((out.with_name("out.partial") / FILE).read_bytes().splitlines()) - 1


@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_the_other_and_any_number_resumes(
    home: Path, tmp_path: Path, halved: Path, victim: int
) -> None:
    out = tmp_path / "out"
    ends = interrupted(home, out, victim, "killed")
    assert ends[victim].code == -9
    survivor = ends[1 - victim]
    assert survivor.kind == "CommunicationError"
    assert survivor.error.startswith("another rank ended (")
    assert "the same command with --resume goes on" in survivor.error
    assert blocks_done(out) == 2
    if victim:
        together(home, out, HALF, resume=True)
        assert folder_bytes(out) == folder_bytes(halved)
    else:
        alone(home, out, HALF, resume=True)
        assert_close(out, halved)
    assert not out.with_name("out.partial").exists()


def test_what_one_began_two_finish(home: Path, tmp_path: Path, halved: Path) -> None:
    out = tmp_path / "out"
    (end,) = on_ranks(fail, 1, tmp_path / "failed", home, out, HALF, 0, "bug", False)
    assert end.kind == "MemoryError"
    together(home, out, HALF, resume=True)
    assert_close(out, halved)


@pytest.mark.parametrize("rank", [0, 1])
@pytest.mark.parametrize("how", ["input", "disk", "bug"])
def test_an_error_of_one_rank_ends_all_and_is_told_once(home: Path, tmp_path: Path, rank: int, how: str) -> None:
    ends = interrupted(home, tmp_path / "out", rank, how)
    kinds = {"input": "CalibrationError", "disk": "DiskError", "bug": "MemoryError"}
    assert (ends[rank].kind, ends[rank].error) == (kinds[how], "a misfortune")
    assert (ends[1 - rank].kind, ends[1 - rank].error) == ("SystemExit", "1")
    # as with one process, an input that would fail again leaves nothing behind
    assert (tmp_path / "out.partial").exists() == (how != "input")
    assert not (tmp_path / "out").exists()


def test_ranks_with_unequal_inputs_are_refused(home: Path, tmp_path: Path) -> None:
    ends = on_ranks(compress_unequally, 2, tmp_path / "ends", home, tmp_path / "out", HALF, ["text.txt", "other.txt"])
    assert (ends[0].kind, ends[1].kind) == ("SystemExit", "ConfigError")
    assert ends[1].error.startswith("calibration: is ")
    assert "on rank 1 and " in ends[1].error
    assert not (tmp_path / "out.partial").exists()
