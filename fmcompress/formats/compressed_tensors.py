"""The pack-quantized format of the compressed-tensors library, as transformers and vLLM read it."""

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from .. import ops
from ..errors import ConfigError, PayloadError, in_one_line
from ..layerwise import Grid, LayerResult, QuantizedWeight

SUFFIXES = ("_packed", "_scale", "_shape", "_zero_point")  # of the parts of a weight, after its name
METHOD, FORMAT = "compressed-tensors", "pack-quantized"


def check_grid(grid: Grid | None, cols: Mapping[str, int]) -> None:
    """Raise ConfigError if weights of so many columns, by their names, cannot all be stored on this grid."""
    if grid is None:
        raise ConfigError("format: compressed-tensors holds quantized weights. Add --bits 4, or use --format packed.")
    if grid.group_size is None:
        return
    odd = [name for name, width in cols.items() if width % grid.group_size]  # not even one narrower group
    if odd:
        fits = [size for size in (128, 64, 32) if not any(width % size for width in cols.values())]
        advice = f"--group-size {fits[0]}, which fits all layers," if fits else "--group-size row, --exclude,"
        raise ConfigError(
            f"{odd[0]}: compressed-tensors needs columns divisible by the group size {grid.group_size}, "
            f"got {cols[odd[0]]}; so it is with {len(odd)} of {len(cols)} layers. Use {advice} or --format packed."
        )


def encode(result: LayerResult) -> dict[str, Tensor]:
    """The tensors that stand for a quantized weight, by their suffix."""
    quantized = result.quantized
    assert quantized is not None
    grid, codes = quantized.grid, quantized.codes.cpu()
    parts = {
        "weight_packed": _viewed(ops.pack_codes(codes, grid.bits), torch.int32),
        "weight_scale": quantized.scale.cpu().contiguous(),
        "weight_shape": torch.tensor(codes.shape, dtype=torch.int64),
    }
    if not grid.symmetric:  # these run down the rows
        packed = _viewed(ops.pack_codes(quantized.zero.cpu().T, grid.bits), torch.int32)
        parts["weight_zero_point"] = packed.T.contiguous()
    return parts


def _viewed(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """The bytes of a contiguous matrix as other numbers, which torch refuses where there are none."""
    if matrix.numel():
        return matrix.view(dtype)
    return matrix.new_empty((len(matrix), matrix.shape[1] * matrix.itemsize // dtype.itemsize), dtype=dtype)


def config_of(grid: Grid, targets: Sequence[str], ignore: Sequence[str]) -> dict[str, Any]:
    """The quantization_config of config.json; never a sparsity_config, which vLLM refuses.

    targets  module names or classes that are quantized
    ignore   names of modules that are not, though a target would match them
    """
    weights = {
        "num_bits": grid.bits,
        "type": "int",
        "symmetric": grid.symmetric,
        "strategy": "channel" if grid.group_size is None else "group",
        "group_size": grid.group_size,
        "dynamic": False,
    }
    group = {"targets": list(targets), "weights": weights, "input_activations": None, "output_activations": None}
    return {
        "quant_method": METHOD,
        "format": FORMAT,
        "quantization_status": "compressed",
        "config_groups": {"group_0": group},
        "ignore": list(ignore),
        "kv_cache_scheme": None,
    }


def grid_of(where: Any, config: dict[str, Any]) -> Grid | None:
    """The grid of a checkpoint by its config.json; None if it is not in this format.

    Raises PayloadError for a form of it that is not read here.
    """
    fields = config.get("quantization_config")
    if not isinstance(fields, dict) or fields.get("quant_method") != METHOD:
        return None
    try:
        (group,) = fields["config_groups"].values()
        weights = group["weights"]
        if fields.get("format") != FORMAT or weights.get("type", "int") != "int" or group.get("input_activations"):
            raise ValueError
        size = weights.get("group_size")
        if weights.get("strategy") not in ("group", "channel") or weights.get("actorder") == "group":
            raise ValueError
        if type(weights["num_bits"]) is not int or type(weights["symmetric"]) is not bool:
            raise ValueError
        if weights["strategy"] == "group" and type(size) is not int:
            raise ValueError
        return Grid(weights["num_bits"], size if weights["strategy"] == "group" else None, weights["symmetric"])
    except (AttributeError, KeyError, TypeError, ValueError):
        raise PayloadError(
            f"{where}: its quantization_config is not read here: only pack-quantized integer weights in one group are."
        ) from None


def packed_names(names: Sequence[str]) -> dict[str, str]:
    """Name of a weight -> name of its packed form, for all packed tensors among `names`."""
    return {re.sub(r"_packed$", "", name): name for name in names if name.endswith(".weight_packed")}


def shape_of(name: str, shape: Tensor) -> tuple[int, int]:
    """Rows and columns by a weight_shape. Raises PayloadError if it is none."""
    if tuple(shape.shape) == (2,) and shape.dtype in (torch.int64, torch.int32):
        rows, cols = shape.tolist()
        if 0 <= rows <= 1 << 40 and 0 <= cols <= 1 << 40:
            return rows, cols
    raise PayloadError(f"{name}: its weight_shape is not two sizes.")


def read_parts(name: str, grid: Grid, read: Callable[[str], Tensor]) -> tuple[tuple[int, int], Tensor, Tensor, Tensor]:
    """What stands for a quantized weight. `read` gives a part by its suffix, e.g. "weight_scale".

    returns  shape; codes [rows, bytes] uint8, each row a stream as ops.pack_codes makes it; scale [rows, groups];
             zero [rows, groups] uint8

    Raises PayloadError if the parts do not fit each other.
    """
    rows, cols = shape_of(name, read("weight_shape"))
    packed, scale = read("weight_packed"), read("weight_scale")
    if packed.dim() != 2 or not scale.is_floating_point() or scale.itemsize == 1:
        raise PayloadError(f"{name}: its codes are no matrix or its scales no floats.")
    try:
        codes, groups = _viewed(packed, torch.uint8), grid.groups(cols)
        if tuple(codes.shape) != (rows, ops.packed_bytes(cols, grid.bits)):
            raise ValueError(f"a weight [{rows}, {cols}] has codes {list(packed.shape)} {packed.dtype}")
        if tuple(scale.shape) != (rows, groups) or not torch.isfinite(scale).all():
            raise ValueError(f"a weight [{rows}, {cols}] has scales {list(scale.shape)}, or some that are not finite")
        zero = torch.full(scale.shape, 1 << (grid.bits - 1), dtype=torch.uint8)
        if not grid.symmetric:
            columns = read("weight_zero_point")
            if columns.dim() != 2:
                raise ValueError(f"a weight [{rows}, {cols}] has zero-points {list(columns.shape)}")
            columns = columns.T.contiguous()
            zero = ops.unpack_codes(_viewed(columns, torch.uint8), grid.bits, rows).T.contiguous()
            if tuple(zero.shape) != (rows, groups):
                raise ValueError(f"a weight [{rows}, {cols}] has zero-points {list(zero.shape)}")
    except (ValueError, RuntimeError) as error:
        raise PayloadError(f"{name}: does not decode ({in_one_line(error)}).") from None
    return (rows, cols), codes, scale, zero


def decode(name: str, grid: Grid, read: Callable[[str], Tensor]) -> Tensor:
    """The dense weight in the dtype of its scales; `read` as for read_parts. Raises PayloadError as that does."""
    (_, cols), codes, scale, zero = read_parts(name, grid, read)
    return QuantizedWeight(grid, ops.unpack_codes(codes, grid.bits, cols), scale, zero).dequantized(scale.dtype)
