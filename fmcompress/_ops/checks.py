"""What the contracts check alike."""

from collections.abc import Callable

import torch
from torch import Tensor

BITS = (2, 3, 4, 8)  # widths of a code
VALUE_BYTES = (1, 2, 4)  # of what a bitmask keeps


def require(condition: bool, message: Callable[[], str]) -> None:
    if condition is not True:  # false or symbolic; what holds costs a microsecond less a check so
        torch._check_with(ValueError, condition, message)


def check_matrix(name: str, tensor: Tensor) -> None:
    require(tensor.dim() == 2, lambda: f"{name}: expected 2 dimensions, got shape {tuple(tensor.shape)}. Reshape it.")


def check_matrices(name: str, tensor: Tensor) -> None:
    require(
        tensor.dim() in (2, 3),
        lambda: f"{name}: expected [rows, cols] or [batch, rows, cols], got shape {tuple(tensor.shape)}. Reshape it.",
    )


def check_floating(name: str, tensor: Tensor) -> None:
    require(
        tensor.dtype in (torch.float32, torch.float64),
        lambda: f"{name}: expected float32 or float64, got {tensor.dtype}. Call {name}.float() first.",
    )


def check_beside(name: str, tensor: Tensor, other: Tensor, dtype: torch.dtype) -> None:
    require(
        tensor.shape == other.shape and tensor.dtype == dtype,
        lambda: f"{name}: expected {list(other.shape)} {dtype}, got {list(tensor.shape)} {tensor.dtype}. One an entry.",
    )
    require(
        tensor.device == other.device,
        lambda: f"{name}: expected a tensor on {other.device}, got one on {tensor.device}. Move it there.",
    )


def check_bits(bits: int) -> None:
    require(bits in BITS, lambda: f"bits: expected one of {BITS}, got {bits}.")


def check_grid(scale: Tensor, zero: Tensor, dtype: torch.dtype, *shapes: tuple[int, ...]) -> None:
    expected = " or ".join(str(list(shape)) for shape in shapes)
    require(
        tuple(scale.shape) in shapes and scale.dtype == dtype,
        lambda: f"scale: expected {expected} {dtype}, got {list(scale.shape)} {scale.dtype}. One a segment.",
    )
    require(
        zero.shape == scale.shape and zero.dtype == torch.uint8,
        lambda: f"zero: expected {list(scale.shape)} uint8, got {list(zero.shape)} {zero.dtype}. One for each scale.",
    )


def check_codes(name: str, codes: Tensor) -> None:
    check_matrix(name, codes)
    require(codes.dtype == torch.uint8, lambda: f"{name}: expected uint8, got {codes.dtype}.")


def check_values(name: str, values: Tensor) -> None:
    require(
        values.itemsize in VALUE_BYTES and not values.is_complex(),
        lambda: f"{name}: expected a dtype of 1, 2 or 4 bytes, got {values.dtype}.",
    )
