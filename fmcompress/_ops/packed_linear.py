"""The contract of a product with a packed weight."""

import torch
from torch import Tensor

from .checks import BITS, require
from .packing import packed_bytes
from .pruning import check_nm

FLOATS = (torch.float32, torch.bfloat16, torch.float16)

# out[t, r] = sum over c of x[t, c] * weight[r, c] + bias[r], summed in float32 at least, rounded once to x's dtype.
# weight, by the parts of docs/format.md: entry i of row r is values[i], or (codes[i] - zero) * scale of its group. It
# belongs to the i-th column whose bit is set (row r's entries begin at starts[r]), or to the place that indices name
# inside each `group` of columns of which `keep` have an entry, or to column i. Columns without an entry weigh 0.
torch.library.define(
    "fmcompress::packed_linear",
    "(Tensor x, Tensor entries, Tensor? bitmask, Tensor? starts, Tensor? indices, Tensor? scale, Tensor? zero,"
    " Tensor? bias, int bits, int group_size, int keep, int group) -> Tensor",
)


def index_bits(group: int) -> int:
    """Bits of a place inside a group of N:M: the smallest width of a code that holds them all."""
    return next(bits for bits in BITS if 1 << bits >= group)


def group_width(group_size: int, cols: int) -> int:
    """Columns that share a scale; a group_size of 0 stands for a whole row."""
    return max(1, min(group_size or cols, cols))


def check_packed_linear(
    x: Tensor,
    entries: Tensor,
    bitmask: Tensor | None,
    starts: Tensor | None,
    indices: Tensor | None,
    scale: Tensor | None,
    zero: Tensor | None,
    bias: Tensor | None,
    bits: int,
    group_size: int,
    keep: int,
    group: int,
) -> None:
    """Raise ValueError unless the arguments fit the contract; what mask and places say is checked by the kernels."""
    require(
        x.dim() == 2 and x.dtype in (*FLOATS, torch.float64),
        lambda: f"x: expected [tokens, cols] floats, got {list(x.shape)} {x.dtype}. Flatten it to two dimensions.",
    )
    require(bits == 0 or bits in BITS, lambda: f"bits: expected 0 for values or one of {BITS}, got {bits}.")
    cols = x.shape[1]
    rows, kept = _places(cols, entries, bitmask, starts, indices, keep, group)
    if bits == 0:
        _expect("entries", entries, (rows, kept) if kept is not None else None, FLOATS)
        require(
            bitmask is not None or indices is not None,
            lambda: "entries: expected a bitmask or indices beside values. Use torch.nn.functional.linear.",
        )
    else:
        _expect("entries", entries, (rows, packed_bytes(kept, bits)) if kept is not None else None, (torch.uint8,))
        require(group_size >= 0, lambda: f"group_size: expected 0 for a whole row or a number, got {group_size}.")
        groups = -(-cols // group_width(group_size, cols))
        require(scale is not None, lambda: "scale: expected one for each group of codes, got None.")
        assert scale is not None
        _expect("scale", scale, (rows, groups), FLOATS)
        if zero is not None:
            _expect("zero", zero, (rows, packed_bytes(groups, bits)), (torch.uint8,))
    if bias is not None:
        _expect("bias", bias, (rows,), (x.dtype,))


def _places(
    cols: int,
    entries: Tensor,
    bitmask: Tensor | None,
    starts: Tensor | None,
    indices: Tensor | None,
    keep: int,
    group: int,
) -> tuple[int, int | None]:
    """Rows of the weight, and entries of a row where all have the same number."""
    if bitmask is not None:
        require(indices is None, lambda: "indices: expected None beside a bitmask. Pass one of them.")
        require(starts is not None, lambda: "starts: expected where each row's entries begin, got None.")
        assert starts is not None
        rows = bitmask.shape[0]
        _expect("bitmask", bitmask, (rows, (cols + 7) // 8), (torch.uint8,))
        _expect("starts", starts, (rows,), (torch.int64,))
        require(entries.dim() == 1, lambda: f"entries: expected 1 dimension, got {list(entries.shape)}.")
        return rows, None
    if indices is not None:
        check_nm(cols, keep, group)
        require(group <= 256, lambda: f"pattern {keep}:{group}: expected groups of at most 256.")
        kept = cols // group * keep
        _expect("indices", indices, (indices.shape[0], packed_bytes(kept, index_bits(group))), (torch.uint8,))
        return indices.shape[0], kept
    return entries.shape[0], cols


def _expect(name: str, tensor: Tensor, shape: tuple[int, ...] | None, dtypes: tuple[torch.dtype, ...]) -> None:
    wanted = " or ".join(str(dtype).removeprefix("torch.") for dtype in dtypes)
    require(
        (shape is None or tuple(tensor.shape) == shape) and tensor.dtype in dtypes,
        lambda: f"{name}: expected {list(shape or tensor.shape)} {wanted}, got {list(tensor.shape)} {tensor.dtype}.",
    )


@torch.library.register_fake("fmcompress::packed_linear")
def _(
    x: Tensor,
    entries: Tensor,
    bitmask: Tensor | None,
    starts: Tensor | None,
    indices: Tensor | None,
    scale: Tensor | None,
    zero: Tensor | None,
    bias: Tensor | None,
    bits: int,
    group_size: int,
    keep: int,
    group: int,
) -> Tensor:
    check_packed_linear(x, entries, bitmask, starts, indices, scale, zero, bias, bits, group_size, keep, group)
    places = bitmask if bitmask is not None else indices if indices is not None else entries
    return x.new_empty((x.shape[0], places.shape[0]))
