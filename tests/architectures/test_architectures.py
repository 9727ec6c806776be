"""Every architecture of the README's table: pruned exactly, loaded again, and giving what the pruned model gives."""

from pathlib import Path
from typing import Any

import pytest
import torch
from helpers import CPU, Silent, streamed
from torch import Tensor
from zoo import ZOO, Kind, calibration, load, save

from fmcompress.calibration import Batch, StreamedModel, is_causal_lm
from fmcompress.checkpoint import Checkpoint
from fmcompress.config import PruneConfig
from fmcompress.layerwise import Unstructured
from fmcompress.pipeline import compress_checkpoint, prepare

OPTIONS: dict[str, Any] = {"sparsity": 0.5, "sequence_length": 32, "samples": 4}


def prune(model: Path, out: Path, paths: dict[str, Path], **options: Any) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """The facts of a run, and what it was calibrated with by kind."""
    config = PruneConfig(**{**OPTIONS, **options})
    job = prepare(model, config, paths.get("calibration"), CPU, images=paths.get("images"))
    inputs = {"text": job.windows, "images": job.images}
    return compress_checkpoint(job, out, Silent()), {kind: t for kind, t in inputs.items() if t is not None}


def walk(model: StreamedModel, inputs: dict[str, Tensor]) -> list[Tensor]:
    """What the last block of each stack gives, one block in memory at a time."""
    finals: list[Tensor] = []
    batch: Batch | None = None
    with torch.no_grad():
        for index in range(len(model.blocks)):
            stack = model.stack_at(index)
            if index == model.first_of(stack):
                given = inputs[model.stacks[stack].kind]
                batch = model.go_on(stack, batch) if batch and model.follows(stack) else model.embed(given, stack=stack)
            assert batch is not None
            with model.loaded(index) as block:
                batch.hidden = model.run_block(index, block, batch)
            if index + 1 == len(model.blocks) or model.stack_at(index + 1) != stack:
                finals.append(batch.hidden)
    return finals


def whole(model: Any, streams: StreamedModel, inputs: dict[str, Tensor]) -> list[Tensor]:
    """The same of a model that transformers holds whole, seen by hooks."""
    finals: dict[int, Tensor] = {}

    def keep(stack: int, output: Any) -> None:
        finals[stack] = output[0] if isinstance(output, tuple) else output

    for number, stack in enumerate(streams.stacks):
        last = model.get_submodule(stack.blocks[-1][0])
        last.register_forward_hook(lambda _, __, output, number=number: keep(number, output))
    given = {name: inputs[kind] for kind, name in (("text", "input_ids"), ("images", "pixel_values")) if kind in inputs}
    if getattr(model.config, "is_encoder_decoder", False):
        given["labels"] = given["input_ids"]
    with torch.no_grad():
        model(**given)
    return [finals[number] for number in range(len(streams.stacks))]


@pytest.fixture(scope="module", params=ZOO)
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, ...]:
    kind: Kind = ZOO[request.param]
    folder = tmp_path_factory.mktemp("zoo")
    model = save(kind, folder / "model")
    facts, inputs = prune(model, folder / "out", calibration(kind, folder))
    return kind, model, folder / "out", facts, inputs


def test_zeros_are_exact_and_nothing_else_changes(run: tuple[Any, ...]) -> None:
    kind, model, out, facts, _ = run
    before, after = Checkpoint(model), Checkpoint(out)
    assert len(facts["layers"]) == sum(kind.layers)
    solved = set()
    for record in facts["layers"]:
        weight = after.read(record["tensor"])
        assert int((weight == 0).sum()) == record["zeros"] == Unstructured(0.5).zeros(record["rows"], record["cols"])
        assert weight.shape == (
            (record["cols"], record["rows"]) if record.get("transposed") else (record["rows"], record["cols"])
        )
        assert 0 < record["relative_error"] < 1
        assert record["tokens"] >= 1
        solved.add(record["tensor"].partition("[")[0])
    assert before.tensors.keys() == after.tensors.keys()
    for name, entry in before.tensors.items():
        assert (entry.shape, entry.dtype) == (after.tensors[name].shape, after.tensors[name].dtype)
        assert before.read(name).equal(after.read(name)) == (name not in solved)


def test_each_block_holds_its_layers(run: tuple[Any, ...]) -> None:
    kind, model, _, facts, _ = run
    streams = streamed(model)
    known = [{tensor for _, tensor, _ in streams.places(index)} for index in range(len(streams.blocks))]
    assert tuple(len(block) for block in known) == kind.layers
    assert set.union(*known) == {record["tensor"] for record in facts["layers"]}


def test_reloaded_model_gives_what_the_streamed_one_gives(run: tuple[Any, ...]) -> None:
    kind, model, out, _, inputs = run
    streams = streamed(out)
    reloaded = load(out, kind)
    got, want = walk(streams, inputs), whole(reloaded, streams, inputs)
    dense = whole(load(model, kind), streams, inputs)
    assert len(got) == len(kind.layers) // 2
    for one, other, unpruned in zip(got, want, dense, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-4)
        assert not torch.allclose(one, unpruned, rtol=0, atol=1e-3)
    if is_causal_lm(streams.model) and len(streams.stacks) == 1:
        with torch.no_grad():
            logits = reloaded(input_ids=inputs["text"]).logits
            torch.testing.assert_close(streams.logits(inputs["text"], got[-1]), logits, rtol=0, atol=1e-4)
