"""The levels of a search: which checkpoints will do, and the divergence of a model that is put together from them."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, make_checkpoint, make_text, run_prune

from fmcompress.allocation.levels import MixedReader, level_sparsities, open_levels
from fmcompress.allocation.search import Divergence, allocate_by_search
from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig
from fmcompress.divergence import compare
from fmcompress.errors import CheckpointError, ConfigError
from fmcompress.job import Job
from fmcompress.pipeline import prepare

SHARES = (0.3, 0.6, 0.9)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("levels")
    make_checkpoint(home / "model")
    make_text(home / "text.txt", 4_000)
    for share in (*SHARES, 0.8):
        run_prune(home / "model", home / f"{share}", None, method="magnitude", sparsity=share)
    return home


def levels_of(home: Path, shares: tuple[float, ...] = SHARES, sparsity: float = 0.6) -> Any:
    return open_levels([home / f"{share}" for share in shares], Checkpoint(home / "model"), sparsity)


def job_of(home: Path, **options: Any) -> Job:
    config = PruneConfig(**{"sparsity": 0.6, "sequence_length": 32, "samples": 6, **options})
    return prepare(home / "model", config, home / "text.txt", CPU)


def layers_of(job: Job) -> list[str]:
    return [layer.tensor for block in job.layers for layer in block.values()]


def test_sparsities_around_the_wanted_one() -> None:
    assert level_sparsities(0.7, 0.05, 2) == [0.6, 0.65, 0.7, 0.75, 0.8]
    assert level_sparsities(0.7, 0.1, 5) == [0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0]
    with pytest.raises(ConfigError, match=r"step 0.4: no step fits"):
        level_sparsities(0.7, 0.4, 3)


def test_any_order_of_folders(home: Path) -> None:
    levels = levels_of(home, (0.9, 0.3, 0.6))
    assert [level.sparsity for level in levels] == list(SHARES)


@pytest.mark.parametrize(
    ("shares", "sparsity", "message"),
    [
        ((0.3, 0.6, 0.8), 0.6, "equal steps such as .*, got 0.3, 0.6, 0.8"),
        ((0.6, 0.6), 0.6, "equal steps"),
        ((0.6,), 0.6, "equal steps"),
        (SHARES, 0.7, "expected 0.7 between the lowest and the highest"),
        (SHARES, 0.9, "expected 0.9 between the lowest and the highest"),
    ],
)
def test_sparsities_that_will_not_do(home: Path, shares: Any, sparsity: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        levels_of(home, shares, sparsity)


def test_folders_that_will_not_do(home: Path, tmp_path: Path) -> None:
    def refused(message: str, kind: type[Exception]) -> None:
        with pytest.raises(kind, match=message):
            open_levels([home / "0.3", home / "0.6", tmp_path / "other"], Checkpoint(home / "model"), 0.6)

    refused("no such folder", CheckpointError)
    make_checkpoint(tmp_path / "other")
    refused("expected a fmcompress.json", CheckpointError)
    for facts in ("[", "[]", '{"config": {}}', '{"config": 1, "layers": 2}'):
        (tmp_path / "other" / "fmcompress.json").write_text(facts)
        refused("expected a fmcompress.json", CheckpointError)
    facts = json.loads((home / "0.9" / "fmcompress.json").read_text())
    for change in ({"pattern": "2:4"}, {"allocation": {"a": 0.5}}, {"sparsity": None}, {"sparsity": 7}):
        changed = {**facts, "config": {**facts["config"], **change}}
        (tmp_path / "other" / "fmcompress.json").write_text(json.dumps(changed))
        refused("expected one --sparsity for all layers", ConfigError)
    (tmp_path / "other" / "fmcompress.json").write_text(json.dumps({**facts, "fingerprint": {"model": "another"}}))
    refused("was pruned from another model", CheckpointError)
    (tmp_path / "other" / "fmcompress.json").write_text(json.dumps({**facts, "layers": facts["layers"][1:]}))
    refused("expected the pruned layers of .*, but only one of them holds", CheckpointError)


def test_levels_of_other_layers_than_chosen(home: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"the chosen layers of the language model differ, model.layers.0.mlp.down_proj.weight first"
    ):
        allocate_by_search(job_of(home, exclude="mlp"), levels_of(home), generations=1, offspring=1)


def test_each_layer_comes_from_its_level(home: Path) -> None:
    model, levels = Checkpoint(home / "model"), levels_of(home)
    one, two = sorted(levels[0].layers)[:2]
    reader = MixedReader(model, {one: levels[0].checkpoint, two: levels[2].checkpoint})
    assert reader.read(one).equal(levels[0].checkpoint.read(one))
    assert reader.read(two).equal(levels[2].checkpoint.read(two))
    assert reader.read("model.norm.weight").equal(model.read("model.norm.weight"))


def test_divergence_is_that_of_the_whole_model(home: Path) -> None:
    from transformers import AutoModelForCausalLM

    job, levels = job_of(home), levels_of(home)
    names = layers_of(job)
    mixed = tuple(number % 3 for number in range(len(names)))
    got = Divergence(job, levels, names, 0).on_all([(1,) * len(names), mixed])
    dense = AutoModelForCausalLM.from_pretrained(home / "model").eval()
    expected = []
    with torch.no_grad():
        log_p = dense(job.windows).logits[:, :-1].log_softmax(-1)
        for candidate in ((1,) * len(names), mixed):
            weights = {n: levels[k].checkpoint.read(n) for n, k in zip(names, candidate, strict=True)}
            dense.load_state_dict(weights, strict=False)
            log_q = dense(job.windows).logits[:, :-1].log_softmax(-1)
            expected.append(float((log_p.exp() * (log_p - log_q)).sum(-1).mean()))
    assert got == pytest.approx(expected, rel=1e-3)
    assert got[0] != pytest.approx(got[1], rel=1e-2)


def test_a_uniform_candidate_is_the_level_itself(home: Path) -> None:
    job, levels = job_of(home, samples=10_000), levels_of(home)
    names = layers_of(job)
    kl = compare([home / "model", home / "0.9"], home / "text.txt", 32, CPU).models[1].kl_mean
    assert Divergence(job, levels, names, 0).on_all([(2,) * len(names)])[0] == pytest.approx(kl, rel=1e-4)


def test_a_part_is_drawn_anew_and_shared_by_all_candidates(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fmcompress.allocation.search.PART_TOKENS", 2 * 32)
    job, names = job_of(home), layers_of(job_of(home))
    even = (1,) * len(names)
    measure = Divergence(job, levels_of(home), names, 0)
    values = [measure.on_a_part([even, even]) for _ in range(4)]
    assert all(one == two for one, two in values)
    assert len({one for one, _ in values}) > 1
    again = Divergence(job, levels_of(home), names, 0)
    assert [again.on_a_part([even, even]) for _ in range(4)] == values


def test_equal_sparsities_are_kept_where_nothing_is_better(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Divergence, "on_all", lambda self, candidates: [0.1, 0.2])
    found = allocate_by_search(job_of(home), levels_of(home), generations=2, offspring=2)
    assert set(found.layers.values()) <= {share for share in found.layers.values() if abs(share - 0.6) < 1e-3}
    assert found.found["kl"] == found.found["kl_even"] == 0.1


def test_outputs_of_nan_are_refused(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job, names = job_of(home), layers_of(job_of(home))
    monkeypatch.setattr(MixedReader, "read", lambda self, name: self.model.read(name) * torch.nan)
    with pytest.raises(CheckpointError, match="its outputs hold NaN"):
        Divergence(job, levels_of(home), names, 0).on_all([(1,) * len(names)])
