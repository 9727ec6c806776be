"""Every op of a GPU back-end over a few small odd shapes, against the reference: what compute-sanitizer runs. With
Triton's also the kernels of the fused step of decoding, which are no ops.

    python tests/gpu_small.py native|triton [--device cuda] [--kernels]

--kernels counts which kernels were launched, and fails where one was not: an unseen kernel is an unproven one.
"""

import argparse
import re
import sys
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import admm_step_cases
import cocktail_cases
import kernel_cases
import one_token_cases
import packed_cases
import packing_cases
import test_on_gpu
import torch
import triton_cases
import weighted_sum_cases

from fmcompress import _ops
from fmcompress.runtime.one_token import kernels_for

CUDA = Path(__file__).parents[1] / "csrc/cuda"
# of the cases, the few that take every route through a kernel, with shapes that are a multiple of nothing
FEWER: list[tuple[list, list]] = [
    (kernel_cases.SEGMENTS, [(9, 7), (2, 129), (1, 140_001)]),
    (kernel_cases.GROUPS, [(5, 123, 1, 3), (2, 300, 70, 150)]),
    (kernel_cases.MASKED, [(5, 123), (33, 18)]),
    (kernel_cases.CHOSEN, [(37, 64, 4, 8), (5, 123, 1, 3), (3, 123, 20, 41)]),
    (kernel_cases.SEARCHES, [(3, False, 1), (4, True, 5)]),
    (kernel_cases.MATRICES, [(3, 7), (9, 128), (2, 1030), (1, 5003)]),
    (packing_cases.PACKED, [(1, 1), (9, 31), (3, 1029)]),
    (admm_step_cases.CASES, [(37, 64, 0, 2, 4, False), (4, 129, 128, 0, 0, True), (33, 65, 1072, 0, 0, False)]),
    (weighted_sum_cases.SHAPES, [(3, 7), (2, 1029)]),
    (cocktail_cases.CASES, cocktail_cases.CASES[3::7]),
]
STRIDES: list[
    tuple[Any, str, int]
] = [  # of what is generated, every so many; of no common factor with the cycles in it
    (packed_cases, "every_case", 3),
    (packed_cases, "contradictions", 7),
    (packing_cases, "sparse_cases", 2),
    (weighted_sum_cases, "every_case", 6),
]


def make_fewer() -> None:
    """The checks take their cases from these lists and generators."""
    for cases, few in FEWER:
        cases[:] = few
    for module, name, stride in STRIDES:
        every = getattr(module, name)
        setattr(module, name, lambda *given, every=every, stride=stride: islice(every(*given), 0, None, stride))


def native_kernels() -> set[str]:
    """The names of all CUDA kernels."""
    declared = re.compile(r"__global__\s+void\s+(?:__launch_bounds__\([^)]*(?:\([^)]*\)[^)]*)*\)\s*)?(\w+)\(")
    sources = [re.sub("//.*", "", path.read_text()) for path in CUDA.glob("*.cu*")]
    names = [name for source in sources for name in declared.findall(source)]
    assert len(names) == sum(source.count("__global__") for source in sources), "a kernel whose name is not found"
    return set(names)


def triton_kernels() -> set[str]:
    """The names of all Triton kernels."""
    from fmcompress_triton import one_token

    return {
        name for module in [*triton_cases.modules(), one_token] for name in vars(module) if name.endswith("_kernel")
    }


def run(backend: str, device: torch.device) -> None:
    """All checks; the first wrong number ends them."""
    for name, check in test_on_gpu.CHECKS.items():
        if name == "packed_linear contradictions" and device.type == "cpu":
            continue  # refused there: a GPU's host cannot know of them
        start = time.perf_counter()
        check(op_on(name.split()[0], backend, device))
        print(f"{name}: {time.perf_counter() - start:.1f} s", flush=True)
    if backend == "triton":
        one_token_cases.check_kernels(kernels_for(device), device.type, (torch.bfloat16,))
        print("the fused step of decoding", flush=True)


def op_on(name: str, backend: str, device: torch.device) -> Callable:
    """On a CPU it is what the dispatcher chooses: a rehearsal of this program."""
    if device.type == "cpu":
        return getattr(torch.ops.fmcompress, name)
    return test_on_gpu.on_gpu(test_on_gpu.implementation(name, backend))


def launched(backend: str, device: torch.device) -> set[str]:
    """The names of all kernels that the checks launch."""
    from torch.profiler import ProfilerActivity, profile

    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        run(backend, device)
    return {word for event in profiler.events() for word in re.findall(r"\w+", event.name)}


def main() -> None:
    """Run them, and say which kernels ran."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("backend", choices=["native", "triton"])
    parser.add_argument("--device", default="cuda", type=torch.device)
    parser.add_argument("--kernels", action="store_true", help="which kernels were launched; needs a GPU")
    options = parser.parse_args()
    make_fewer()
    checked = {name.split()[0] for name in test_on_gpu.CHECKS}
    assert checked == set(_ops.CHECKS) - _ops.HOST_ONLY
    if not options.kernels:
        run(options.backend, options.device)
        print(f"{options.backend}: {len(checked)} ops as the reference")
        return
    every = native_kernels() if options.backend == "native" else triton_kernels()
    missing = every - launched(options.backend, options.device)
    if missing:
        sys.exit(f"{len(missing)} of {len(every)} kernels were never launched: {', '.join(sorted(missing))}")
    print(f"all {len(every)} kernels were launched")


if __name__ == "__main__":
    main()
