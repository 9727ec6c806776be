"""What can be known to fail before a run has written anything, and before hours are spent."""

from dataclasses import replace
from pathlib import Path

import torch

from .calibration import StreamedModel
from .checkpoint import Checkpoint, look, row_pieces
from .checkpoint.layout import find_entry
from .config import QuantizeConfig, RunConfig
from .errors import CheckpointError, ConfigError
from .formats import compressed_tensors, open_checkpoint, packed
from .layers import SOLVABLE, Chosen, Layer, solved_before
from .layerwise import all_finite
from .plan import Plan

MANY_ZEROS = 0.05  # of a model that was pruned, most likely
MANY_LEFT = 0.2  # of the blocks' weights
LOOK_BYTES = 1 << 20  # of each layer, to find out


def format_notes(config: RunConfig) -> list[str]:
    """What the form that is written does not do for the weights."""
    notes, grid = [], config.grid()
    if config.written_as == "compressed-tensors" and grid is not None:
        if config.target() is not None:
            notes.append("zeros save no bytes in compressed-tensors, every weight has its bits: add --format packed")
        if not grid.symmetric:
            notes.append(
                "transformers loads asymmetric compressed-tensors only with "
                "quantization_config=CompressedTensorsConfig(dequantize=True)"
            )
    return notes


def allocation_notes(chosen: Chosen, config: RunConfig, plan: Plan) -> list[str]:
    """How sparse everything becomes where layers have sparsities of their own."""
    allocation = getattr(config, "allocation", None)
    if not allocation:
        return []
    layers = [layer for some in chosen for layer in some.values()]
    shares = [allocation.get(layer.tensor, getattr(config, "sparsity", 0)) for layer in layers]
    return [
        f"allocation: {100 * plan.zeros / max(1, plan.weights):.2f} % of all weights become zero, from "
        f"{100 * min(shares):.2f} to {100 * max(shares):.2f} % of a layer"
    ]


def tokens_notes(chosen: Chosen, tokens: int) -> list[str]:
    """A warning where the Hessian of some layer cannot have full rank."""
    cols = max(layer.cols for some in chosen for layer in some.values())
    if tokens >= cols:
        return []
    return [
        f"calibration has {tokens} tokens, fewer than the {cols} columns of the widest layer, so they do not "
        "determine its weights: give more text or raise --samples"
    ]


def zeros_notes(source: Checkpoint, chosen: Chosen, config: RunConfig) -> list[str]:
    """A warning where weights that were pruned before would be filled again. Looks at the beginning of each layer."""
    if not isinstance(config, QuantizeConfig) or config.keep_zeros:
        return []
    layers = [layer for some in chosen for layer in some.values()]
    zeros = sum(layer.rows * layer.cols * _share_of_zeros(source, layer) for layer in layers)
    share = zeros / max(1, sum(layer.rows * layer.cols for layer in layers))
    if share <= MANY_ZEROS:
        return []
    return [
        f"about {100 * share:.0f} % of the weights are zero already and will not all stay so, as GPTQ moves its "
        "errors into them, too: add --keep-zeros to keep them and their pattern"
    ]


def unknown_notes(streamed: StreamedModel) -> list[str]:
    """A warning where the blocks hold many weights that are none of those that can be solved."""
    left: dict[str, int] = {}
    weights = 0
    for index, (path, block) in enumerate(streamed.blocks):
        solved = {(id(place.module), place.key) for _, _, place in streamed.places(index)}
        for name, module in block.named_modules():
            for key, parameter in module.named_parameters(recurse=False):
                weights += parameter.numel()
                if parameter.dim() > 1 and (id(module), key) not in solved:
                    left[f"{path}.{name}.{key}"] = parameter.numel()
    share = sum(left.values()) / max(1, weights)
    if share < MANY_LEFT:
        return []
    return [
        f"{100 * share:.0f} % of the blocks' weights stay as they are, since how they are multiplied is not known "
        f"here, {max(left, key=left.__getitem__)} first"
    ]


def shared_notes(streamed: StreamedModel, chosen: Chosen) -> list[str]:
    """That weights which several layers share are solved once."""
    layers = [layer for some in chosen for layer in some.values()]
    shared = set[str]().union(*solved_before(streamed, chosen), (layer.tensor for layer in layers if layer.twins))
    if not shared:
        return []
    return [
        f"weights that several layers share are solved once, from the inputs of the first of them: {min(shared)}"
        + (f" and {len(shared) - 1} more" if len(shared) > 1 else "")
    ]


def _share_of_zeros(source: Checkpoint, layer: Layer) -> float:
    entry = source.entry(layer.tensor)
    height, width = entry.shape
    row_bytes = width * entry.dtype.itemsize
    rows = min(height, max(1, LOOK_BYTES // max(1, row_bytes)))
    part = source.read_entry(replace(entry, shape=(rows, width), size_bytes=rows * row_bytes))
    return int((part == 0).sum()) / max(1, part.numel())


def read_masks(config: RunConfig, chosen: Chosen) -> Checkpoint | None:
    """The pruned checkpoint whose zeros are taken over, if the options name one.

    Raises CheckpointError if it cannot be read, ConfigError if it lacks a chosen layer or has another shape of it.
    """
    folder = getattr(config, "masks", None)
    if folder is None:
        return None
    masks, layers = open_checkpoint(Path(folder)), [layer for some in chosen for layer in some.values()]
    for layer in layers:
        entry = find_entry(masks.tensors, layer.tensor)
        shape = None if entry is None else list(entry.shape)[:: -1 if layer.transposed else 1]
        if shape != [layer.rows, layer.cols]:
            raise ConfigError(
                f"masks: {folder} holds {'no' if shape is None else f'a {shape}'} {layer.tensor}, expected "
                f"[{layer.rows}, {layer.cols}]. Give a pruned form of this model."
            )
    if not any((layer.read(masks) == 0).any() for layer in layers):
        raise ConfigError(f"masks: {folder} holds no zeros in the chosen layers. Give a pruned form of this model.")
    return masks


def check_layers(source: Checkpoint, chosen: Chosen, config: RunConfig, *, known: bool) -> None:
    """Raise ConfigError or CheckpointError if a chosen layer cannot be solved, or not be held by the form that is to be
    written.

    known  whether the model's definition is, so that layers without a module are no linear ones
    """
    layers = [layer for some in chosen for layer in some.values()]
    for layer in layers:
        dtype = source.entry(layer.tensor).dtype
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
    if layer.transposed or layer.tensor not in source.tensors:
        kind = "a layer stored as [inputs, outputs]" if layer.transposed else "one of the experts that share a tensor"
        raise ConfigError(f"{layer.tensor}: is {kind}, which the packed format does not hold. Use --format dense.")
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
    own = not layer.transposed and layer.tensor in source.tensors
    if known and not layer.is_linear and not (own and layer.is_expert):
        other = "packed" if own else "dense"
        raise ConfigError(f"{layer.tensor}: compressed-tensors holds linear layers only. Use --format {other}.")
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
    dense = sum(source.entry(layer.tensor).size_bytes for some in chosen for layer in some.values())
    return 2 * plan.output_bytes - (source.total_bytes - dense)


def check_finite(source: Checkpoint) -> None:
    """Raise CheckpointError if a tensor holds inf or NaN. Costs one reading of the checkpoint."""
    looked = [e for e in source.tensors.values() if e.dtype.is_floating_point and e.dtype.itemsize > 1]
    pieces = [piece for entry in looked for piece in row_pieces(entry)]
    for piece, finite in look(lambda p: all_finite(source.read_entry(p)), pieces, lambda p: p.size_bytes):
        if not finite:
            raise CheckpointError(f"{piece.name}: holds inf or NaN. The checkpoint is damaged: fetch it again.")
