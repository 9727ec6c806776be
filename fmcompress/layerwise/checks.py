"""What a layer and the options of its solve must be like."""

from torch import Tensor

from ..errors import CalibrationError, ConfigError
from .damping import MAX_DAMPING
from .factor import all_finite, check_finite_hessian
from .grid import Grid
from .patterns import NM, Pattern, Unstructured
from .products import PRODUCTS


def check_options(pattern: Pattern | None, grid: Grid | None, *, block_size: int, activation_order: bool) -> None:
    """Raise ConfigError if the options of a column sweep do not fit each other, whatever the weight."""
    if block_size < 1:
        raise ConfigError(f"block size: expected at least 1 column, got {block_size}.")
    if isinstance(pattern, NM):
        if block_size < pattern.group:
            raise ConfigError(
                f"block size: expected at least {pattern.group}, one group of {pattern}, got {block_size}."
            )
        if activation_order:
            raise ConfigError(f"activation order: it would scatter the groups of {pattern}. Use one or the other.")
    if grid is None or grid.group_size is None or not grid.refreshed or activation_order:
        return
    if isinstance(pattern, Unstructured) and block_size % grid.group_size:
        raise ConfigError(f"block size: expected a multiple of the group size {grid.group_size}, got {block_size}.")
    if isinstance(pattern, NM) and grid.group_size % pattern.group:
        raise ConfigError(
            f"group size: expected a multiple of {pattern.group}, one group of {pattern}, got {grid.group_size}."
        )


def check_weight(weight: Tensor) -> None:
    """Raise ConfigError unless it is a matrix of floats."""
    if not isinstance(weight, Tensor):
        raise ConfigError(f"weight: expected a torch.Tensor, got {type(weight).__name__}.")
    if weight.dim() != 2 or not weight.is_floating_point():
        raise ConfigError(f"weight: expected a 2-D float tensor, got {weight.dtype} {list(weight.shape)}.")


def check_finite_weight(weight: Tensor, name: str) -> None:
    """Raise CalibrationError unless it is finite."""
    if not all_finite(weight):
        raise CalibrationError(f"{name}: the weight holds inf or NaN. The checkpoint is damaged.")


def check_hessian(hessian: Tensor, weight: Tensor) -> None:
    """Raise ConfigError unless it is a square matrix of floats, of as many columns as the weight."""
    check_weight(hessian)
    cols = weight.shape[1]
    if tuple(hessian.shape) != (cols, cols):
        raise ConfigError(
            f"hessian: expected [{cols}, {cols}], as the weight has {cols} columns, got {list(hessian.shape)}."
        )


def check_layer(weight: Tensor, hessian: Tensor | None, pattern: Pattern | None, name: str) -> None:
    """Raise ConfigError for shapes and patterns that do not fit, CalibrationError for numbers that are none."""
    check_weight(weight)
    if pattern is not None:
        check_pattern(pattern)
        pattern.check(*weight.shape)
    if hessian is not None:
        check_hessian(hessian, weight)
    check_finite_weight(weight, name)
    if hessian is not None:
        check_finite_hessian(hessian, name)


def check_pattern(pattern: Pattern) -> None:
    """Raise ConfigError unless it is one."""
    if not isinstance(pattern, Pattern):
        raise ConfigError(f"pattern: expected Unstructured(0.5) or NM(2, 4), got {pattern!r}.")


def check_grid(grid: Grid) -> None:
    """Raise ConfigError unless it is one."""
    if not isinstance(grid, Grid):
        raise ConfigError(f"grid: expected a Grid such as Grid(bits=4, group_size=128), got {grid!r}.")


def check_solve(
    weight: Tensor, hessian: Tensor, pattern: Pattern | None, grid: Grid | None, damping: float, products: str
) -> None:
    """Raise ConfigError unless the arguments of a solve are of the right kind and shape."""
    check_weight(weight)
    if pattern is not None:
        check_pattern(pattern)
    if grid is not None:
        check_grid(grid)
    check_hessian(hessian, weight)
    if not 0 <= damping <= MAX_DAMPING:
        raise ConfigError(f"damping: expected 0 to {MAX_DAMPING:g}, a share of the mean diagonal, got {damping}.")
    if products not in PRODUCTS:
        raise ConfigError(f"products: expected one of {', '.join(PRODUCTS)}, got {products!r}.")
