"""The contract of the weighted sum of many tensors."""

import torch
from torch import Tensor

from .checks import check_matrix, require

NUMBERS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)

# out[i] = round(sum over n of weights[n] * sources[n, i]): products and sums each rounded to the dtype of weights,
# never fused, in the order of n, from the first product; then one rounding to the dtype of out, to the nearest, half to
# even. Returned: how many entries of out are inf or NaN. out is no memory of the others.
torch.library.define(
    "fmcompress::weighted_sum_",
    "(Tensor(a!) out, Tensor sources, Tensor weights) -> Tensor",
)


def check_weighted_sum_(out: Tensor, sources: Tensor, weights: Tensor) -> None:
    """Raise ValueError unless the arguments fit the contract."""
    check_matrix("sources", sources)
    require(sources.shape[0] > 0, lambda: "sources: expected at least one row, got none.")
    for name, tensor in (("sources", sources), ("out", out)):
        require(
            tensor.dtype in NUMBERS,
            lambda name=name, tensor=tensor: (  # type: ignore[misc]
                f"{name}: expected float16, bfloat16, float32 or float64, got {tensor.dtype}."
            ),
        )
    require(
        tuple(out.shape) == (sources.shape[1],),
        lambda: f"out: expected [{sources.shape[1]}], one a column of sources, got {list(out.shape)}.",
    )
    require(out.is_contiguous(), lambda: "out: expected contiguous memory. Call .contiguous() first.")
    wanted = (torch.float64,) if sources.dtype == torch.float64 else (torch.float32, torch.float64)
    require(
        tuple(weights.shape) == (sources.shape[0],) and weights.dtype in wanted,
        lambda: (
            f"weights: expected [{sources.shape[0]}] {' or '.join(map(str, wanted))}, got {list(weights.shape)} "
            f"{weights.dtype}. One a row of sources."
        ),
    )
    for name, tensor in (("sources", sources), ("weights", weights)):
        require(
            tensor.device == out.device,
            lambda name=name, tensor=tensor: (  # type: ignore[misc]
                f"{name}: expected a tensor on {out.device}, got one on {tensor.device}. Move it there."
            ),
        )


@torch.library.register_fake("fmcompress::weighted_sum_")
def _(out: Tensor, sources: Tensor, weights: Tensor) -> Tensor:
    check_weighted_sum_(out, sources, weights)
    return out.new_empty((), dtype=torch.int64)
