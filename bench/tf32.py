"""How exact the solve is with its wide products in TF32 or as three TF32 products, on a CPU that emulates the cores.

python bench/tf32.py [--tokens 16384]

Layers of real checkpoints (CONTRIBUTING.md: FMCOMPRESS_DATA) with the Hessians of their own inputs. They are narrow, so
all products but those inside 128 columns count as wide here, where a GPU takes those inside 512 in float32. Emulated
is that tensor cores do not look at the last 13 bits of their factors; they add in float32 here, which rounds a little
better than they do. Errors are to float64.
"""

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from minilm import minilm
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from fmcompress import NM, Unstructured
from fmcompress.block_solver import calibrate
from fmcompress.config import PruneConfig
from fmcompress.layerwise import cholesky, products, sweeper
from fmcompress.layerwise.core import Recipe, factor_on_device, solve_core
from fmcompress.pipeline import enter, prepare, run_on

aten = torch.ops.aten
MULTIPLIED = {
    aten.mm.default: (0, 1),
    aten.bmm.default: (0, 1),
    aten.addmm_.default: (1, 2),
    aten.baddbmm_.default: (1, 2),
}
KINDS = ("fp32", "tf32", "tf32x3")


def truncated(matrix: Tensor) -> Tensor:
    """The numbers that tensor cores see of a float32 matrix."""
    return (matrix.contiguous().view(torch.int32) & (-1 << products.LOST_BITS)).view(torch.float32)


class _TensorCores(TorchDispatchMode):
    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        places = MULTIPLIED.get(func, ())
        args = tuple(truncated(part) if place in places else part for place, part in enumerate(args))
        return func(*args, **(kwargs or {}))


@contextlib.contextmanager
def emulated_tensor_cores(*, single: bool = False) -> Iterator[None]:
    """On a CPU tf32x3 then does what it does on a GPU, but for the order of sums and how the cores round them.

    single  one product of the nearest TF32 numbers instead of three, as where allow_tf32 is set
    """
    names = ("_tensor_cores", "is_split", "_pairs")
    kept = {name: getattr(products, name) for name in names}
    products._tensor_cores = lambda like: _TensorCores()
    products.is_split = sweeper.is_split = lambda kind, like: kind == "tf32x3" and like.dtype == torch.float32
    if single:
        products._pairs = lambda left, right: [(left.high, right.high)]
    try:
        yield
    finally:
        for name, value in kept.items():
            setattr(products, name, value)
        sweeper.is_split = products.is_split


def tensor_product(left: Tensor, right: Tensor, kind: str) -> Tensor:
    """left @ right of float32 matrices as `kind` says."""
    if kind == "fp32":
        return left @ right
    with emulated_tensor_cores(single=kind == "tf32"):
        return products.product(products.split(left), products.split(right))


def real_layers(model: Path, text: Path, tokens: int) -> Iterator[tuple[str, Tensor, Tensor]]:
    """Name, weight and Hessian of the layers of a checkpoint's middle block."""
    config = PruneConfig(sparsity=0.5, sequence_length=256, samples=tokens // 256)
    job = prepare(model, config, text, torch.device("cpu"))
    streamed, middle = job.streamed, len(job.layers) // 2
    assert streamed is not None
    with torch.no_grad():
        batches = enter(job, streamed, 0, [])
        for index in range(middle + 1):
            with streamed.loaded(index) as block:
                if index == middle:
                    for group in calibrate(job, index, block, batches, job.layers[index]):
                        for layer in group.layers:
                            weight = job.layers[index][layer].read(job.source)
                            yield layer, weight.float(), group.hessian
                run_on(streamed, index, block, batches)


def errors(weight: Tensor, hessian: Tensor) -> dict[str, dict[str, float]]:
    """Kind -> relative errors of the widest product, and of the losses of solved layers, all to float64."""
    found: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    double = weight.double(), hessian.double()
    for name, pattern in {"50 %": Unstructured(0.5), "2:4": NM(2, 4)}.items():
        exact = solve_core(*double, Recipe(pattern, None, 0.01))
        upper = factor_on_device(double[1], Recipe(pattern, None, 0.01)).upper
        delta = (double[0] - exact.weight).float()
        half = upper.shape[0] // 2
        left, right = delta[:, :half], upper[:half, half:].float().contiguous()
        wanted = left.double() @ right.double()
        losses = {}
        for kind in ("fp64", *KINDS):
            with emulated_tensor_cores(single=kind == "tf32"):
                recipe = Recipe(pattern, None, 0.01, products="fp32" if kind in ("fp64", "fp32") else "tf32x3")
                solved = solve_core(*(double if kind == "fp64" else (weight, hessian.float())), recipe)
            change = solved.weight.double() - double[0]
            losses[kind] = float(((change @ double[1]) * change).sum())
        for kind in KINDS:
            off = tensor_product(left, right, kind).double() - wanted
            found[kind][f"product, {name}"] = float(off.norm() / wanted.norm())
            found[kind][f"loss, {name}"] = losses[kind] / losses["fp64"] - 1
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--tokens", type=int, default=16_384)
    args = parser.parse_args()
    data = Path(os.environ.get("FMCOMPRESS_DATA", Path(__file__).resolve().parents[2] / "shared" / "data"))
    sweeper.SUPERBLOCK_COLS = cholesky.SUPER_COLS = 128
    text = data / "wikitext-2" / "train.txt.xz"
    models = {"wikitext-llama": data / "checkpoints" / "wikitext-llama", "MiniLM": minilm()}
    print("| layer | products | error of one, 50 % | loss, 50 % | error of one, 2:4 | loss, 2:4 |")
    print("|---" * 6 + "|")
    for name, folder in models.items():
        if folder is None:
            continue
        for layer, weight, hessian in real_layers(folder, text, args.tokens):
            found = errors(weight, hessian)
            for kind in KINDS:
                cells = " | ".join(f"{value:.1e}" for value in found[kind].values())
                print(f"| {name} {layer} {list(weight.shape)} | {kind} | {cells} |", flush=True)


if __name__ == "__main__":
    main()
