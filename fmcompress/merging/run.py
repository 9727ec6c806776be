"""A merge from its plan to a finished folder: tensors, what stands beside them, a check, one rename."""

import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .. import __version__
from ..checkpoint import Checkpoint, companion_files, copy_file, require_space, sync, write_error
from ..checkpoint.card import note_merged
from ..checkpoint.layout import CARD, DTYPE_NAMES, INDEX, INDICES, MERGE_FACTS, entry_file
from ..errors import CheckpointError, ConfigError
from ..formats import QuantizedCheckpoint
from ..formats.store import write_json
from ..workspace import Workspace, locked
from .engine import Progress, write_tensors
from .plan import MergePlan


def merge_checkpoints(
    plan: MergePlan,
    out: Path,
    *,
    force: bool = False,
    progress: Progress = lambda done, total, name: None,
    about: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Carry out a merge. Everything grows in OUT.partial, and OUT appears by one rename when it was checked.

    force     replace a checkpoint in OUT, and forget an interrupted merge
    progress  called from several threads, one at a time, with (bytes written, bytes in all, the tensor's name)
    about     facts to stand in OUT/fmcompress-merge.json, too, such as how models were chosen

    Memory is that of a few blocks, whatever the size of the models; bits depend neither on blocks nor on threads.
    Returns the facts that stand in OUT/fmcompress-merge.json.

    Raises ConfigError if OUT cannot be used, CheckpointError if a model holds inf or NaN or a sum is beyond the range
    of what is written, DiskError if something cannot be read or written; OUT is as it was then.
    """
    work = check_out(plan, out, force=force)
    facts = {**_facts(plan), **(about or {})}
    try:
        work.partial.mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(work.partial, error) from None
    with locked(work.partial):
        try:
            for path in work.partial.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
            work.output.mkdir()
            write_tensors(plan, work.output, progress)
            _write_companions(plan, work.output, facts)
            _check_written(plan, work.output)
        except OSError as error:
            work.discard()
            raise write_error(work.partial, error) from None
        except BaseException:
            work.discard()
            raise
        try:
            work.appear()
        except OSError as error:
            raise write_error(work.out, error) from None
    return facts


def check_out(plan: MergePlan, out: Path, *, force: bool) -> Workspace:
    """Raise ConfigError if OUT cannot be written, CheckpointError if the disk is too small."""
    partial = out.resolve().parent / f"{out.resolve().name}.partial"
    if partial.exists() and not force:
        raise ConfigError(f"OUT: {partial} is left from an interrupted run. Add --force to start anew, or move it.")
    for source in (*plan.sources, plan.template):
        work = Workspace(source.checkpoint, out, resume=False, force=force)
    require_space(work.out.parent, plan.written_bytes)
    return work


def _write_companions(plan: MergePlan, folder: Path, facts: dict[str, Any]) -> None:
    template = plan.template.checkpoint
    for path in companion_files(template):
        within = path.relative_to(template.folder)
        if str(within) not in (*INDICES, "config.json") and not path.name.startswith("fmcompress"):
            copy_file(path, folder / within)
    _write_config(plan, folder)
    if entry_file(template.folder).name in INDICES:
        _write_index(plan, folder)
    note_merged(template.folder / CARD, folder / CARD, facts)
    write_json(folder / MERGE_FACTS, facts)
    sync(folder)


def _write_config(plan: MergePlan, folder: Path) -> None:
    """As the template has it, but for the dtype that is written and a way of storing that is no longer."""
    template = plan.template.checkpoint
    if not (template.folder / "config.json").exists():
        return
    config, name = template.config, plan.recipe.out_dtype or plan.recipe.dtype
    if isinstance(template, QuantizedCheckpoint):
        config = {key: value for key, value in config.items() if key != "quantization_config"}
    if name is not None:
        config = _with_dtype(config, name)
        if not {"dtype", "torch_dtype"} & config.keys():
            config["dtype"] = name
    if config == template.config:
        copy_file(template.folder / "config.json", folder / "config.json")
    else:
        write_json(folder / "config.json", config)


def _with_dtype(config: dict[str, Any], name: str) -> dict[str, Any]:
    """The same with another dtype wherever it names one, in configs of towers, too."""
    said = {"dtype", "torch_dtype"}
    return {
        key: name if key in said and isinstance(value, str)
        else _with_dtype(value, name) if isinstance(value, dict) and key.endswith("_config")
        else value
        for key, value in config.items()
    }  # fmt: skip


def _write_index(plan: MergePlan, folder: Path) -> None:
    template = plan.template.checkpoint
    if all(shard.same for shard in plan.shards) and len(plan.tensors) == len(template.tensors):
        copy_file(template.folder / INDEX, folder / INDEX)
        return
    weight_map = {name: shard.name for shard in plan.shards for name in shard.entries}
    total = sum(one.written.size_bytes for one in plan.tensors)
    write_json(folder / INDEX, {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})


def _check_written(plan: MergePlan, folder: Path) -> None:
    """Raise CheckpointError unless headers and index parse and are those that were planned."""
    wanted = {one.name: (one.written.path.name, one.written.dtype, one.written.shape) for one in plan.tensors}
    found = {name: (at.path.name, at.dtype, at.shape) for name, at in Checkpoint(folder).tensors.items()}
    if wanted != found:
        raise CheckpointError(f"{folder}: what was written is not what was planned. Run again.")


def _facts(plan: MergePlan) -> dict[str, Any]:
    recipe = plan.recipe
    rows = [Path(one.label).name for one in plan.sources]  # without the place of a folder on this machine
    digests = [one.checkpoint.digest() for one in plan.sources]
    return {
        "fmcompress": __version__,
        "merge": {
            **recipe.model_dump(exclude={"models", "base_model"}, mode="json"),
            "models": [
                {"model": Path(m.model).name, "parameters": m.model_dump()["parameters"]} for m in recipe.models
            ],
            "base_model": None if recipe.base_model is None else Path(recipe.base_model).name,
            "sum_dtype": str(recipe.sum_dtype).removeprefix("torch."),
        },
        "sources": [{"model": name, "digest": digest} for name, digest in zip(rows, digests, strict=True)],
        "template": Path(plan.template.label).name,
        "tensors": len(plan.tensors),
        "dtypes": sorted({DTYPE_NAMES[one.written.dtype] for one in plan.tensors}),
        "read_bytes": plan.read_bytes,
        "bytes": plan.written_bytes,
        "notes": list(plan.notes),
    }
