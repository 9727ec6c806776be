"""What a run tells of itself: the fingerprint that a resumed one must share, and the facts beside the weights."""

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from . import __version__, _backends
from .checkpoint import Checkpoint
from .config import RunConfig
from .job import Job


def fingerprint_of(job: Job) -> dict[str, Any]:
    """What a resumed run must share with the one it goes on with. TAKEN_OVER is not compared."""
    given = [job.windows, job.images, *([] if job.pairs is None else job.pairs.tensors)]
    inputs = [tensor.numpy().tobytes() for tensor in given if tensor is not None]
    return {
        "fmcompress": __version__,
        "torch": torch.__version__,
        "native": _backends.explain()["native"],
        "model": job.source.digest(),
        "device": job.device.type,
        # of masks the content counts, below, wherever they lie; graphs change no bit
        **{f"option {key}": value for key, value in job.config.model_dump(exclude={"masks", "cuda_graphs"}).items()},
        "calibration": hashlib.sha256(b"".join(inputs)).hexdigest(),
        "masks": "" if job.masks is None else job.masks.digest(),
        "threads": torch.get_num_threads(),
        "ranks": job.ranks.count,
    }


def _told(config: RunConfig) -> dict[str, Any]:
    """The options, without the place of a folder on this machine."""
    options = config.model_dump()
    return {**options, "masks": Path(options["masks"]).name} if options.get("masks") else options


def facts_of(job: Job, records: list[dict[str, Any]], written: Checkpoint) -> dict[str, Any]:
    """What stands in OUT/fmcompress.json, of a run whose layers have these records."""
    weights = sum(record["rows"] * record["cols"] for record in records)
    zeros = sum(record["zeros"] for record in records)
    solved = {record["tensor"] for record in records}
    before = sum(job.source.entry(name).size_bytes for name in solved)
    after = sum(written.entry(name).size_bytes for name in solved)
    return {  # bytes_before and bytes_after count the solved layers, checkpoint_bytes_... all tensors
        "fmcompress": __version__,
        "torch": torch.__version__,
        "native": _backends.explain()["native"],
        "config": _told(job.config),
        "format": job.config.written_as,
        "calibration_sequences": 0 if job.windows is None else len(job.windows),
        "calibration_tokens": 0 if job.windows is None else job.windows.numel(),
        "calibration_images": 0 if job.images is None else len(job.images),
        "calibration_pairs": 0 if job.pairs is None else len(job.pairs),
        "weights": weights,
        "zeros": zeros,
        "sparsity": zeros / max(1, weights),
        "bytes_before": before,
        "bytes_after": after,
        "bits_per_weight": 8 * after / max(1, weights),
        "checkpoint_bytes_before": job.source.total_bytes,
        "checkpoint_bytes_after": written.total_bytes,
        "notes": [*job.notes, *few_tokens_notes(records)],
        "layers": records,
    }


def few_tokens_notes(records: Sequence[Mapping[str, Any]]) -> list[str]:
    """A warning where experts saw fewer tokens than they have columns, while other layers saw more than they have."""
    most = max((record["tokens"] for record in records), default=0)
    few = [record for record in records if record["tokens"] < min(record["cols"], most)]
    if not few or most < max(record["cols"] for record in records):
        return []
    few.sort(key=lambda record: record["tokens"])
    named = ", ".join(f"{record['tensor']} ({record['tokens']})" for record in few[:3])
    return [
        f"{len(few)} of {len(records)} layers were reached by fewer calibration tokens than they have columns, the "
        f"fewest: {named}. Give more text"
    ]
