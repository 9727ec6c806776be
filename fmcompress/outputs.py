"""Which form of a checkpoint a run writes, block by block, and whether all of it was solved."""

from dataclasses import replace
from typing import Any

from torch import nn

from .errors import CheckpointError
from .exchange import Solved
from .formats import CompressedTensorsOutput, DenseOutput, LayerStore, Output, PackedOutput
from .job import Job, Observer
from .journal import Journal
from .phases import Phases
from .preflight import encoded_space
from .workspace import Workspace


def output_of(job: Job, workspace: Workspace) -> Output:
    """The writer of the form that was asked for."""
    config, store = job.config, LayerStore(workspace.partial / "layers")
    if config.written_as == "dense":
        return DenseOutput(job.source, workspace.output)
    needed = encoded_space(job.source, job.layers, job.plan)
    if config.written_as == "packed":
        return PackedOutput(job.source, workspace.output, store, needed, config.target())
    grid, chosen = config.grid(), {layer.tensor for some in job.layers for layer in some.values()}
    assert grid is not None
    linear = all(layer.is_linear for some in job.layers for layer in some.values())
    if job.streamed is None or not linear:  # experts have no module of their own in the model: by their names
        targets, ignore = sorted(name.removesuffix(".weight") for name in chosen), []
    else:
        linears = [(n, m) for n, m in job.streamed.model.named_modules() if isinstance(m, nn.Linear)]
        targets, ignore = ["Linear"], sorted(n for n, m in linears if job.streamed.tensor_name(m) not in chosen)
    return CompressedTensorsOutput(job.source, workspace.output, store, needed, grid, targets, ignore)


def check_complete(job: Job, records: list[dict[str, Any]]) -> None:
    """Every chosen layer must have been solved once, whatever the journal of an earlier run says."""
    chosen = sorted(layer.tensor for some in job.layers for layer in some.values())
    if sorted(record["tensor"] for record in records) != chosen:
        raise CheckpointError("the journal of the earlier run does not name every layer once. Use --force.")


def keep_block(
    phases: Phases, output: Output, journal: Journal, observer: Observer, index: int, solved: list[Solved]
) -> None:
    """Write the layers of a finished block, then note them in the journal."""
    with phases.of("write"):
        for record, result in solved:
            turned = record.get("transposed", False)
            output.write(record["tensor"], replace(result, weight=result.weight.T) if turned else result)
        output.flush()
        journal.append({"block": index, "layers": [record for record, _ in solved]})
    observer.block(index)
