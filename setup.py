"""Builds fmcompress._C, the native kernels; everything else about the package is in pyproject.toml."""

import os
import sys
from pathlib import Path

from setuptools import setup

ADVICE = "install it first, then run: pip install --no-build-isolation -e ."
CHOICES = ("auto", "cpu", "cuda", "none")

choice = os.environ.get("FMCOMPRESS_BUILD", "auto")
if choice not in CHOICES:
    sys.exit(f"FMCOMPRESS_BUILD: expected one of {', '.join(CHOICES)}, got {choice!r}.")


def cuda_wanted(torch_cuda: str | None, cuda_home: str | None) -> bool:
    """CUDA is built iff torch has it and a toolkit is found: a GPU in this machine is not needed to build."""
    if choice == "cuda" and not (torch_cuda and cuda_home):
        missing = "this torch is a CPU build" if not torch_cuda else "no CUDA toolkit was found (set CUDA_HOME)"
        sys.exit(f"FMCOMPRESS_BUILD=cuda: {missing}. Install what is missing or set FMCOMPRESS_BUILD=cpu.")
    return choice != "cpu" and bool(torch_cuda and cuda_home)


def native() -> dict:
    """The arguments of setup() that build the extension."""
    try:
        import torch
        from torch.utils import cpp_extension
    except ImportError:
        sys.exit(f"fmcompress builds against the torch you already have: {ADVICE}")
    try:
        import pybind11
    except ImportError:
        sys.exit(f"fmcompress builds with pybind11: {ADVICE}")

    cuda = cuda_wanted(torch.version.cuda, cpp_extension.CUDA_HOME)
    print(
        f"fmcompress: building for the CPU{' and CUDA' if cuda else ''} with torch {torch.__version__}", file=sys.stderr
    )
    os.environ.setdefault("TORCH_CUDA_ARCH_LIST", "8.0;9.0+PTX")
    flags = ["-O3", "-std=c++20", "-DTORCH_TARGET_VERSION=0x020b000000000000"]  # LibTorch stable ABI of torch 2.11
    sources = [Path("csrc/module.cpp"), *sorted(Path("csrc/cpu").glob("*.cpp"))]
    sources += sorted(Path("csrc/cuda").glob("*.cu")) if cuda else []
    extension = (cpp_extension.CUDAExtension if cuda else cpp_extension.CppExtension)(
        "fmcompress._C",
        [str(path) for path in sources],
        include_dirs=[pybind11.get_include(), os.path.abspath("csrc")],
        extra_compile_args={"cxx": [*flags, "-Wall", "-Wno-psabi", "-fno-strict-aliasing"], "nvcc": flags},
        define_macros=[("FMCOMPRESS_CUDA", "1")] if cuda else [],
    )
    return {"ext_modules": [extension], "cmdclass": {"build_ext": cpp_extension.BuildExtension}}


setup(**({} if choice == "none" else native()))
