"""prune and quantize of an OmniVL model: all four stacks see pairs, and what is written loads and runs."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from compression import all_bits
from golden import sparsegpt as golden
from helpers import CPU, Silent, folder_bytes, make_text
from omnivl_folder import make_media, save_model, write_manifest
from torch import Tensor

from fmcompress import block_solver, hidden_states, pipeline
from fmcompress.checkpoint import Checkpoint, obeys
from fmcompress.config import PruneConfig, QuantizeConfig
from fmcompress.errors import ConfigError
from fmcompress.formats import open_checkpoint
from fmcompress.models import register
from fmcompress.pipeline import compress_checkpoint, prepare
from fmcompress.runtime import load

STACKS = ("visual_encoder", "text_encoder", "alignment_decoder", "generation_decoder")
LAYERS = 2 * (11 + 6 + 10 + 10)


class Interrupted(Exception):
    pass


class StopsAt(Silent):
    """An observer in whose hands a run ends after so many blocks."""

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.left = blocks

    def block(self, block: int) -> None:
        self.left -= 1
        if self.left == 0:
            raise Interrupted


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("omnivl")
    save_model(folder / "model")
    make_media(folder / "data", copies=4)
    make_text(folder / "text.txt", 3000)
    return folder


def job_of(home: Path, calibration: Path | None = None, model: str = "model", **options: Any) -> Any:
    kind = PruneConfig if options.keys() & {"sparsity", "pattern"} else QuantizeConfig
    config = kind(**options)
    given = (calibration or home / "data" / "videos.jsonl") if config.needs_data else None
    return prepare(home / model, config, given, CPU)


def run(home: Path, out: Path, observer: Any = None, resume: bool = False, **options: Any) -> dict[str, Any]:
    return compress_checkpoint(job_of(home, **options), out, observer or Silent(), resume=resume)


def transformers_model(folder: Path) -> Any:
    import transformers

    register()
    model, info = transformers.AutoModel.from_pretrained(folder, output_loading_info=True)
    assert not info["missing_keys"]
    assert not info["unexpected_keys"]
    return model.eval()


@pytest.mark.parametrize("method", ["sparsegpt", "wanda", "admm", "magnitude"])
def test_every_method_prunes_all_four_stacks(home: Path, tmp_path: Path, method: str) -> None:
    facts = run(home, tmp_path / "out", method=method, pattern="2:4")
    before, after = Checkpoint(home / "model"), Checkpoint(tmp_path / "out")
    solved = {record["tensor"] for record in facts["layers"]}
    assert len(solved) == LAYERS
    assert {name.partition(".")[0] for name in solved} == set(STACKS)
    assert all(obeys(after.read(name), 2, 4) for name in solved)
    assert {name for name in before.tensors if not before.read(name).equal(after.read(name))} == solved
    assert not any("patch_embeddings" in name or "head" in name for name in solved)
    if method != "magnitude":
        assert facts["calibration_pairs"] == 36
        assert all(0 < record["relative_error"] < 1 and record["tokens"] > 32 for record in facts["layers"])


def losses(home: Path, out: Path, before: dict[str, Tensor], **inputs: Tensor) -> float:
    """By how much what the model says of inputs has changed."""
    with torch.no_grad():
        found = transformers_model(out)(**inputs)
    return sum(float((found[key] - before[key]).norm() / before[key].norm()) for key in before)


def test_errors_are_smaller_than_those_of_magnitude(home: Path, tmp_path: Path) -> None:
    inputs = {**job_of(home, sparsity=0.5).pairs.one()}
    with torch.no_grad():
        before = dict(transformers_model(home / "model")(**inputs))
    for method in ("sparsegpt", "magnitude"):
        run(home, tmp_path / method, method=method, sparsity=0.5)
    sparsegpt, magnitude = (losses(home, tmp_path / m, before, **inputs) for m in ("sparsegpt", "magnitude"))
    assert sparsegpt < 0.8 * magnitude


def test_stacks_are_calibrated_with_what_the_pruned_model_gives_them(
    home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layer's input Hessian is that of the pruned model that is loaded again, in the order of its forward."""
    given: dict[int, Tensor] = {}
    solve, jobs = block_solver.solve_block, list[Any]()

    def spy(job: Any, index: int, block: Any, batches: Any, *more: Any) -> Any:
        given[index] = torch.cat([batch.hidden.flatten(0, 1) for batch in batches])
        jobs.append(job)
        return solve(job, index, block, batches, *more)

    monkeypatch.setattr(pipeline, "solve_block", spy)
    monkeypatch.setattr(hidden_states, "BATCH_IMAGES", 5)
    run(home, tmp_path / "out", sparsity=0.5, calibration=home / "data" / "videos.jsonl")
    job, seen = jobs[0], dict[int, list[Tensor]]()
    whole = transformers_model(tmp_path / "out")
    for index, (path, _) in enumerate(job.streamed.blocks):
        hook = lambda _, args, kwargs, i=index: seen.setdefault(i, []).append(  # noqa: E731
            (args[0] if args else kwargs["hidden_states"]).flatten(0, 1)
        )
        whole.get_submodule(path).register_forward_pre_hook(hook, with_kwargs=True)
    with torch.no_grad():
        for part in job.pairs.parts(torch.arange(len(job.pairs)), 5):
            whole(**part)
    assert len(job.pairs.lengths.unique()) > 1
    assert given.keys() == seen.keys() == set(range(8))
    for index, hidden in given.items():
        torch.testing.assert_close(hidden, torch.cat(seen[index]), rtol=0, atol=1e-4)


def test_a_decoders_layer_is_what_the_definition_makes_of_its_inputs(home: Path, tmp_path: Path) -> None:
    """One layer alone is solved, so that its inputs are those of the dense model, here in float64."""
    name = "generation_decoder.bert.encoder.layer.1.crossattention.self.query.weight"
    job = job_of(home, sparsity=0.5, include=name)
    (record,) = compress_checkpoint(job, tmp_path / "out", Silent())["layers"]
    model, rows = transformers_model(home / "model").double(), list[Tensor]()
    layer = model.get_submodule(name.removesuffix(".weight"))
    layer.register_forward_pre_hook(lambda _, args: rows.append(args[0].flatten(0, 1)))
    with torch.no_grad():
        for part in job.pairs.parts(torch.arange(len(job.pairs)), 3):
            model(part["pixel_values"].double(), part["input_ids"])
    inputs = torch.cat(rows)
    assert record["tokens"] == len(inputs) == int(job.pairs.lengths.sum())
    hessian = (inputs.T @ inputs / len(inputs)).numpy()
    want, _, _ = golden.sparsegpt(layer.weight.detach().numpy(), hessian, 0.01, 0.5)
    got = Checkpoint(tmp_path / "out").read(name).double().numpy()
    assert ((got == 0) == (want == 0)).mean() > 0.99
    assert abs(got - want).max() < 0.02 * abs(want).max()


@pytest.mark.parametrize("blocks", [1, 3, 5, 7])
def test_resumed_runs_write_the_same_bytes(home: Path, tmp_path: Path, blocks: int) -> None:
    run(home, tmp_path / "whole", sparsity=0.5)
    with pytest.raises(Interrupted):
        run(home, tmp_path / "out", StopsAt(blocks), sparsity=0.5)
    run(home, tmp_path / "out", observer := Silent(), resume=True, sparsity=0.5)
    assert observer.done == blocks
    assert folder_bytes(tmp_path / "out") == folder_bytes(tmp_path / "whole")


def test_other_pairs_do_not_resume(home: Path, tmp_path: Path) -> None:
    with pytest.raises(Interrupted):
        run(home, tmp_path / "out", StopsAt(1), sparsity=0.5)
    lines = [json.loads(line) for line in (home / "data" / "videos.jsonl").read_text().splitlines()]
    fewer = [{**line, "video": str(home / "data" / line["video"])} for line in lines[:-1]]
    with pytest.raises(ConfigError, match="calibration"):
        run(home, tmp_path / "out", resume=True, sparsity=0.5, calibration=write_manifest(tmp_path / "f.jsonl", fewer))


FORMS: dict[str, dict[str, Any]] = {
    "packed": {"format": "packed", "pattern": "2:4", "bits": 4, "group_size": 16},
    "packed, dense bits": {"format": "packed", "sparsity": 0.5},
    "compressed-tensors": {"format": "compressed-tensors", "bits": 4, "group_size": 16},
    "dense": {"format": "dense", "bits": 4, "group_size": 16},
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_loads_and_says_what_its_dense_form_says(home: Path, tmp_path: Path, form: str) -> None:
    run(home, tmp_path / "out", **FORMS[form])
    run(home, tmp_path / "dense", **{**FORMS[form], "format": "dense"})
    assert all_bits(open_checkpoint(tmp_path / "out")) == all_bits(Checkpoint(tmp_path / "dense"))
    inputs = job_of(home, sparsity=0.5).pairs.one()
    loaded = load(tmp_path / "out")
    with torch.no_grad():
        got, want = loaded(**inputs), transformers_model(tmp_path / "dense")(**inputs)
        for key in ("image_embeds", "text_embeds", "matching_logits", "logits"):
            torch.testing.assert_close(got[key], want[key], rtol=0, atol=1e-4)
        words = loaded.generate(inputs["pixel_values"], max_new_tokens=5)
    assert words.shape[0] == 1
    head = loaded.generation_decoder.cls.predictions.decoder
    assert head.weight is loaded.generation_decoder.bert.embeddings.word_embeddings.weight
    assert torch.equal(loaded.logit_scale, Checkpoint(home / "model").read("logit_scale"))
