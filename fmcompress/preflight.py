"""What can be known to fail before a run has written anything, and before hours are spent."""

import torch

from .checkpoint import Checkpoint
from .config import RunConfig
from .errors import CheckpointError, ConfigError
from .formats import compressed_tensors, packed
from .layerwise import all_finite
from .plan import SOLVABLE, Chosen, Layer, Plan


def check_layers(source: Checkpoint, chosen: Chosen, config: RunConfig, *, known: bool) -> None:
    """Raise ConfigError or CheckpointError if a chosen layer cannot be solved, or not be held by the form that is to be
    written.

    known  whether the model's definition is, so that layers without a module are no linear ones
    """
    layers = [layer for some in chosen for layer in some.values()]
    for layer in layers:
        dtype = source.tensors[layer.tensor].dtype
        if dtype not in SOLVABLE:
            raise CheckpointError(f"{layer.tensor}: {dtype} weights cannot be solved. Give a checkpoint in bfloat16.")
    if config.written_as == "packed":
        for layer in layers:
            _check_packed(source, layer)
    if config.written_as == "compressed-tensors":
        _check_quantized_checkpoint(source)
        for layer in layers:
            _check_quantized(source, layer, known)


def _check_packed(source: Checkpoint, layer: Layer) -> None:
    if source.tensors[layer.tensor].dtype == torch.float64:
        raise ConfigError(f"{layer.tensor}: the packed format holds no float64. Convert it, or use --format dense.")
    _check_names(source, layer, [f"{layer.tensor}.{part}" for part in packed.PARTS])


def _check_quantized_checkpoint(source: Checkpoint) -> None:
    if not (source.folder / "config.json").exists():
        raise ConfigError(
            f"{source.folder}: holds no config.json, where compressed-tensors is described. Use --format packed."
        )
    taken = compressed_tensors.packed_names(list(source.tensors))
    if taken:
        raise ConfigError(
            f"{min(taken.values())}: readers of compressed-tensors take that name for a part. Use --format packed."
        )


def _check_quantized(source: Checkpoint, layer: Layer, known: bool) -> None:
    if known and layer.module is None:
        raise ConfigError(f"{layer.tensor}: compressed-tensors holds linear layers only. Use --format packed.")
    if not layer.tensor.endswith(".weight"):
        raise ConfigError(
            f"{layer.tensor}: compressed-tensors holds tensors named MODULE.weight only. "
            "Use --format packed, or --exclude it."
        )
    _check_names(source, layer, [layer.tensor + suffix for suffix in compressed_tensors.SUFFIXES])


def _check_names(source: Checkpoint, layer: Layer, parts: list[str]) -> None:
    for part in parts:
        if part in source.tensors:
            raise ConfigError(
                f"{layer.tensor}: the source holds a tensor {part!r}, as one of its parts would be named. "
                "Use another --format, such as packed or dense, or --exclude it."
            )


def encoded_space(source: Checkpoint, chosen: Chosen, plan: Plan) -> int:
    """Bytes on the disk while a run writes another form than dense: what it encodes lies there twice before the end."""
    dense = sum(source.tensors[layer.tensor].size_bytes for some in chosen for layer in some.values())
    return 2 * plan.output_bytes - (source.total_bytes - dense)


def check_finite(source: Checkpoint) -> None:
    """Raise CheckpointError if a tensor holds inf or NaN. Costs one reading of the checkpoint."""
    for name, entry in source.tensors.items():
        if entry.dtype.is_floating_point and entry.dtype.itemsize > 1 and not all_finite(source.read(name)):
            raise CheckpointError(f"{name}: holds inf or NaN. The checkpoint is damaged: fetch it again.")
