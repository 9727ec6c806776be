"""The contracts of CocktailSGD's compression: sample, keep the largest, quantize; docs/wire-format.md has the bytes."""

import struct
from typing import NamedTuple

import torch
from torch import Tensor

from .checks import require
from .packing import packed_bytes

HEADER = struct.Struct("<4sBBBBQQQIIIIIIII")  # the fields of docs/wire-format.md in their order
HEADER_BYTES = HEADER.size
NOT_FINITE = 1  # the flag
BLOCKS = tuple(1 << i for i in range(7, 14))
CODE_BITS = (*range(1, 9), 32)
MAX_STRATUM = 1 << 16  # blocks of which one is sampled, at most
INPUTS = (torch.float32, torch.bfloat16, torch.float16)
RESIDUALS = (torch.float32, torch.bfloat16)


class Layout(NamedTuple):
    """What a payload's header says beside the number of elements, in the order of the ops' arguments."""

    seed: int
    step: int
    stream: int
    block: int
    sampled: int
    kept: int
    bits: int
    group: int
    symmetric: bool

    @property
    def mask_bytes(self) -> int:
        return 0 if self.kept == self.block else self.block // 8

    @property
    def code_bytes(self) -> int:
        return packed_bytes(self.kept, self.bits)

    @property
    def scales(self) -> int:
        """Of one group."""
        return 0 if self.bits == 32 else 1 if self.symmetric or self.bits == 1 else 2

    @property
    def groups(self) -> int:
        return -(-self.kept // self.group)

    @property
    def block_bytes(self) -> int:
        return self.mask_bytes + self.code_bytes + -(-self.groups * self.scales // 2) * 4

    @property
    def payload_bytes(self) -> int:
        return HEADER_BYTES + self.sampled * self.block_bytes


_LAYOUT = "int seed, int step, int stream, int block, int sampled, int kept, int bits, int group, bool symmetric"


def check_layout(numel: int, layout: Layout) -> None:
    """Raise ValueError unless a tensor of so many elements can be compressed in that way."""
    require(layout.block in BLOCKS, lambda: f"block: expected one of {BLOCKS}, got {layout.block}.")
    require(layout.bits in CODE_BITS, lambda: f"bits: expected 1 to 8, or 32, got {layout.bits}.")
    require(numel >= 1, lambda: "tensor: expected at least one element, got none. Leave it out.")
    blocks = -(-numel // layout.block)
    require(
        max(1, -(-blocks // MAX_STRATUM)) <= layout.sampled <= blocks,
        lambda: f"sampled: expected 1 to {blocks} blocks, one of {MAX_STRATUM} at least, got {layout.sampled}.",
    )
    require(1 <= layout.kept <= layout.block, lambda: f"kept: expected 1 to {layout.block}, got {layout.kept}.")
    require(1 <= layout.group <= layout.kept, lambda: f"group: expected 1 to {layout.kept}, got {layout.group}.")
    require(0 <= layout.seed < 1 << 63, lambda: f"seed: expected 0 to 2^63 - 1, got {layout.seed}.")
    require(0 <= layout.step < 1 << 63, lambda: f"step: expected 0 to 2^63 - 1, got {layout.step}.")
    require(0 <= layout.stream < 1 << 32, lambda: f"stream: expected 0 to 2^32 - 1, got {layout.stream}.")


def _check_vector(name: str, tensor: Tensor, dtypes: tuple[torch.dtype, ...], numel: int | None = None) -> None:
    size = "numel" if numel is None else numel
    require(
        tensor.dim() == 1 and (numel is None or len(tensor) == numel) and tensor.dtype in dtypes,
        lambda: f"{name}: expected [{size}] {' or '.join(map(str, dtypes))}, got {list(tensor.shape)} {tensor.dtype}.",
    )
    require(tensor.is_contiguous(), lambda: f"{name}: expected neighbours in memory. Call {name}.contiguous() first.")


# s = gradient * scale; a = s + residual; for the sampled blocks the payload of a, D = what it decodes to there and 0
# elsewhere; residual = a - D. Where s is not finite the payload says so and the residual stays.
torch.library.define(
    "fmcompress::compress_gradient_", f"(Tensor gradient, Tensor(a!)? residual, float scale, {_LAYOUT}) -> Tensor"
)


def check_compress_gradient_(gradient: Tensor, residual: Tensor | None, scale: float, *layout: int) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    _check_vector("gradient", gradient, INPUTS)
    check_layout(len(gradient), Layout(*layout))  # type: ignore[arg-type]
    if residual is not None:
        _check_vector("residual", residual, RESIDUALS, len(gradient))


@torch.library.register_fake("fmcompress::compress_gradient_")
def _(gradient: Tensor, residual: Tensor | None, scale: float, *layout: int) -> Tensor:
    check_compress_gradient_(gradient, residual, scale, *layout)
    return gradient.new_empty(Layout(*layout).payload_bytes, dtype=torch.uint8)  # type: ignore[arg-type]


# in the sampled blocks a = local - shared; their payload; local = local - D: what is sent leaves the local model, and
# what is not stays in it for later (CocktailSGD, worker's error feedback). Elsewhere nothing is read or changed.
torch.library.define("fmcompress::compress_delta_", f"(Tensor(a!) local, Tensor shared, {_LAYOUT}) -> Tensor")


def check_compress_delta_(local: Tensor, shared: Tensor, *layout: int) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    _check_vector("local", local, INPUTS)
    _check_vector("shared", shared, INPUTS, len(local))
    check_layout(len(local), Layout(*layout))  # type: ignore[arg-type]


@torch.library.register_fake("fmcompress::compress_delta_")
def _(local: Tensor, shared: Tensor, *layout: int) -> Tensor:
    check_compress_delta_(local, shared, *layout)
    return local.new_empty(Layout(*layout).payload_bytes, dtype=torch.uint8)  # type: ignore[arg-type]


# the server: in the sampled blocks a = (0 + D_0 + D_1 + ...) / payloads + residual, summed in that order; the payload
# of a; residual = a - D there. Where one payload holds no numbers, neither does the result, and the residual stays.
torch.library.define(
    "fmcompress::compress_mean_", f"(Tensor payloads, Tensor(a!)? residual, int numel, {_LAYOUT}) -> Tensor"
)


def check_compress_mean_(payloads: Tensor, residual: Tensor | None, numel: int, *layout: int) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    check_layout(numel, Layout(*layout))  # type: ignore[arg-type]
    size = Layout(*layout).payload_bytes  # type: ignore[arg-type]
    require(
        payloads.dim() == 2 and len(payloads) >= 1 and payloads.shape[1] == size and payloads.dtype == torch.uint8,
        lambda: f"payloads: expected [workers, {size}] uint8, got {list(payloads.shape)} {payloads.dtype}.",
    )
    require(payloads.is_contiguous(), lambda: "payloads: expected neighbours in memory. Call .contiguous() first.")
    if residual is not None:
        _check_vector("residual", residual, RESIDUALS, numel)


@torch.library.register_fake("fmcompress::compress_mean_")
def _(payloads: Tensor, residual: Tensor | None, numel: int, *layout: int) -> Tensor:
    check_compress_mean_(payloads, residual, numel, *layout)
    return payloads.new_empty(Layout(*layout).payload_bytes)  # type: ignore[arg-type]


# out = out + scale * D in the kept elements; NaN everywhere where the payload holds no numbers
torch.library.define("fmcompress::add_payload_", f"(Tensor payload, Tensor(a!) out, float scale, {_LAYOUT}) -> ()")


def check_add_payload_(payload: Tensor, out: Tensor, scale: float, *layout: int) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    _check_vector("out", out, INPUTS)
    check_layout(len(out), Layout(*layout))  # type: ignore[arg-type]
    _check_vector("payload", payload, (torch.uint8,), Layout(*layout).payload_bytes)  # type: ignore[arg-type]


@torch.library.register_fake("fmcompress::add_payload_")
def _(payload: Tensor, out: Tensor, scale: float, *layout: int) -> None:
    check_add_payload_(payload, out, scale, *layout)


# the checksum of docs/wire-format.md, whatever stands in its place
torch.library.define("fmcompress::payload_checksum", "(Tensor payload) -> Tensor")


def check_payload_checksum(payload: Tensor) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    _check_vector("payload", payload, (torch.uint8,))
    require(
        len(payload) >= HEADER_BYTES and len(payload) % 4 == 0,
        lambda: f"payload: expected {HEADER_BYTES} bytes or more, whole words of 4, got {len(payload)}.",
    )


@torch.library.register_fake("fmcompress::payload_checksum")
def _(payload: Tensor) -> Tensor:
    check_payload_checksum(payload)
    return payload.new_empty(1, dtype=torch.int64)
