"""Block reconstruction: masks stay, blocks come closer to the dense ones, resumed runs and several ranks agree."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, Silent, folder_bytes
from rank_workers import on_ranks
from zoo import ZOO, calibration, load, save

from fmcompress import block_solver
from fmcompress.calibration import StreamedModel
from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig
from fmcompress.pipeline import compress_checkpoint, prepare
from fmcompress.ranks import Ranks
from fmcompress.reconstruction import kept_entries, output_error, train_kept

NAMES = ["llama", "gpt2", "mixtral", "gpt_oss", "bert", "t5", "clip"]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("reconstruction")
    for name in NAMES:
        save(ZOO[name], folder / name)
    calibration(ZOO["clip"], folder)
    return folder


def run(
    home: Path, name: str, out: Path, observer: Any = None, ranks: Any = None, resume: bool = False, **options: Any
) -> dict[str, Any]:
    given = {"text": home / "text.txt", "images": home / "images"}
    text, images = (given[kind] if kind in ZOO[name].inputs else None for kind in ("text", "images"))
    wanted = {"sparsity": 0.5, "sequence_length": 32, "samples": 4, "reconstruct": 8, **options}
    job = prepare(home / name, PruneConfig(**wanted), text, CPU, ranks, images)
    return compress_checkpoint(job, out, observer or Silent(), resume=resume)


class Steps(Silent):
    """Counts the steps it is told of; raises after so many blocks."""

    def __init__(self, blocks: int = 0) -> None:
        super().__init__()
        self.seen, self.left = [], blocks

    def training(self, block: int, done: int, steps: int) -> None:
        self.seen.append((block, done, steps))

    def block(self, block: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.mark.parametrize("name", NAMES)
def test_masks_stay_and_blocks_come_closer(home: Path, tmp_path: Path, name: str) -> None:
    plain = run(home, name, tmp_path / "plain", reconstruct=0)
    observer = Steps()
    trained = run(home, name, tmp_path / "trained", observer)
    source, one, two = (Checkpoint(path) for path in (home / name, tmp_path / "plain", tmp_path / "trained"))
    solved = {record["tensor"] for record in trained["layers"]}
    assert solved == {record["tensor"] for record in plain["layers"]}
    first = {record["tensor"] for record in trained["layers"][:1]}
    for tensor in solved:
        assert int((two.read(tensor) == 0).sum()) == int((one.read(tensor) == 0).sum())
    for tensor in first:  # later blocks are given other inputs, so may have other masks
        assert torch.equal(two.read(tensor) == 0, one.read(tensor) == 0)
        assert not torch.equal(two.read(tensor), one.read(tensor))
    for tensor in source.tensors.keys() - {name.partition("[")[0] for name in solved}:
        assert torch.equal(two.read(tensor), source.read(tensor))
    assert all(record["block_error"] <= record["block_error_before"] for record in trained["layers"])
    assert sum(r["block_error"] for r in trained["layers"]) < 0.9 * sum(
        r["block_error_before"] for r in trained["layers"]
    )
    assert observer.seen[:8] == [(observer.seen[0][0], done, 8) for done in range(1, 9)]
    load(tmp_path / "trained", ZOO[name])


def test_the_error_is_the_one_of_a_plain_forward_pass(home: Path, tmp_path: Path) -> None:
    facts = run(home, "llama", tmp_path / "out")
    dense, pruned = (load(path, ZOO["llama"]) for path in (home / "llama", tmp_path / "out"))
    config = PruneConfig(sparsity=0.5, sequence_length=32, samples=4)
    windows = prepare(home / "llama", config, home / "text.txt", CPU).windows
    with torch.no_grad():
        wanted, given = (model(windows, output_hidden_states=True).hidden_states[1] for model in (dense, pruned))
    error = float((given - wanted).square().sum() / wanted.square().sum())
    assert facts["layers"][0]["block_error"] == pytest.approx(error, rel=1e-3)


def test_nothing_but_what_is_kept_gets_a_gradient_and_nothing_is_worse(home: Path) -> None:
    streamed = StreamedModel(Checkpoint(home / "llama"), CPU, torch.float32)
    batch = streamed.embed(torch.arange(64).view(2, 32))
    with torch.no_grad(), streamed.loaded(0) as block:
        wanted = [streamed.run_block(0, block, batch)]
        places = [place for name, _, place in streamed.places(0) if "up_proj" in name or "q_proj" in name]
        for place in places:
            place.weight[:, ::2] = 0.0
        kept = kept_entries(block, places)
        assert {name.rpartition(".")[0].rpartition(".")[2] for name in kept} == {"up_proj", "q_proj"}
        every = [place for _, _, place in streamed.places(0)]  # ranks sum gradients in this order
        assert list(kept_entries(block, every)) == [place.name_in(block) for place in every]
        given = (streamed, 0, block, [batch], wanted)
        before = output_error(*given, Ranks())
        weights = train_kept(*given, kept, steps=20, seed=0, ranks=Ranks())
        again = train_kept(*given, kept, steps=20, seed=0, ranks=Ranks())
        assert output_error(*given, Ranks()) == before  # the block is as it was
        for name, weight in weights.items():
            assert not weight[:, ::2].any()
            assert torch.equal(weight, again[name])
            block.get_parameter(name).copy_(weight)
        assert output_error(*given, Ranks()) < 0.8 * before
        assert all(not parameter.requires_grad for parameter in block.parameters())


@pytest.mark.parametrize("number", [torch.inf, torch.nan, 0.0, -0.0])
def test_what_training_has_spoilt_is_left_as_it_was(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: float
) -> None:
    plain = run(home, "llama", tmp_path / "plain", reconstruct=0)

    def spoilt(*args: Any, **kwargs: Any) -> dict[str, torch.Tensor]:
        return {name: torch.full_like(weight, number) for name, weight in train_kept(*args, **kwargs).items()}

    monkeypatch.setattr(block_solver, "train_kept", spoilt)
    trained = run(home, "llama", tmp_path / "trained")
    for record, twin in zip(trained["layers"], plain["layers"], strict=True):
        assert record["block_error"] == record["block_error_before"]
        assert {key: record[key] for key in twin} == twin
    one, two = Checkpoint(tmp_path / "plain"), Checkpoint(tmp_path / "trained")
    assert all(torch.equal(one.read(name), two.read(name)) for name in one.tensors)


@pytest.mark.parametrize(("name", "blocks"), [("llama", 1), ("t5", 1), ("t5", 3), ("mixtral", 1), ("clip", 2)])
def test_resumed_runs_write_the_same_bytes(home: Path, tmp_path: Path, name: str, blocks: int) -> None:
    run(home, name, tmp_path / "whole")
    with pytest.raises(KeyboardInterrupt):
        run(home, name, tmp_path / "out", Steps(blocks))
    run(home, name, tmp_path / "out", resume=True)
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")


def on_rank(ranks: Ranks, home: Path, out: Path) -> dict[str, Any]:
    torch.set_num_threads(1)
    # one batch on each rank, so that a step sees the mean of both where one process sees them in turn
    return run(home, "llama", out, ranks=ranks, samples=3)


def test_ranks_train_together(home: Path, tmp_path: Path) -> None:
    ends = [on_ranks(on_rank, 2, tmp_path / f"ends{number}", home, tmp_path / f"two{number}") for number in range(2)]
    assert [(end.error, end.code) for some in ends for end in some] == [("", 0)] * 4
    layers = ends[0][0].value["layers"]
    assert all(record["block_error"] < record["block_error_before"] for record in layers)
    assert folder_bytes(tmp_path / "two0") == folder_bytes(tmp_path / "two1")
    alone = on_rank(Ranks(), home, tmp_path / "one")["layers"]
    assert layers[0]["block_error_before"] == pytest.approx(alone[0]["block_error_before"], rel=1e-3)
    assert layers[0]["block_error"] == pytest.approx(alone[0]["block_error"], rel=0.3)
