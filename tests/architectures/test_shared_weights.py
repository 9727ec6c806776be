"""A weight that several layers share is solved once, where the model first uses it, and is the same from then on."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import folder_bytes, make_checkpoint, make_text, run_prune
from safetensors.torch import load_file, save_file

from fmcompress import pipeline
from fmcompress.calibration import lazy_model
from fmcompress.formats import open_checkpoint
from fmcompress.journal import Journal
from fmcompress.outputs import Keeper

FEW = {"sequence_length": 32, "samples": 4}
SHARED = "model.layers.2.shared_transf."  # blocks 2 and 4 run it
LAYERS = 19  # two of each Mamba, a linear one in blocks 2 and 4, and seven that these share


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Zamba in several shards: the second of two hybrid blocks has no attention of its own."""
    from transformers import ZambaConfig, ZambaForCausalLM

    home = make_checkpoint(tmp_path_factory.mktemp("shared") / "model").parent  # for its tokenizer
    sizes = {"hidden_size": 32, "intermediate_size": 64, "mamba_d_state": 4, "mamba_dt_rank": 4, "n_mamba_heads": 2}
    kinds = {"num_hidden_layers": 5, "attn_layer_period": 2, "attn_layer_offset": 1, "num_attention_heads": 4}
    config = ZambaConfig(vocab_size=2048, max_position_embeddings=64, num_key_value_heads=4, **sizes, **kinds)
    for path in home.glob("model/*.safetensors"):
        path.unlink()
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = ZambaForCausalLM(config)
    model.save_pretrained(home / "model", max_shard_size="60KB")
    make_text(home / "text.txt", 12_000)
    return home


def stopped_after(block: int, *given: Any, **options: Any) -> None:
    """A run that is killed when a block is in its journal, and gone on with."""

    class Killed(BaseException):
        pass

    append = Journal.append

    def note(self: Journal, record: dict[str, Any]) -> None:
        append(self, record)
        if record["block"] == block:
            raise Killed

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(Journal, "append", note)
        with pytest.raises(Killed):
            run_prune(*given, **options)
    run_prune(*given, **options, resume=True)


@pytest.mark.parametrize(
    ("options", "block"),
    [({"sparsity": 0.5}, 2), ({"pattern": "2:4", "format": "packed"}, 3), ({"sparsity": 0.5, "reconstruct": 2}, 3)],
    ids=["half", "packed", "reconstructed"],
)
def test_solved_once_and_taken_over(home: Path, tmp_path: Path, options: dict[str, Any], block: int) -> None:
    """What comes after the block is loaded from what was written, if it was not solved there."""
    given = (home / "model", tmp_path / "out", home / "text.txt")
    facts = run_prune(*given, **FEW, **options)
    names = [record["tensor"] for record in facts["layers"]]
    assert len(set(names)) == len(names) == LAYERS
    assert any("share are solved once" in note and SHARED in note for note in facts["notes"])
    written = open_checkpoint(tmp_path / "out")
    assert written.read(f"{SHARED}self_attn.q_proj.weight").count_nonzero() == 64 * 64 // 2
    stopped_after(block, home / "model", tmp_path / "again", home / "text.txt", **FEW, **options)
    assert folder_bytes(tmp_path / "again") == folder_bytes(tmp_path / "out")


def test_what_is_still_being_written_is_waited_for(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given = (home / "model", tmp_path / "out", home / "text.txt")
    run_prune(*given, **FEW, sparsity=0.5)
    read = list[str]()

    class Behind(Keeper):
        def __init__(self, *given: Any, behind: bool) -> None:
            super().__init__(*given, behind=True)

        def read(self, name: str) -> torch.Tensor:
            found = super().read(name)
            assert self._writing is None
            read.append(name)
            return found

    monkeypatch.setattr(pipeline, "Keeper", Behind)
    run_prune(home / "model", tmp_path / "behind", home / "text.txt", **FEW, sparsity=0.5)
    assert len(read) == 7
    assert folder_bytes(tmp_path / "behind") == folder_bytes(tmp_path / "out")


def test_without_data_they_are_solved_once_too(home: Path, tmp_path: Path) -> None:
    facts = run_prune(home / "model", tmp_path / "out", None, method="magnitude", sparsity=0.5)
    assert len({record["tensor"] for record in facts["layers"]}) == len(facts["layers"]) == LAYERS


def test_two_layers_of_a_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both run with what was solved from the first one's inputs, also where the run is gone on with."""
    model = make_checkpoint(tmp_path / "model", blocks=2)
    (path,) = model.glob("*.safetensors")
    first, second = (f"model.layers.0.mlp.{name}_proj.weight" for name in ("gate", "up"))
    tensors = load_file(path)
    del tensors[second]
    save_file(tensors, path, metadata={"format": "pt"})
    build = lazy_model.build_on_meta

    def tied(*given: Any) -> Any:
        made = build(*given)
        made.all_tied_weights_keys = {second: first}
        return made

    monkeypatch.setattr(lazy_model, "build_on_meta", tied)
    given = (model, tmp_path / "out", make_text(tmp_path / "text.txt", 12_000))
    facts = run_prune(*given, **FEW, sparsity=0.5)
    names = [record["tensor"] for record in facts["layers"]]
    assert names.count(first) == 1
    assert second not in names
    stopped_after(0, model, tmp_path / "again", tmp_path / "text.txt", **FEW, sparsity=0.5)
    assert folder_bytes(tmp_path / "again") == folder_bytes(tmp_path / "out")
