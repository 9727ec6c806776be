"""The one pass over a checkpoint: for each block calibrate, solve, write, note in the journal, and run on."""

import time
from pathlib import Path
from typing import Any

import torch

from . import __version__, _backends
from .block_solver import Job, Observer, solve_block
from .calibration import (
    Batch,
    StreamedModel,
    cut_windows,
    load_tokenizer,
    sample_windows,
    token_stream,
)
from .checkpoint import Checkpoint, CheckpointWriter, verify_checkpoint
from .config import PruneConfig, pick_dtype
from .errors import CalibrationError, CheckpointError, DiskError, FmcompressError
from .journal import Journal
from .layerwise import all_finite
from .memory import peak_memory_bytes
from .plan import choose_layers, make_plan
from .workspace import Workspace

BATCH_TOKENS = 4096  # sequences run together up to this many tokens


def prepare(model: Path, config: PruneConfig, calibration: Path | None, device: torch.device) -> Job:
    """Read and check all inputs of a run.

    Raises CheckpointError, ConfigError or CalibrationError if one of them will not do.
    """
    source = Checkpoint(model)
    stored = next((e.dtype for e in source.tensors.values() if e.dtype.is_floating_point), torch.float32)
    streamed = StreamedModel(source, device, pick_dtype(config.dtype, device, stored))
    layers = choose_layers(streamed, config)
    for module in (module for some in layers for module in some.values()):
        name = streamed.tensor_name(module)
        if source.tensors[name].dtype not in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
            raise CheckpointError(
                f"{name}: {source.tensors[name].dtype} weights cannot be pruned. Give a checkpoint in bfloat16."
            )
    longest = (
        getattr(streamed.model.config.get_text_config(), "max_position_embeddings", None) or config.sequence_length
    )
    length = min(config.sequence_length, longest)
    samples = config.samples_on(device, length)
    windows = None
    if config.method == "sparsegpt":
        if calibration is None:
            raise CalibrationError(
                "--calibration: SparseGPT needs text (.txt, .jsonl, also .gz or .xz), or use --method magnitude."
            )
        stream = token_stream(load_tokenizer(model), calibration)
        windows = sample_windows(cut_windows(stream, length, str(calibration)), samples, config.seed)
        samples = len(windows)
    return Job(streamed, config, layers, windows, make_plan(streamed, layers, config, samples, length))


def prune_checkpoint(
    job: Job, out: Path, observer: Observer, *, resume: bool = False, force: bool = False
) -> dict[str, Any]:
    """Run a job and publish OUT. Returns the facts of the run, as they stand in OUT/fmcompress.json.

    A run that ends early leaves OUT.partial, from which the same run with resume=True goes on to the same bytes.
    """
    begin = time.perf_counter()
    workspace = Workspace(job.streamed.checkpoint, out, resume=resume, force=force)
    fingerprint = _fingerprint(job)
    if workspace.finished_before():
        workspace.confirm_finished(fingerprint)
        observer.note(f"{out} is finished already.")
        return {"out": str(out), "finished_before": True}
    _check_finite(job.streamed.checkpoint)
    journal = workspace.open(fingerprint)
    # sums are split over threads: another number of them could change the last bit
    torch.set_num_threads(journal.fingerprint["threads"] if journal.fingerprint else torch.get_num_threads())
    if job.windows is not None and job.config.samples and len(job.windows) < job.config.samples:
        observer.note(f"calibration holds {len(job.windows)} sequences, fewer than the {job.config.samples} asked for")
    try:
        _walk(job, workspace, journal, observer)
    except DiskError:
        raise  # finished blocks stay: --resume goes on when there is room
    except FmcompressError:
        workspace.discard()  # the same input would fail again: leave nothing half-written
        raise
    records = [record for block in journal.records for record in block["layers"]]
    verify_checkpoint(job.streamed.checkpoint, workspace.output, records)
    facts = {**_facts(job, records), "fingerprint": {k: v for k, v in fingerprint.items() if k != "threads"}}
    workspace.publish(facts)
    # what differs from one run to the next stays out of the file, so that equal runs write equal bytes
    measured = {"seconds": time.perf_counter() - begin, "peak_memory_bytes": peak_memory_bytes()}
    return {**facts, "out": str(out), **measured}


def _check_finite(source: Checkpoint) -> None:
    """Before hours are spent: no tensor may hold inf or NaN. Costs one reading of the checkpoint."""
    for name, entry in source.tensors.items():
        if entry.dtype.is_floating_point and entry.dtype.itemsize > 1 and not all_finite(source.read(name)):
            raise CheckpointError(f"{name}: holds inf or NaN. The checkpoint is damaged: fetch it again.")


def _fingerprint(job: Job) -> dict[str, Any]:
    """What a resumed run must share with the one it goes on with. `threads` is taken over, not compared."""
    import hashlib

    tokens = b"" if job.windows is None else job.windows.numpy().tobytes()
    return {
        "fmcompress": __version__,
        "model": job.streamed.checkpoint.digest(),
        "calibration": hashlib.sha256(tokens).hexdigest(),
        "device": job.streamed.device.type,
        **{f"option {key}": value for key, value in job.config.model_dump().items()},
        "threads": torch.get_num_threads(),
    }


def _facts(job: Job, records: list[dict[str, Any]]) -> dict[str, Any]:
    weights = sum(record["rows"] * record["cols"] for record in records)
    zeros = sum(record["zeros"] for record in records)
    return {
        "fmcompress": __version__,
        "torch": torch.__version__,
        "native": _backends.explain()["native"],
        "config": job.config.model_dump(),
        "calibration_sequences": 0 if job.windows is None else len(job.windows),
        "calibration_tokens": 0 if job.windows is None else job.windows.numel(),
        "weights": weights,
        "zeros": zeros,
        "sparsity": zeros / max(1, weights),
        "layers": records,
    }


def _walk(job: Job, workspace: Workspace, journal: Journal, observer: Observer) -> None:
    """All blocks, the finished ones forward only."""
    streamed, written = job.streamed, Checkpoint(workspace.output)
    writer = CheckpointWriter(workspace.output)
    done, count = len(journal.records), len(streamed.blocks)
    observer.start(count, done)
    batches = _embed(job) if done < count else []
    for index in range(count):
        if index < done and not batches:
            continue
        with torch.no_grad(), streamed.loaded(index, written if index < done else None) as block:
            if index >= done:
                results = solve_block(job, index, block, batches, observer)
                for record, result in results:
                    writer.write(record["tensor"], result.weight)
                writer.flush()
                journal.append({"block": index, "layers": [record for record, _ in results]})
                del results  # the next block needs the room
                observer.block(index)
            if index + 1 < count:
                for batch in batches:
                    batch.hidden = streamed.run_block(index, block, batch).to(batch.hidden.device)


def _embed(job: Job) -> list[Batch]:
    if job.windows is None:
        return []
    sequences = max(1, BATCH_TOKENS // job.windows.shape[1])
    with job.streamed.outside_kept():
        batches = [job.streamed.embed(part) for part in job.windows.split(sequences)]
    for batch in batches[1:]:  # without padding, batches of one shape are called alike: keep masks and tables once
        if batch.hidden.shape == batches[0].hidden.shape:
            batch.calls = batches[0].calls
    return batches
