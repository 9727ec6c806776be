"""A recovered model written again in the form in which it was read, and read again to be sure of its zeros."""

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..calibration.architecture import own_tensors
from ..calibration.sources import tensor_sources
from ..checkpoint import Checkpoint, CheckpointWriter, copy_checkpoint, copy_file, verify_checkpoint
from ..checkpoint.layout import CARD, FACTS
from ..errors import CheckpointError, ConfigError
from ..formats import LayerStore, PackedCheckpoint, PackedOutput, open_checkpoint, storage_of
from ..formats.unpack import unpack_checkpoint
from ..layerwise import NM, LayerResult
from ..layerwise.result import count_zeros, finished


def check_recoverable(checkpoint: Checkpoint) -> None:
    """Raise ConfigError if a checkpoint has weights that are codes: they cannot learn."""
    for name, entry in checkpoint.tensors.items():
        narrow = entry.dtype.is_floating_point and entry.dtype.itemsize == 1
        if narrow or storage_of(checkpoint, name).bits is not None:
            raise ConfigError(
                f"{checkpoint.folder}: {name} is quantized, and codes do not learn. Recover the pruned model first, "
                "then quantize it with --keep-zeros."
            )


@torch.no_grad()
def round_to_stored_(model: Any, checkpoint: Checkpoint, zeros: dict[str, Tensor]) -> int:
    """Round what has learned to the dtypes in which it is stored, in place; returns how many weights became 0 by it.

    Raises CalibrationError if a weight is beyond the range of its dtype.
    """
    sources, rounded = tensor_sources(model, checkpoint), 0
    masks = {id(model.get_parameter(name)): zero for name, zero in zeros.items()}
    done = set[int]()
    for module in model.modules():
        for key, one in own_tensors(module):
            if one.requires_grad and id(one) not in done:
                done.add(id(one))
                name = sources[id(module), key][0].name
                stored = finished(one.clone(), checkpoint.tensors[name].dtype, name, "Lower the learning rate.")
                one.copy_(stored)
                if id(one) in masks:
                    rounded += count_zeros(stored) - int(masks[id(one)].sum())
    return rounded


def learned(
    model: Any, checkpoint: Checkpoint, zeros: dict[str, Tensor]
) -> Iterator[tuple[str, Tensor, Tensor | None]]:
    """What has learned, by the checkpoint's tensors: name, value in the stored dtype, and where it is pruned."""
    sources, done = tensor_sources(model, checkpoint), set[str]()
    masks = {id(model.get_parameter(name)): zero for name, zero in zeros.items()}
    for module in model.modules():
        for key, one in own_tensors(module):
            for piece in sources[id(module), key] if one.requires_grad else ():
                if piece.name not in done:
                    done.add(piece.name)
                    mask = masks.get(id(one))
                    value = one.detach()[piece.index].to("cpu", checkpoint.tensors[piece.name].dtype)
                    yield piece.name, value, None if mask is None else mask[piece.index].cpu()


def write_recovered(
    source: Checkpoint, folder: Path, scratch: Path, model: Any | None, zeros: dict[str, Tensor]
) -> None:
    """Write a checkpoint again in the form in which it was read, with what a model of it has learned.

    folder   to write; scratch is used meanwhile. Both are replaced
    model    with weights in float32, rounded to what is stored; None: nothing was learned
    zeros    of its parameters, which stay 0: bool by name

    Raises CheckpointError or DiskError if it cannot be written, or is not what it should be when read again.
    """
    for path in (folder, scratch):
        shutil.rmtree(path, ignore_errors=True)
    changed = [] if model is None else list(learned(model, source, zeros))
    if not changed or not isinstance(source, PackedCheckpoint):
        copy_checkpoint(source, folder)
        dense = folder
    else:
        scratch.mkdir()
        dense = scratch / "dense"
        unpack_checkpoint(source.folder, dense)
    if changed:
        writer = CheckpointWriter(dense)
        for name, value, _ in changed:
            writer.write(name, value)
        writer.flush()
        if dense != folder:
            _pack(source, Checkpoint(dense), folder, scratch)
            shutil.rmtree(scratch)
    written = open_checkpoint(folder)
    verify_checkpoint(source, written, [], in_place=not isinstance(source, PackedCheckpoint))
    for name, value, mask in changed:
        found = written.read(name)
        if not torch.equal(found, value) or (mask is not None and bool(found[mask].any())):
            raise CheckpointError(f"{folder}: {name}: is not what was learned, or its mask is broken. Run again.")


def _pack(source: Checkpoint, dense: Checkpoint, folder: Path, scratch: Path) -> None:
    """What was packed is packed again, each tensor by its own pattern."""
    assert isinstance(source, PackedCheckpoint)
    output = PackedOutput(dense, folder, LayerStore(scratch / "layers"), 2 * source.total_bytes, None)
    output.begin()
    records = []
    for name, described in source.descriptions.items():
        nm = described.pattern
        output.pattern = None if nm is None else NM(nm.keep, nm.group)
        weight = dense.read(name)
        result = LayerResult(weight, loss=0.0, relative_error=0.0, zeros=count_zeros(weight))
        output.write(name, result)
        records.append({"tensor": name, "zeros": result.zeros})
    output.finish(records)
    for name in (FACTS, CARD):  # as they were: unpacking says in them that weights are dense
        if (source.folder / name).exists():
            copy_file(source.folder / name, folder / name)
