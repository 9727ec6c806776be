"""The files of a packed checkpoint have names under which nobody takes its parts for a dense model's weights."""

import json
import shutil
from pathlib import Path

import pytest
from compression import all_bits, run
from helpers import CPU, folder_bytes, invoke, make_checkpoint, make_text

from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import INDEX, PACKED_INDEX, PACKED_SINGLE, SINGLE
from fmcompress.errors import CheckpointError, PayloadError
from fmcompress.evaluation import evaluate
from fmcompress.formats import PackedCheckpoint, open_checkpoint
from fmcompress.formats.unpack import unpack_checkpoint

OLD = {PACKED_SINGLE: SINGLE, PACKED_INDEX: INDEX}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("names")
    for name, shards in (("single", 1), ("sharded", 3)):
        make_checkpoint(home / name, hidden=64, shards=shards)
    index_one_file(Path(shutil.copytree(home / "single", home / "one of one")))
    for name in ("single", "sharded", "one of one"):
        run(home / name, home / f"{name} packed", method="magnitude", sparsity=0.5, format="packed")
    make_text(home / "held.txt", 3_000, "heldout")
    return home


def index_one_file(folder: Path) -> None:
    """Give a checkpoint of one file an index, whose only shard keeps the name that transformers looks for first."""
    weight_map = dict.fromkeys(Checkpoint(folder).tensors, SINGLE)
    (folder / INDEX).write_text(json.dumps({"metadata": {"total_size": 0}, "weight_map": weight_map}))


MODELS = {"single": {PACKED_SINGLE}, "sharded": {PACKED_INDEX}, "one of one": {PACKED_INDEX, PACKED_SINGLE}}


@pytest.mark.parametrize("model", MODELS)
def test_transformers_refuses_it(home: Path, model: str) -> None:
    """Under the usual names it took random weights for every packed one and only warned."""
    from transformers import AutoModelForCausalLM

    packed = home / f"{model} packed"
    assert {path.name for path in packed.iterdir()} & {*OLD, *OLD.values()} == MODELS[model]
    AutoModelForCausalLM.from_pretrained(home / model)
    with pytest.raises(OSError, match=r"no file named model\.safetensors"):
        AutoModelForCausalLM.from_pretrained(packed)


@pytest.mark.parametrize("model", MODELS)
def test_unpack_restores_the_names(home: Path, tmp_path: Path, model: str) -> None:
    unpack_checkpoint(home / f"{model} packed", tmp_path / "again")
    run(home / model, tmp_path / "dense", method="magnitude", sparsity=0.5)
    before, after = folder_bytes(tmp_path / "dense"), folder_bytes(tmp_path / "again")
    assert {name for name in before.keys() | after.keys() if before.get(name) != after.get(name)} <= {"fmcompress.json"}


@pytest.mark.parametrize("model", ["single", "sharded"])
def test_folders_of_the_old_naming_are_read(home: Path, tmp_path: Path, model: str) -> None:
    old = Path(shutil.copytree(home / f"{model} packed", tmp_path / "old"))
    for now, then in OLD.items():
        if (old / now).exists():
            (old / now).rename(old / then)
    assert type(open_checkpoint(old)) is PackedCheckpoint
    assert all_bits(open_checkpoint(old)) == all_bits(open_checkpoint(home / f"{model} packed"))
    unpack_checkpoint(old, tmp_path / "again")
    unpack_checkpoint(home / f"{model} packed", tmp_path / "other")
    assert folder_bytes(tmp_path / "again") == folder_bytes(tmp_path / "other")


def test_eval_and_inspect_read_it(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    unpack_checkpoint(home / "sharded packed", tmp_path / "dense")
    packed, dense = (evaluate(p, home / "held.txt", 64, CPU) for p in (home / "sharded packed", tmp_path / "dense"))
    assert packed == dense
    outcome = invoke(capsys, "inspect", home / "sharded packed", "--json")
    assert {fact["name"] for fact in json.loads(outcome.stdout)} == Checkpoint(home / "sharded").tensors.keys()


@pytest.mark.parametrize(("packed", "dense"), [(PACKED_SINGLE, SINGLE), (PACKED_SINGLE, INDEX), (PACKED_INDEX, SINGLE)])
def test_both_namings_in_one_folder_are_refused(tmp_path: Path, packed: str, dense: str) -> None:
    for name in (packed, dense):
        (tmp_path / name).write_text("")
    with pytest.raises(CheckpointError, match=rf"expected a dense or a packed checkpoint, got {dense} beside {packed}"):
        Checkpoint(tmp_path)


def test_the_name_is_a_promise(home: Path, tmp_path: Path) -> None:
    """A packed file whose metadata was lost must not pass for a dense one."""
    shutil.copy(home / "single" / SINGLE, tmp_path / PACKED_SINGLE)
    with pytest.raises(PayloadError, match=rf"{PACKED_SINGLE}: expected packed tensors by its name, got none"):
        open_checkpoint(tmp_path)
