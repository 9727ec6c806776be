"""What every test shares: the back-ends in the header, the check that they are there, small inputs, where data lies."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

# the truth's matrices are small: on a busy machine OpenBLAS's threads wait for each other a second per Cholesky
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import pytest
import torch
from pretend_cuda import pretend_cuda
from torch import Tensor

import fmcompress
from fmcompress import _ops

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = [name.strip() for name in os.environ.get("FMCOMPRESS_EXPECT_BACKENDS", "").split(",") if name.strip()]


def _present() -> set[str]:
    """Back-ends that implement every op here, with "triton-interpret" and "cuda" for where they run."""
    names = set.intersection(*(set(fmcompress.available(op)) for op in set(_ops.CHECKS) - _ops.HOST_ONLY))
    if "triton" in names and os.environ.get("TRITON_INTERPRET") == "1":
        names.add("triton-interpret")
    if fmcompress.explain()["cuda"] == "built in":
        names.add("cuda")
    return names


def pytest_report_header() -> list[str]:
    reasons = [f"  {name}: {reason}" for name, reason in fmcompress.explain().items()]
    return [f"fmcompress back-ends: {', '.join(sorted(_present()))}", *reasons]


def pytest_sessionstart() -> None:
    """A library that silently failed to build must fail the run, not skip its tests."""
    missing = sorted(set(EXPECTED) - _present())
    if missing:
        reason = f"FMCOMPRESS_EXPECT_BACKENDS: {', '.join(missing)} missing. {fmcompress.explain()}"
        pytest.exit(reason, returncode=1)


@pytest.fixture(scope="session", autouse=bool(os.environ.get("FMCOMPRESS_PRETEND_CUDA")))
def on_pretended_gpu() -> Iterator[None]:
    """FMCOMPRESS_PRETEND_CUDA=1: every test on tensors that say they lie on a GPU (pretend_cuda.py), to look for those
    that Python code forgets on the CPU. Tests that compare devices themselves fail then."""
    with pretend_cuda():
        yield


@pytest.fixture(scope="session")
def make_weight() -> Callable[..., Tensor]:
    """Function (rows, cols, dtype, seed) -> a weight of the size that trained layers have."""

    def make(rows: int, cols: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
        generator = torch.Generator().manual_seed(seed)
        return (0.05 * torch.randn(rows, cols, generator=generator, dtype=torch.float64)).to(dtype)

    return make


@pytest.fixture(scope="session")
def make_hessian() -> Callable[..., Tensor]:
    """Function (cols, dtype, seed, dead) -> sum of x x^T over correlated inputs; those in `dead` never fire."""

    def make(cols: int, dtype: torch.dtype = torch.float64, seed: int = 0, dead: tuple[int, ...] = ()) -> Tensor:
        generator = torch.Generator().manual_seed(1000 + seed)
        mixing = torch.randn(cols, cols, generator=generator, dtype=torch.float64) / max(1, cols) ** 0.5
        scale = 0.3 + torch.rand(cols, generator=generator, dtype=torch.float64)
        inputs = torch.randn(2 * cols + 16, cols, generator=generator, dtype=torch.float64)
        inputs = (inputs + inputs @ mixing) * scale
        inputs[:, list(dead)] = 0.0
        return (inputs.T @ inputs).to(dtype)

    return make


@pytest.fixture(scope="session")
def make_factor(make_hessian: Callable[..., Tensor]) -> Callable[..., Tensor]:
    """Function (cols, dtype, seed) -> upper triangular U with inverse Hessian = U^T U."""

    def make(cols: int, dtype: torch.dtype = torch.float64, seed: int = 0) -> Tensor:
        inverse = torch.linalg.inv(make_hessian(cols, seed=seed) / (2 * cols + 16))
        return torch.linalg.cholesky(inverse).mT.contiguous().to(dtype)

    return make


@pytest.fixture(scope="session")
def demo_model() -> Path:
    """The small trained model that comes with the repository."""
    return ROOT / "examples" / "demo" / "model"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real models and texts, which is no part of the repository."""
    folder = Path(os.environ.get("FMCOMPRESS_DATA") or ROOT.parent / "shared" / "data")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} is not there. Set FMCOMPRESS_DATA to the folder that holds it.")
    return folder
