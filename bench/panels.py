"""What it costs in error that factor_blocks multiplies by a block's inverse, instead of solving with its triangle.

python bench/panels.py [--tokens 8192]

Layers of real checkpoints (CONTRIBUTING.md: FMCOMPRESS_DATA) with the Hessians of their own inputs, in float32, on a
CPU. Three factors: the columns left of a block are solved with its triangle, multiplied by its inverse, or multiplied
and corrected once by their residual. Printed is by how much the damped loss of the solved layer differs from that of a
solve in float64: with the mask of float64, and with each factor's own, where near ties fall the other way.
"""

import argparse
import os
from pathlib import Path

import torch
from minilm import minilm
from tf32 import real_layers
from torch import Tensor

from fmcompress import NM, Unstructured, ops
from fmcompress.layerwise import Pattern
from fmcompress.layerwise.cholesky import BLOCK_COLS, _damped_columns, _subtract_product_
from fmcompress.layerwise.damping import damped_diagonal
from fmcompress.layerwise.sweeper import Sweeper

KINDS = ("solved", "multiplied", "corrected")


def factor(hessian: Tensor, diagonal: Tensor, kind: str) -> tuple[Tensor, Tensor]:
    """R and the inverses of its diagonal blocks, as factor_blocks() gives them with "multiplied"."""
    cols, upper = len(hessian), torch.zeros_like(hessian)
    inverses = hessian.new_zeros(-(-cols // BLOCK_COLS), BLOCK_COLS, BLOCK_COLS)
    for block, begin in reversed(list(enumerate(range(0, cols, BLOCK_COLS)))):
        end = min(cols, begin + BLOCK_COLS)
        strip = _damped_columns(hessian, diagonal, begin, end)
        _subtract_product_(strip, upper[:end, end:], upper[begin:end, end:])
        triangle, inverse, failed = ops.factor_block(strip[begin:])
        assert not failed
        upper[begin:end, begin:end] = triangle
        inverses[block, : end - begin, : end - begin] = inverse
        if kind == "solved":
            upper[:begin, begin:end] = torch.linalg.solve_triangular(
                triangle.mT, strip[:begin], upper=False, left=False
            )
            continue
        panel = strip[:begin] @ inverse.mT
        if kind == "corrected":
            panel += (strip[:begin] - panel @ triangle.mT) @ inverse.mT
        upper[:begin, begin:end] = panel
    return upper, inverses


def solved_loss(
    weight: Tensor, factors: tuple[Tensor, Tensor], pattern: Pattern | None, prune: Tensor | None, damped: Tensor
) -> tuple[float, Tensor]:
    """The damped loss of a layer in float64, and its mask, which is chosen by the pattern or given."""
    sweeper = Sweeper(weight, factors[0], pattern, None, BLOCK_COLS, prune, inverses=factors[1])
    sweeper.run()
    change = sweeper.solved.double() - weight.double()
    return float(((change @ damped) * change).sum()), sweeper.solved == 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=8192)
    args = parser.parse_args()
    data = Path(os.environ.get("FMCOMPRESS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    models = {"wikitext-llama": data / "checkpoints" / "wikitext-llama", "MiniLM": minilm()}
    print("| layer | pattern | damping | condition | panels | loss, same mask | loss, own mask |")
    print("|---" * 7 + "|")
    for name, folder in models.items():
        if folder is None:
            continue
        for layer, weight, hessian in real_layers(folder, data / "wikitext-2" / "train.txt.xz", args.tokens):
            for damping in (1e-2, 1e-4):
                diagonal, *_ = damped_diagonal(hessian.double(), damping)
                damped = hessian.double().clone()
                damped.diagonal().copy_(diagonal)
                values = torch.linalg.eigvalsh(damped)
                single, exact = damped_diagonal(hessian.float(), damping)[0], factor(damped, diagonal, "solved")
                for kept, pattern in {"50 %": Unstructured(0.5), "2:4": NM(2, 4)}.items():
                    true, mask = solved_loss(weight.double(), exact, pattern, None, damped)
                    about = f"{name} {layer} {list(weight.shape)} | {kept} | {damping:g} | {values[-1] / values[0]:.0e}"
                    for kind in KINDS:
                        factors = factor(hessian.float(), single, kind)
                        same, _ = solved_loss(weight, factors, None, mask, damped)
                        own, _ = solved_loss(weight, factors, pattern, None, damped)
                        print(f"| {about} | {kind} | {same / true - 1:+.1e} | {own / true - 1:+.1e} |", flush=True)


if __name__ == "__main__":
    with torch.no_grad():
        main()
