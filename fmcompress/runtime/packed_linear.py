"""A linear layer whose weight stays packed, as a module of torch."""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .. import _backends, ops
from ..checkpoint.layout import DTYPE_NAMES
from ..formats import packed
from ..formats.description import Description
from ..layerwise import LayerResult, Pattern

PLACES = ("bitmask", "starts", "indices", "scale", "zero")  # as the op takes them after the entries


class PackedWeight(nn.Module):
    """The weight of a linear layer in the parts of the packed format (docs/format.md), each a buffer.

    A module and not a tensor, so that the parts are named in a state_dict as they are in the file:
    `q_proj.weight.bitmask`. Which of them there are depends on the form; one that is missing is None.

    described  which form; its checksums are not looked at
    parts      name -> tensor, as packed.read_parts and packed.encode give them; they are kept, not copied

    Raises ValueError if the parts contradict the description.
    """

    bitmask: Tensor | None
    indices: Tensor | None
    values: Tensor | None
    codes: Tensor | None
    scale: Tensor | None
    zero: Tensor | None
    starts: Tensor | None

    def __init__(self, described: Description, parts: Mapping[str, Tensor]) -> None:
        super().__init__()
        if parts.keys() != described.shapes().keys():
            raise ValueError(f"parts: expected {sorted(described.shapes())}, got {sorted(parts)}.")
        self.described = described
        for part in packed.PARTS:
            self.register_buffer(part, parts.get(part))
        # not in the file: where each row's entries begin among all
        starts = ops.row_starts(parts["bitmask"]) if "bitmask" in parts else None
        self.register_buffer("starts", starts, persistent=False)
        grid, pattern = described.grid, described.pattern
        self._options = (
            0 if grid is None else grid.bits,
            0 if grid is None else grid.group_size or 0,
            0 if pattern is None else pattern.keep,
            0 if pattern is None else pattern.group,
        )
        self.register_load_state_dict_post_hook(_find_starts)

    @classmethod
    def of(cls, result: LayerResult, pattern: Pattern | None = None) -> "PackedWeight":
        """A solved weight, packed in the smallest of the forms. Raises ConfigError for a dtype that has none."""
        parts, described = packed.encode(result, pattern)
        return cls(described, parts).to(result.weight.device)

    @property
    def shape(self) -> torch.Size:
        """Rows and columns of the dense weight."""
        return torch.Size((self.described.rows, self.described.cols))

    @property
    def dtype(self) -> torch.dtype:
        """Of the values or scales, and so of the dense weight."""
        return self._floats.dtype

    @property
    def device(self) -> torch.device:
        """Where the parts are."""
        return self._floats.device

    @property
    def _floats(self) -> Tensor:
        floats = self.values if self.scale is None else self.scale
        assert floats is not None
        return floats

    @property
    def size_bytes(self) -> int:
        """Bytes of the parts, as they stand in the file: what a product with a token reads."""
        return sum(self.get_buffer(part).nbytes for part in self.described.shapes())

    def dense(self) -> Tensor:
        """[rows, cols] the weight that the parts stand for, in its dtype."""
        described = self.described.model_copy(update={"dtype": DTYPE_NAMES[self.dtype]})  # .to() may have changed it
        parts = {part: self.get_buffer(part).cpu() for part in described.shapes()}
        return packed.assemble(described, parts).to(self.device)

    def product(self, x: Tensor, bias: Tensor | None) -> Tensor:
        """x [tokens, cols] @ weight.T + bias -> [tokens, rows]; see ops.packed_linear, which checks more."""
        found = self._buffers  # as attributes they would cost as much as a small layer
        entries = found["codes"] if found["values"] is None else found["values"]
        places, (bits, group_size, keep, group) = [found[part] for part in PLACES], self._options
        if torch.is_grad_enabled() and (x.requires_grad or (bias is not None and bias.requires_grad)):
            assert entries is not None
            options: dict[str, Any] = {"bits": bits, "group_size": group_size, "keep": keep, "group": group}
            options.update(zip(PLACES, places, strict=True))
            return ops.packed_linear(x, entries, bias=bias, **options)
        if torch.compiler.is_compiling():
            return torch.ops.fmcompress.packed_linear(x, entries, *places, bias, *self._options)
        # past the checks in Python for the same reason: the kernels check the same
        if x.is_cuda:
            _backends.prepare(x.device)
        run = _backends.implementation("packed_linear", x.device.type)
        return run(x, entries, *places, bias, *self._options)  # type: ignore[no-any-return]

    def extra_repr(self) -> str:
        """Shape and form, for print(model)."""
        grid, pattern = self.described.grid, self.described.pattern
        form = [] if grid is None else [f"{grid.bits} bits", f"group {grid.group_size or 'row'}"]
        form += ["bitmask"] if self.described.masked else []
        form += [] if pattern is None else [f"{pattern.keep}:{pattern.group}"]
        return f"{self.described.rows}, {self.described.cols}, {', '.join(form)}, {self.dtype}"


def _find_starts(weight: PackedWeight, _: Any) -> None:
    if weight.bitmask is not None:
        weight.starts = ops.row_starts(weight.bitmask)


class PackedLinear(nn.Module):
    """nn.Linear with a PackedWeight, which does not train, in the place of its weight.

    The input may be float32, bfloat16 or float16 (not float64), whatever the weight is stored in; the output has its
    dtype. Gradients pass through to the input, so that adapters around it can train.
    """

    def __init__(self, weight: PackedWeight, bias: Tensor | None = None) -> None:
        super().__init__()
        self.weight = weight
        self.bias = None if bias is None else nn.Parameter(bias, requires_grad=False)
        self.out_features, self.in_features = weight.shape

    def forward(self, x: Tensor) -> Tensor:
        """x [..., in_features] -> [..., out_features]."""
        bias = self.bias if self.bias is None or self.bias.dtype == x.dtype else self.bias.to(x.dtype)
        out = self.weight.product(x.reshape(-1, self.in_features).contiguous(), bias)
        return out.view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """As nn.Linear has it."""
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"
