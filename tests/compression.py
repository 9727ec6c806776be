"""What the tests of formats and quantization share: runs of any method, bare checkpoints, bits instead of values."""

from pathlib import Path
from typing import Any

import torch
from helpers import CPU, Silent, make_checkpoint, make_text
from safetensors.torch import save_file
from torch import Tensor

from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import SINGLE
from fmcompress.config import PruneConfig, QuantizeConfig
from fmcompress.job import Job
from fmcompress.pipeline import compress_checkpoint, prepare

BLOCKS = 3
FORMS: dict[str, dict[str, Any]] = {  # a run for every form of output
    "packed": {"format": "packed", "sparsity": 0.5, "bits": 4, "group_size": 32},
    "compressed-tensors": {"format": "compressed-tensors", "bits": 4, "group_size": 32, "symmetric": False},
    "dense": {"format": "dense", "bits": 3, "group_size": "row", "true_sequential": True},
}


def make_home(home: Path) -> Path:
    """A folder with a model of three blocks and a text for the runs of FORMS."""
    make_checkpoint(home / "model", blocks=BLOCKS, hidden=64, shards=2, dtype=torch.bfloat16)
    (home / "model" / "README.md").write_text("# A model\n")
    make_text(home / "text.txt", 6_000)
    return home


def job_of(home: Path, form: str) -> Job:
    """A run of FORMS, ready to start."""
    kind = PruneConfig if "sparsity" in FORMS[form] else QuantizeConfig
    return prepare(home / "model", kind(**FORMS[form], sequence_length=64, samples=8), home / "text.txt", CPU)


def run(
    model: Path, out: Path, text: Path | None = None, *, resume: bool = False, force: bool = False, **options: Any
) -> dict[str, Any]:
    """prepare() and compress_checkpoint(): to prune where a sparsity or a pattern is given, else to quantize."""
    kind = PruneConfig if options.keys() & {"sparsity", "pattern"} else QuantizeConfig
    if text is not None:
        options = {"sequence_length": 64, "samples": 8, **options}
    job = prepare(model, kind(**options), text, CPU)
    return compress_checkpoint(job, out, Silent(), resume=resume, force=force)


def bare_checkpoint(folder: Path, tensors: dict[str, Tensor]) -> Path:
    """One safetensors file, and nothing that says what the tensors are for."""
    folder.mkdir()
    save_file(tensors, folder / SINGLE, metadata={"format": "pt"})
    return folder


def random_weight(rows: int, cols: int, dtype: torch.dtype = torch.float32, seed: int = 0) -> Tensor:
    return (0.05 * torch.randn(rows, cols, generator=torch.Generator().manual_seed(seed))).to(dtype)


def bits_of(tensor: Tensor) -> Tensor:
    """The bytes of a tensor: unlike its values, they tell 0.0 from -0.0."""
    return tensor.contiguous().view(-1).view(torch.uint8)


def all_bits(checkpoint: Checkpoint) -> dict[str, tuple[torch.dtype, tuple[int, ...], bytes]]:
    """Every tensor of a checkpoint, as it reads."""
    read = {name: checkpoint.read(name) for name in checkpoint.tensors}
    return {name: (t.dtype, tuple(t.shape), bits_of(t).numpy().tobytes()) for name, t in read.items()}
