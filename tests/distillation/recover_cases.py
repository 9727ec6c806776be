"""Tiny models, pruned and dense, that the tests of recovery share."""

from pathlib import Path

import torch
from helpers import DEMO, make_checkpoint, run_prune

from fmcompress.calibration import load_tokenizer
from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.writer import CheckpointWriter
from fmcompress.distillation.recover_options import RecoverOptions
from fmcompress.distillation.recover_run import run_recover
from fmcompress.formats import open_checkpoint
from fmcompress.training.loop import Unwatched
from fmcompress.training.start import new_tokenizer

PRUNED = "proj"  # in the names of what is pruned


def checkpoint(folder: Path, *, seed: int = 0, own_tokenizer: bool = False, **options) -> Path:
    """A Llama of random weights large enough to say something, by a seed of its own."""
    make_checkpoint(folder, **options)
    writer, generator = CheckpointWriter(folder), torch.Generator().manual_seed(seed)
    for name, entry in Checkpoint(folder).tensors.items():
        if len(entry.shape) == 2:
            drawn = torch.randn(entry.shape, generator=generator) * entry.shape[1] ** -0.5
            writer.write(name, drawn.to(entry.dtype))
    writer.flush()
    if own_tokenizer:
        new_tokenizer([(DEMO / "README.md").read_text()], 500).save_pretrained(folder)
    return folder


def tokenizer_of(folder: Path):
    return load_tokenizer(folder)


def pruned(model: Path, out: Path, text: Path | None = None, **options) -> Path:
    run_prune(model, out, text, **{"method": "magnitude", "pattern": "2:4", **options})
    return out


def recovered(folder: Path, out: Path, teacher: Path | None, text: Path, *, observer=None, resume=False, **options):
    """run_recover with options that take a second."""
    given = {"steps": 4, "batch_size": 2, "sequence_length": 32, "max_windows": 12, "learning_rate": 3e-3, **options}
    if "logits" in options:
        del given["sequence_length"], given["max_windows"]
        text = None
    named = {"teacher": None if teacher is None else str(teacher), "text": None if text is None else str(text)}
    chosen = RecoverOptions(**named, **given)
    return run_recover(folder, out, chosen, observer or Unwatched(), resume=resume)


def masks(folder: Path) -> dict[str, torch.Tensor]:
    """Where the pruned weights of a checkpoint are 0, by name."""
    found = open_checkpoint(folder)
    return {name: found.read(name) == 0 for name in found.tensors if PRUNED in name}


def assert_masks_intact(before: Path, after: Path) -> None:
    """Every weight that was 0 is 0, and the others are others."""
    old, new = open_checkpoint(before), open_checkpoint(after)
    assert old.tensors.keys() == new.tensors.keys()
    for name, zero in masks(before).items():
        assert bool(zero.any())
        assert not bool(new.read(name)[zero].any()), name
        assert not torch.equal(old.read(name), new.read(name)), name
