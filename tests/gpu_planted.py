"""A Triton kernel with one fault of a kind that compute-sanitizer looks for: does it see into those kernels, too?

python tests/gpu_planted.py memcheck|initcheck
"""

import os
import sys

import torch
import triton
import triton.language as tl

THREADS = 64


@triton.jit
def planted_kernel(from_ptr, to_ptr, BEYOND: tl.constexpr, THREADS: tl.constexpr):
    place = tl.arange(0, THREADS)
    tl.store(to_ptr + BEYOND + place, tl.load(from_ptr + place))


def main() -> None:
    """Write beyond a tensor, or read what nobody has written."""
    tool = sys.argv[1]
    given = torch.empty(THREADS, dtype=torch.int32, device="cuda")
    if tool != "initcheck":
        given.zero_()
    beyond = THREADS if tool == "memcheck" else 0
    planted_kernel[(1,)](given, torch.zeros_like(given), BEYOND=beyond, THREADS=THREADS)
    try:
        torch.cuda.synchronize()
    except RuntimeError as error:  # where a fault ends the context, freeing tensors would end the program, too
        print(error, flush=True)
        os._exit(0)


if __name__ == "__main__":
    main()
