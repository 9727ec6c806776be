"""Models of images and texts of transformers' own, calibrated with pairs: captioners, answerers, two towers."""

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, Silent, make_checkpoint
from omnivl_folder import make_media, save_model, write_manifest
from torch import Tensor

from fmcompress import block_solver, pipeline
from fmcompress.calibration import Pairs
from fmcompress.calibration_pairs import is_manifest, sample_pairs
from fmcompress.config import PruneConfig
from fmcompress.errors import CalibrationError, ConfigError
from fmcompress.models.omnivl import OmniVLModel
from fmcompress.pipeline import compress_checkpoint, prepare

LAYERS = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64}
TEXT = {**LAYERS, "vocab_size": 300, "max_position_embeddings": 32}
TEXT |= {"encoder_hidden_size": 32, "sep_token_id": 1, "pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 1}
SIZES = {"text_config": TEXT, "vision_config": {**LAYERS, "image_size": 28, "patch_size": 7}, "projection_dim": 16}
MODELS = {
    "BlipForConditionalGeneration": (2, 28),
    "BlipForImageTextRetrieval": (2, 28),
    "BlipForQuestionAnswering": (3, 48),
    "CLIPModel": (2, 24),
}


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pairs")
    make_media(folder / "data")
    save_model(folder / "omnivl")
    return folder


def save(home: Path, name: str, folder: Path) -> Path:
    import transformers

    config = transformers.CLIPConfig if name == "CLIPModel" else transformers.BlipConfig
    torch.manual_seed(0)
    getattr(transformers, name)(config(**SIZES, image_text_hidden_size=16)).save_pretrained(folder)
    for file in ("tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"):
        shutil.copy(home / "omnivl" / file, folder / file)
    return folder


@pytest.mark.parametrize("name", MODELS)
def test_stacks_see_what_the_pruned_model_gives_them(
    home: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Cross-attention included: a block is calibrated with what the model gives it that is loaded again."""
    import transformers

    given: dict[int, Tensor] = {}
    solve = block_solver.solve_block

    def spy(job: Any, index: int, block: Any, batches: Any, *more: Any) -> Any:
        given[index] = torch.cat([batch.hidden.flatten(0, 1) for batch in batches])
        return solve(job, index, block, batches, *more)

    monkeypatch.setattr(pipeline, "solve_block", spy)
    model = save(home, name, tmp_path / "model")
    job = prepare(model, PruneConfig(sparsity=0.5), home / "data" / "images.jsonl", CPU)
    facts = compress_checkpoint(job, tmp_path / "out", Silent())
    assert job.streamed is not None
    assert job.pairs is not None
    assert (len(job.streamed.stacks), len(facts["layers"])) == MODELS[name]
    whole = getattr(transformers, name).from_pretrained(tmp_path / "out").eval()
    seen: dict[int, list[Tensor]] = {}
    for index, (path, _) in enumerate(job.streamed.blocks):
        hook = lambda _, args, kwargs, i=index: seen.setdefault(i, []).append(  # noqa: E731
            (args[0] if args else kwargs["hidden_states"]).flatten(0, 1)
        )
        whole.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True)
    with torch.no_grad():
        for part in job.pairs.parts(torch.arange(len(job.pairs)), 16):
            ids = part["input_ids"]
            begun = torch.cat([torch.full_like(ids[:, :1], 2), ids[:, :-1]], dim=1)
            told = {"decoder_input_ids": begun} if name == "BlipForQuestionAnswering" else {}
            whole(**part, **told)
    assert given.keys() == seen.keys() == set(range(len(job.streamed.blocks)))
    for index, hidden in given.items():
        torch.testing.assert_close(hidden, torch.cat(seen[index]), rtol=0, atol=1e-4)


def test_a_model_of_text_takes_no_pairs(home: Path, tmp_path: Path) -> None:
    model = make_checkpoint(tmp_path / "model")
    with pytest.raises(ConfigError, match="LlamaForCausalLM does not take images and texts together"):
        prepare(model, PruneConfig(sparsity=0.5), home / "data" / "images.jsonl", CPU)


def test_a_model_of_images_takes_no_videos(home: Path, tmp_path: Path) -> None:
    model = save(home, "CLIPModel", tmp_path / "model")
    with pytest.raises(CalibrationError, match=r"\.npy: the model takes no videos"):
        prepare(model, PruneConfig(sparsity=0.5), home / "data" / "videos.jsonl", CPU)


def test_a_manifest_is_known_by_its_content(tmp_path: Path) -> None:
    for line, known in {
        '{"image": "a.png", "text": "b"}': True,
        '\n{"video": "a.npy"}': True,
        '{"text": "b"}': False,
        '{"text": "b", "image": null}': False,
        "[1]": False,
        "{": False,
        "": False,
    }.items():
        (tmp_path / "a.jsonl").write_text(line)
        assert is_manifest(tmp_path / "a.jsonl") == known
    assert not is_manifest(tmp_path / "none.jsonl")
    assert not is_manifest(tmp_path / "a.txt")


def test_pairs_of_val_and_test_calibrate_nothing(home: Path) -> None:
    lines = [json.loads(line) for line in (home / "data" / "images.jsonl").read_text().splitlines()]
    splits = ["train", "test", "val", *["train"] * (len(lines) - 3)]
    marked = [{**line, "split": split} for line, split in zip(lines, splits, strict=True)]
    definition, notes = OmniVLModel.from_pretrained(home / "omnivl"), list[str]()
    found = sample_pairs(
        home / "omnivl", definition, write_manifest(home / "data" / "marked.jsonl", marked), None, 0, notes
    )
    assert len(found) == len(lines) - 2
    assert any("2 pairs of other splits than train are left out" in note for note in notes)
    alone = write_manifest(home / "data" / "alone.jsonl", marked[1:3])
    with pytest.raises(CalibrationError, match='expected pairs of split "train"'):
        sample_pairs(home / "omnivl", definition, alone, None, 0, notes)


def test_pairs_of_equal_length_run_together_without_padding() -> None:
    lengths = torch.tensor([3, 2, 3, 2, 3])
    tokens = torch.arange(20).view(5, 4)
    pairs = Pairs(torch.arange(5.0).view(5, 1, 1, 1), tokens, lengths)
    parts = [(p["pixel_values"].flatten().tolist(), p["input_ids"].shape) for p in pairs.parts(torch.arange(5), 2)]
    assert parts == [([1, 3], (2, 2)), ([0, 2], (2, 3)), ([4], (1, 3))]
    assert list(pairs.parts(torch.arange(0), 2)) == []
    assert pairs.one()["input_ids"].tolist() == [[0, 1, 2]]
