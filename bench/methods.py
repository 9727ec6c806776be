"""What methods of pruning cost for one layer, as ratios to SparseGPT's: alone, and with the calibration around them.

python bench/methods.py [--rows 4096 --cols 4096 --tokens 32768 --device cpu]

A random layer with correlated inputs. A run pushes the calibration tokens through the layer twice (to see its inputs,
and with its new weights) and sums up its Hessian; that is "calibration", and the same for all methods.
"""

import argparse
import time
from functools import partial

import torch

from fmcompress import NM, Unstructured, admm, refit, sparsegpt, swap, wanda
from fmcompress.calibration import accumulate_hessian_, symmetrise_


def swept(weight, hessian, pattern):
    return sparsegpt(weight, hessian, pattern, output_energy=1.0)


def refitted(weight, hessian, pattern):
    return refit(weight, swept(weight, hessian, pattern).weight, hessian)


def swapped(weight, hessian, pattern):
    return refit(weight, swap(weight, refitted(weight, hessian, pattern).weight, hessian, pattern).weight, hessian)


METHODS = {
    "SparseGPT (fast)": swept,
    "Wanda": wanda,
    "SparseGPT, refit": refitted,
    "SparseGPT, swap": swapped,
    "ADMM, 24 steps (balanced)": partial(admm, steps=24),
    "ADMM, 48 steps": admm,
}


def seconds(run, device: torch.device) -> tuple[float, object]:
    if device.type == "cuda":
        torch.cuda.synchronize()
    begin = time.perf_counter()
    value = run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin, value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4096)
    parser.add_argument("--cols", type=int, default=4096)
    parser.add_argument("--tokens", type=int, default=32_768)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    args = parser.parse_args()
    device, generator = torch.device(args.device), torch.Generator().manual_seed(0)
    mixing = torch.randn(args.cols, args.cols, generator=generator) / args.cols**0.5
    inputs = torch.randn(4096, args.cols, generator=generator)
    inputs = (inputs + inputs @ mixing).to(device)
    weight = (0.02 * torch.randn(args.rows, args.cols, generator=generator)).to(device)
    hessian = torch.zeros(args.cols, args.cols, device=device)

    def calibrate() -> None:
        for _ in range(args.tokens // 4096):
            inputs @ weight.T
            inputs @ weight.T
            accumulate_hessian_(hessian, inputs)

    calibrate()  # warm
    hessian.zero_()
    calibration, _ = seconds(calibrate, device)
    hessian = symmetrise_(hessian)
    print(f"{args.rows} x {args.cols}, {args.tokens} tokens, {device}: calibration {calibration:.2f} s")
    print("| pattern | method | solve, s | solve / SparseGPT's | with calibration / SparseGPT's | loss / SparseGPT's |")
    print("|---|---|---:|---:|---:|---:|")
    for pattern in (Unstructured(0.5), NM(2, 4)):
        found = {
            name: [seconds(partial(run, weight, hessian, pattern), device) for _ in range(args.runs)]
            for name, run in METHODS.items()
        }
        best = {name: min(some, key=lambda one: one[0]) for name, some in found.items()}
        base, result = best["SparseGPT (fast)"]
        for name, (took, solved) in best.items():
            whole, loss = (took + calibration) / (base + calibration), solved.loss / result.loss
            print(f"| {pattern} | {name} | {took:.2f} | {took / base:.1f} | {whole:.2f} | {loss:.3f} |")


if __name__ == "__main__":
    main()
