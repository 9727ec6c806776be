"""The one pass over a checkpoint: for each block calibrate, solve, write, note in the journal, and run on."""

import contextlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from .block_solver import solve_block, solve_without_data
from .calibration import Batch, StreamedModel
from .calibration_inputs import Files, read_inputs
from .checkpoint import Checkpoint
from .config import RunConfig
from .devices import pick_dtype
from .errors import CheckpointError, CommunicationError, ConfigError, DiskError, FmcompressError
from .exchange import PartlySolved, Reader, SharedReader, Solved
from .facts import facts_of, few_tokens_notes, fingerprint_of
from .formats import open_checkpoint
from .hidden_states import enter, enter_dense, run_on
from .job import Job, Observer
from .journal import TAKEN_OVER
from .layer_solver import graphs_of
from .layers import choose_layers, choose_tensors, holds_linear, last_to_run, solved_before
from .measured import Recorder
from .memory import peak_memory_bytes
from .outputs import Keeper, check_complete, output_of
from .plan import make_plan
from .preflight import (
    allocation_notes,
    check_finite,
    check_layers,
    format_notes,
    read_masks,
    shared_notes,
    tokens_notes,
    unknown_notes,
    zeros_notes,
)
from .ranks import Ranks
from .workspace import Workspace


def prepare(
    model: Path,
    config: RunConfig,
    calibration: Path | None,
    device: torch.device,
    ranks: Ranks | None = None,
    images: Path | None = None,
) -> Job:
    """Read and check all inputs of a run, on each of its ranks.

    calibration  a text, a folder of images, or a manifest of images or videos with a text each (see read_pairs())
    images       a folder of images beside a text, for a model that looks at both

    Raises CheckpointError, ConfigError or CalibrationError if one of them will not do.
    """
    ranks = ranks or Ranks()
    if not config.needs_data and (calibration or images):
        raise ConfigError("calibration: this method looks at no data. Leave it out, or choose another --method.")
    files = Files.of(calibration, images) if config.needs_data else Files()
    source = open_checkpoint(model)
    if type(source) is not Checkpoint:
        raise ConfigError(f"{model}: its weights are packed or quantized already. Restore them with fmcompress unpack.")
    if not config.needs_data:
        return _prepare_without_data(source, config, device, ranks)
    stored = next((e.dtype for e in source.tensors.values() if e.dtype.is_floating_point), torch.float32)
    dtype = pick_dtype(config.dtype, device, stored)
    streamed = StreamedModel(source, device, dtype, pairs=files.pairs is not None)
    layers = choose_layers(streamed, config)
    check_layers(source, layers, config, known=True)
    inputs = read_inputs(model, streamed, layers, config, files, device)
    plan = make_plan(source, streamed, layers, config, inputs.by_kind(), ranks.count)
    notes = [*config.without_effect(device), *format_notes(config), *inputs.notes]
    notes += allocation_notes(layers, config, plan)
    notes += [*tokens_notes(layers, plan.tokens), *zeros_notes(source, layers, config), *unknown_notes(streamed)]
    notes += shared_notes(streamed, layers)
    masks = read_masks(config, layers)
    return Job(
        source, config, layers, device, plan, streamed, inputs.windows, notes, ranks, inputs.images, inputs.pairs, masks
    )


def _prepare_without_data(source: Checkpoint, config: RunConfig, device: torch.device, ranks: Ranks) -> Job:
    """For methods that need no model: its definition only helps to tell linear layers from tables."""
    streamed, notes = None, [*config.without_effect(), *format_notes(config)]
    with contextlib.suppress(CheckpointError, ImportError):
        streamed = StreamedModel(source, torch.device("cpu"), torch.float32)
    known = streamed is not None and holds_linear(streamed)
    if known and config.include is None:
        assert streamed is not None
        layers = choose_layers(streamed, config)
    else:  # what --include names is taken from all matrices, whatever they are to the model
        layers = choose_tensors(source, config, streamed)
        if not known:
            notes.append("layers were chosen by their names, since their roles in the model are not known here")
    check_layers(source, layers, config, known=streamed is not None)
    plan = make_plan(source, streamed, layers, config, {})
    notes += allocation_notes(layers, config, plan)
    return Job(source, config, layers, device, plan, streamed, None, notes, ranks)


def compress_checkpoint(
    job: Job, out: Path, observer: Observer, *, resume: bool = False, force: bool = False
) -> dict[str, Any]:
    """Run a job and publish OUT. Returns the facts of the run, as they stand in OUT/fmcompress.json.

    A run that ends early leaves OUT.partial, from which the same run with resume=True goes on to the same bytes.
    Of several ranks all must call it; the facts are the writer's, {} on the others.
    """
    begin = time.perf_counter()
    ranks, fingerprint = job.ranks, fingerprint_of(job)
    ranks.require_equal({key: value for key, value in fingerprint.items() if key not in TAKEN_OVER})
    if not ranks.is_writer:
        _follow(job, observer)
        return {}
    workspace = Workspace(job.source, out, resume=resume, force=force)
    if workspace.finished_before():
        workspace.confirm_finished(fingerprint)
        ranks.share(None)
        observer.note(f"{out} is finished already.")
        return {"out": str(out), "finished_before": True, "notes": job.notes}
    with job.phases.of("check"):
        check_finite(job.source)
    output = output_of(job, workspace)
    with job.phases.entering("begin", workspace.open(fingerprint, output)) as journal:
        assert journal.fingerprint is not None
        output.confirm(record for block in journal.records for record in block["layers"])
        if journal.fingerprint.get("ranks", 1) == ranks.count:
            # sums are split over threads: another number of them could change the last bit
            torch.set_num_threads(journal.fingerprint["threads"])
        for text in job.notes:
            observer.note(text)
        recorder = Recorder(workspace.partial, job.device, observer, begin, job.phases)
        try:
            begun = {"done": len(journal.records), "threads": torch.get_num_threads()}
            ranks.share(begun)
            graphs = graphs_of(job.config, job.device, recorder.note)
            with graphs, Keeper(job, output, journal, recorder, behind=job.device.type == "cuda") as keeper:
                _walk(job, begun["done"], keeper, keeper.keep, recorder)
            records = [record for block in journal.records for record in block["layers"]]
            check_complete(job, records)
            with job.phases.of("verify"):
                output.finish(records)
        except (DiskError, CommunicationError):
            raise  # finished blocks stay: --resume goes on when the disk or the other ranks are well again
        except FmcompressError:
            if not resume:  # the same input would fail again: leave nothing half-written
                workspace.discard()
            raise
        written = open_checkpoint(workspace.output)
        facts = facts_of(job, records, written)
        for text in few_tokens_notes(records):
            observer.note(text)
        facts["fingerprint"] = {key: value for key, value in fingerprint.items() if key not in TAKEN_OVER}
        recorder.finished()
        workspace.publish(facts)
    ranks.gather(None)  # torchrun ends a run of which one rank ends badly, at whatever the others are
    # what differs from one run to the next stands in a file of its own, so that equal runs write equal bytes
    measured = {"seconds": time.perf_counter() - begin, "peak_memory_bytes": peak_memory_bytes()}
    return {**facts, "out": str(out), **measured, "ranks": ranks.count, "exchange_seconds": ranks.seconds}


def _follow(job: Job, observer: Observer) -> None:
    """What every rank but the writer does of a run."""
    begun, _ = job.ranks.share()
    if begun is None:  # finished before
        return
    torch.set_num_threads(begun["threads"])
    with graphs_of(job.config, job.device, observer.note):
        _walk(job, begun["done"], None, lambda index, solved: None, observer)
    job.ranks.gather(None)


def _walk(
    job: Job, done: int, output: Reader | None, keep: Callable[[int, list[Solved]], None], observer: Observer
) -> None:
    """All blocks, the `done` first ones forward only, by the weights that stand in the writer's output."""
    count = len(job.layers)
    observer.start(count, done)
    if not job.config.needs_data:
        for index in range(done, count):
            keep(index, solve_without_data(job, index, observer))
        return
    streamed, finished = job.streamed, SharedReader(job.ranks, output)
    assert streamed is not None
    batches: list[Batch] = []
    dense: list[Batch] = []  # the same in the dense model, where blocks are reconstructed
    reconstructs, shared = bool(getattr(job.config, "reconstruct", 0)), solved_before(streamed, job.layers)
    for index in range(count):
        stack = streamed.stack_at(index)
        last = last_to_run(streamed, job.layers, stack)
        if index > last or last < done:  # nothing needs what it makes
            if index >= done:
                keep(index, [])
            continue
        if index == streamed.first_of(stack):
            with job.phases.of("embed"):
                batches = enter(job, streamed, stack, batches)
            if reconstructs:
                dense = enter_dense(streamed, stack, batches, dense)
        source: Reader | None = finished if index < done else None
        if index >= done and shared[index]:
            source = PartlySolved(job.source, shared[index], finished)
        if reconstructs and source is not None:
            with torch.no_grad(), streamed.loaded(index) as block:
                run_on(streamed, index, block, dense)
        with torch.no_grad(), job.phases.entering("load", streamed.loaded(index, source)) as block:
            if index >= done:
                if source is None:
                    run_on(streamed, index, block, dense)
                wanted = [batch.hidden for batch in dense]
                keep(index, solve_block(job, index, block, batches, wanted, observer))
            if index < last:
                with job.phases.of("forward"):
                    run_on(streamed, index, block, batches)
