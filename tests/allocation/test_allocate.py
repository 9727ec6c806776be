"""fmcompress allocate, then prune --allocation: zeros per layer as told, resumed only with the same allocation."""

import json
from pathlib import Path
from typing import Any

import pytest
from helpers import CPU, Outcome, invoke, make_checkpoint, make_text, run_prune

from fmcompress import pipeline
from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig
from fmcompress.errors import CheckpointError, ConfigError
from fmcompress.layerwise import Unstructured
from fmcompress.pipeline import prepare
from fmcompress.shares import read_allocation

SHORT = ("--sequence-length", 64, "--samples", 8)
FEW = ("--generations", 3, "--offspring", 3, "--step", 0.2, "--reach", 1)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("allocate")
    make_checkpoint(home / "model", shards=2)
    make_text(home / "text.txt", 6_000)
    return home


def allocate(capsys: Any, home: Path, file: Path, *args: object) -> Outcome:
    given = ("--sparsity", 0.7, "--calibration", home / "text.txt", *SHORT, *args)
    return invoke(capsys, "allocate", home / "model", file, *given)


def assert_refused(outcome: Outcome, message: str) -> None:
    assert (outcome.code, outcome.stdout) == (2, ""), outcome.stderr
    assert outcome.stderr.count("\n") == 1
    assert message in outcome.stderr


@pytest.mark.parametrize("method", ["owl", "search"])
def test_from_allocate_to_a_pruned_model(home: Path, tmp_path: Path, capsys: Any, method: str) -> None:
    file = tmp_path / "a.json"
    told = json.loads(
        allocate(capsys, home, file, "--method", method, *(FEW if method == "search" else ()), "--json").stdout
    )
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]  # no levels are left
    assert told["layers"] == read_allocation(file)
    assert {**json.loads(file.read_text()), "allocation": str(file), "notes": told["notes"]} == told
    assert len(set(told["layers"].values())) > 1
    outcome = invoke(
        capsys, "prune", home / "model", tmp_path / "out", "--sparsity", 0.7, "--allocation", file,
        "--calibration", home / "text.txt", *SHORT, "--json",
    )  # fmt: skip
    facts = json.loads(outcome.stdout)
    written = Checkpoint(tmp_path / "out")
    for record in facts["layers"]:
        wanted = Unstructured(told["layers"][record["tensor"]]).zeros(record["rows"], record["cols"])
        assert int((written.read(record["tensor"]) == 0).sum()) == record["zeros"] == wanted
    assert facts["zeros"] == Unstructured(0.7).zeros(1, facts["weights"])
    assert any(note.startswith("allocation: 70.00 % of all weights become zero, from ") for note in facts["notes"])


def test_a_seed_tells_the_whole_search(home: Path, tmp_path: Path, capsys: Any) -> None:
    for name in ("a", "b"):
        assert allocate(capsys, home, tmp_path / name, "--method", "search", *FEW, "--quiet").code == 0
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_levels_may_be_given(home: Path, tmp_path: Path, capsys: Any) -> None:
    levels: list[object] = []
    for share in (0.6, 0.7, 0.8):
        run_prune(home / "model", tmp_path / f"{share}", None, method="magnitude", sparsity=share)
        levels += ["--levels", tmp_path / f"{share}"]
    outcome = allocate(capsys, home, tmp_path / "a.json", "--method", "search", *levels, "--generations", 2)
    assert outcome.code == 0, outcome.stderr
    assert "KL to the dense model" in outcome.stdout
    assert outcome.stdout.endswith("so, for prune --method magnitude\n")
    assert json.loads((tmp_path / "a.json").read_text())["levels"] == [0.6, 0.7, 0.8]


def test_levels_are_made_by_the_method_that_was_named(
    home: Path, tmp_path: Path, capsys: Any, monkeypatch: Any
) -> None:
    def make_levels(ready: Any, config: PruneConfig, sparsities: list[float], *_: Any) -> None:
        raise ConfigError(f"{config.method} to {sparsities}")

    monkeypatch.setattr("fmcompress.allocation.run.make_levels", make_levels)
    outcome = allocate(capsys, home, tmp_path / "a.json", "--method", "search", "--level-method", "admm", "--reach", 1)
    assert_refused(outcome, "admm to [0.65, 0.7, 0.75]")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("method", ["wanda", "admm", "magnitude"])
def test_all_methods_obey(home: Path, tmp_path: Path, method: str) -> None:
    one, two = "model.layers.0.self_attn.q_proj.weight", "model.layers.1.mlp.up_proj.weight"
    shares = {one: 0.25, two: 0.75}
    text = None if method == "magnitude" else home / "text.txt"
    facts = run_prune(home / "model", tmp_path / "out", text, method=method, sparsity=0.5, allocation=shares)
    assert {record["sparsity"] for record in facts["layers"]} == {0.25, 0.5, 0.75}
    assert {record["tensor"]: record["sparsity"] for record in facts["layers"] if record["sparsity"] != 0.5} == shares


def test_the_plan_counts_each_layer_by_its_own(home: Path) -> None:
    def plan(**options: Any) -> Any:
        config = PruneConfig(method="magnitude", sparsity=0.5, format="packed", **options)
        return prepare(home / "model", config, None, CPU).plan

    name = "model.layers.0.mlp.up_proj.weight"
    even, other = plan(), plan(allocation={name: 0.75})
    weights = 64 * 32
    assert other.zeros - even.zeros == weights // 4
    assert even.output_bytes - other.output_bytes == weights // 4 * 4


def test_a_run_is_not_resumed_with_another_allocation(home: Path, tmp_path: Path, monkeypatch: Any) -> None:
    def run(share: float, **options: Any) -> Any:
        shares = {"model.layers.1.mlp.up_proj.weight": share}
        return run_prune(
            home / "model", tmp_path / "out", home / "text.txt", sparsity=0.5, allocation=shares, **options
        )

    class Killed(BaseException):
        pass

    def stop(*_: Any) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(pipeline.Workspace, "publish", stop)
        with pytest.raises(Killed):
            run(0.75)
    with pytest.raises((ConfigError, CheckpointError), match="allocation"):
        run(0.7, resume=True)
    assert run(0.75, resume=True)["layers"]


def test_a_name_that_is_no_chosen_layer(home: Path) -> None:
    for name, options in (
        ("model.layers.9.mlp.up_proj.weight", {}),
        ("model.layers.0.mlp.up_proj.weight", {"exclude": "mlp"}),
    ):
        config = PruneConfig(method="magnitude", sparsity=0.5, allocation={name: 0.5}, **options)
        with pytest.raises(ConfigError, match=rf"allocation: '{name}' is no chosen layer"):
            prepare(home / "model", config, None, CPU)


def test_refused_before_any_work(home: Path, tmp_path: Path, capsys: Any, monkeypatch: Any) -> None:
    monkeypatch.setattr("fmcompress.pipeline.prepare", lambda *args, **options: pytest.fail("worked"))
    (tmp_path / "a.json").write_text("mine")
    assert_refused(allocate(capsys, home, tmp_path / "a.json"), "exists already. Use --force")
    assert_refused(allocate(capsys, home, tmp_path), "expected a file to write")
    assert_refused(allocate(capsys, home, tmp_path / "nowhere" / "a.json"), "expected a file to write")
    assert (tmp_path / "a.json").read_text() == "mine"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--sparsity", 1.5), "sparsity"),
        (("--generations", 50), "--generations: only heeded by --method search"),
        (("--method", "search", "--spread", 0.08), "--spread: only heeded by --method owl"),
        (("--method", "search", "--levels", "x", "--step", 0.1), "--step: only heeded by levels that are made"),
        (("--sparsity", 0.97), "Give a lower --spread"),
        (("--method", "search", "--step", 0.4), "no step fits"),
        (("--method", "search", "--include", "0.mlp.up"), "no two layers have equally many weights"),
        (("--method", "search", "--levels", "nowhere"), "nowhere: no such folder"),
        (("--include", "q_proj", "--exclude", "q_proj"), "no linear layers matched"),
    ],
)
def test_refused(home: Path, tmp_path: Path, capsys: Any, args: tuple[object, ...], message: str) -> None:
    assert_refused(allocate(capsys, home, tmp_path / "a.json", *args), message)
    assert not list(tmp_path.iterdir())


def test_prune_refuses_a_file_for_a_pattern(home: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.json").write_text('{"layers": {"a": 0.5}}')
    outcome = invoke(
        capsys, "prune", home / "model", tmp_path / "out", "--pattern", "2:4", "--allocation", tmp_path / "a.json"
    )
    assert_refused(outcome, "allocation: needs --sparsity")


def test_force_replaces(home: Path, tmp_path: Path, capsys: Any) -> None:
    (tmp_path / "a.json").write_text("old")
    outcome = allocate(capsys, home, tmp_path / "a.json", "--force")
    assert outcome.code == 0, outcome.stderr
    assert "70 % in all" in outcome.stdout
    assert read_allocation(tmp_path / "a.json")
