"""What `fmcompress allocate` does, under its progress bars."""

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..config import PruneConfig
from ..errors import ConfigError
from ..job import Job
from ..report import RunProgress, Steps, err
from ..shares import Allocation
from .levels import level_sparsities, open_levels
from .owl import allocate_by_outliers
from .search import allocate_by_search, make_levels, searched_layers


@dataclass(frozen=True)
class Search:
    """The options of a search; without levels, they are made by a method of prune, `reach` steps up and down."""

    levels: list[Path]
    method: str = "sparsegpt"
    step: float = 0.05
    reach: int = 3
    generations: int = 50
    offspring: int = 8


def refuse_early(file: Path, *, force: bool) -> None:
    """Raise ConfigError for a file that cannot be written, before minutes of work."""
    if file.is_dir() or not file.parent.is_dir():
        raise ConfigError(f"{file}: expected a file to write in a folder that is there. Give one such as shares.json.")
    if file.exists() and not force:
        raise ConfigError(f"{file}: exists already. Use --force to replace it.")


def find_allocation(
    ready: Callable[[PruneConfig], Job],
    config: PruneConfig,
    file: Path,
    spread: float,
    search: Search | None,
    quiet: bool = False,
) -> tuple[Allocation, list[str]]:
    """By outliers, or by search if its options are given. Returns it, and what a person should know.

    ready   makes a run of options, whose model and inputs are those to allocate for
    config  with a sparsity
    file    what will be written; levels that must be made lie beside it until the search is over
    """
    with err.status("reading the model and what calibrates it"):
        job = ready(config)
    if search is None:
        with Steps("looking for outliers", quiet) as steps:
            return allocate_by_outliers(job, spread, lambda d, n: steps.at(d, n, f"block {d}/{n}")), job.notes
    with _levels(job, ready, config, file, search, quiet) as folders:
        levels = open_levels(folders, job.source, config.sparsity or 0)
        with Steps("searching", quiet) as steps:
            total = search.generations
            found = allocate_by_search(
                job,
                levels,
                generations=total,
                offspring=search.offspring,
                progress=lambda done, best: steps.at(done, total, f"generation {done}/{total} · KL {best:.4f}"),
            )
    if found.found["kl"] == found.found["kl_even"]:
        job.notes.append("nothing that was tried diverges less than equal sparsities: raise --generations")
    return found, job.notes


@contextmanager
def _levels(
    job: Job, ready: Callable[[PruneConfig], Job], config: PruneConfig, file: Path, search: Search, quiet: bool
) -> Iterator[list[Path]]:
    """The folders that were given, or some that are there until the end of the context."""
    searched_layers(job)  # refuse what cannot be searched before it is pruned
    if search.levels:
        yield search.levels
        return
    config = config.model_copy(update={"method": search.method})
    sparsities = level_sparsities(config.sparsity or 0, search.step, search.reach)
    with tempfile.TemporaryDirectory(prefix=f"{file.name}.levels-", dir=file.parent) as folder:
        yield make_levels(
            ready, config, sparsities, Path(folder), lambda one: RunProgress(one.plan.layers, quiet, config.damping)
        )
