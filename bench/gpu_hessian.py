"""Hessians on a GPU: bfloat16 inputs by tensor cores into float32, beside the product of float32 copies.

The target is 60 % of the rate of a large bfloat16 product, measured in the same run. Counted is only what is needed,
the upper triangle: tokens * cols * (cols + 1) operations. The facts also tell the rate of what is computed, whose tiles
reach over the diagonal, and of the full product that the baseline computes.
"""

from functools import partial

import torch
from gpu import Row, Rows, arguments, measured_ceilings, seconds
from torch import Tensor

from fmcompress.calibration import BATCH_TOKENS, accumulate_hessian_, symmetrise_
from fmcompress.calibration.accumulate import GPU_TILE_COLS, TILE_COLS

LEAST = 0.6  # of the measured rate of products
CASES = [  # tokens, cols, dtype of the inputs
    (16384, 4096, torch.bfloat16),
    (16384, 14336, torch.bfloat16),
    (BATCH_TOKENS, 4096, torch.bfloat16),  # what a run adds at a time
    (BATCH_TOKENS, 14336, torch.bfloat16),
    (BATCH_TOKENS, 4096, torch.float32),
]
SMALL = [(100, 96, torch.bfloat16), (64, 200, torch.float32)]


def as_published(hessian: Tensor, inputs: Tensor) -> Tensor:
    """Float32 copies of the inputs, and all of the product."""
    wide = inputs.float()
    hessian += wide.T @ wide
    return hessian


def computed_flops(tokens: int, cols: int, device: torch.device) -> int:
    """Of the tile rows, from the diagonal tile on."""
    tile = GPU_TILE_COLS if device.type == "cuda" else TILE_COLS
    return 2 * tokens * sum(min(tile, cols - begin) * (cols - begin) for begin in range(0, cols, tile))


def largest_error(hessian: Tensor, inputs: Tensor) -> float:
    """Of the first rows, beside float64, relative to sqrt(h_ii h_jj)."""
    some = slice(0, min(64, len(hessian)))
    expected = inputs[:, some].double().T @ inputs.double()
    scale = inputs.double().square().sum(0).sqrt()
    return float(((hessian[some].double() - expected).abs() / (scale[some, None] * scale)).max())


def measure(rows: Rows, tokens: int, cols: int, dtype: torch.dtype) -> None:
    """One row, its baseline run right after it."""
    device = rows.device
    generator = torch.Generator(device).manual_seed(0)
    inputs = torch.randn(tokens, cols, generator=generator, device=device).to(dtype)
    error = largest_error(symmetrise_(accumulate_hessian_(torch.zeros(cols, cols, device=device), inputs)), inputs)
    hessian = torch.zeros(cols, cols, device=device)
    ours = seconds(partial(accumulate_hessian_, hessian, inputs), device)
    theirs = seconds(partial(as_published, hessian, inputs), device)
    name = str(dtype).removeprefix("torch.")
    needed, computed, full = tokens * cols * (cols + 1), computed_flops(tokens, cols, device), 2 * tokens * cols**2
    rate = measured_ceilings(device, small=rows.small)[name]
    facts = {
        "share_of_rate_needed": needed / ours / rate,
        "share_of_rate_computed": computed / ours / rate,
        "share_of_rate_as_if_full": full / ours / rate,
        "largest_relative_error": error,
        "tf32": torch.backends.cuda.matmul.allow_tf32,
    }
    rows.add(
        Row(
            "Hessian",
            f"{tokens} tokens of {cols} columns, {name}",
            ours,
            baseline="float32 copies, full product",
            baseline_s=theirs,
            bytes=tokens * cols * inputs.itemsize + 2 * 4 * cols * (cols + 1) / 2,
            flops=needed,
            rate=name,
            least_of_floor=LEAST if dtype == torch.bfloat16 and tokens == CASES[0][0] else None,
            facts=facts,
        )
    )
    print("  " + ", ".join(f"{key} {value:.3g}" for key, value in facts.items()), flush=True)


def main() -> None:
    given = arguments(__doc__).parse_args()
    rows = Rows(torch.device(given.device), small=given.small, path=given.json)
    for case in SMALL if given.small else CASES:
        with rows.case():
            measure(rows, *case)
    rows.end()


if __name__ == "__main__":
    main()
