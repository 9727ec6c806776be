"""Greedy soups of checkpoints on disk: every average is written, scored and removed; the trials survive a kill."""

import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ..checkpoint import write_error
from ..errors import ConfigError, Interrupted
from ..journal import FILE, Journal, check_same_run
from ..report import finite
from ..workspace import locked
from .plan import MergePlan, plan_merge
from .recipe import recipe_of
from .run import check_out, merge_checkpoints
from .scores import Score
from .soup import Soup, choose

AVERAGE = "average"  # the folder of the one that is scored
OURS = {FILE, AVERAGE, f"{AVERAGE}.partial"}
Progress = Callable[[int, int, str], None]


def checkpoint_soup(
    folders: Sequence[Path],
    out: Path,
    score: Score | Callable[[Path], float],
    *,
    tie: str = ">",
    any_vocabulary: bool = False,
    resume: bool = False,
    force: bool = False,
    progress: Progress = lambda done, total, what: None,
) -> tuple[Soup, dict[str, Any]]:
    """Write the greedy soup of checkpoints of one architecture to OUT. See greedy_soup and merge_checkpoints.

    score           of a checkpoint's folder; a function's is higher-is-better
    any_vocabulary  average embeddings also where tokenizer.json of the models differ
    resume          go on with an interrupted soup of the same models and score: what was scored is not scored again
    force           replace a checkpoint in OUT, forget an interrupted soup
    progress        called before each score and at the end with (scores known, scores in all, what is next)

    OUT is the uniform average of the chosen in the order of folders, to the bit, or the best one as it is. One average
    at a time stands in OUT.soup, which is removed at the end, and holds the trials if the run is interrupted.
    Returns the soup and the facts that stand in OUT/fmcompress-merge.json, numbers of candidates in the order of
    folders. Raises ConfigError, CheckpointError or DiskError, and Interrupted for Ctrl-C once something is scored.
    """
    scored = score if isinstance(score, Score) else Score(score)
    plan = _plan(folders, any_vocabulary)
    check_out(plan, out, force=force)
    fingerprint = {
        "models": [source.checkpoint.digest() for source in plan.sources],
        "tie": tie,
        "lower_is_better": scored.lower_is_better,
        "score": dict(scored.identity),
    }
    with _trials(out, fingerprint, resume, force) as (work, journal):
        trials = _Trials(folders, any_vocabulary, scored, work / AVERAGE, journal, progress)
        soup = choose(len(folders), trials.score, tie=tie, lower_is_better=scored.lower_is_better)
        progress(trials.total, trials.total, "the soup")
        how = {"scored_by": scored.name, "tie": tie, "lower_is_better": scored.lower_is_better}
        about = {"soup": {"candidates": [folder.name for folder in folders], **how, **asdict(soup)}}
        chosen = _plan([folders[member] for member in soup.members], any_vocabulary)
        facts = merge_checkpoints(chosen, out, force=force, about=finite(about))
    shutil.rmtree(work, ignore_errors=True)
    return soup, facts


def _plan(folders: Sequence[Path], any_vocabulary: bool) -> MergePlan:
    models = [{"model": str(folder)} for folder in folders]
    return plan_merge(recipe_of({"models": models, "merge_method": "uniform"}), any_vocabulary=any_vocabulary)


class _Trials:
    """Scores of averages, each found once and noted in the journal."""

    def __init__(
        self, folders: Sequence[Path], any_vocabulary: bool, score: Score, average: Path, journal: Journal,
        progress: Progress,
    ) -> None:  # fmt: skip
        self.folders, self.any_vocabulary, self.of = folders, any_vocabulary, score.of
        self.average, self.journal, self.progress = average, journal, progress
        self.known = _known(journal)
        self.done, self.total = 0, 2 * len(folders) - 1

    def score(self, members: tuple[int, ...]) -> float:
        """Of the uniform average of some folders."""
        self.progress(self.done, self.total, " + ".join(self.folders[member].name for member in members))
        if members not in self.known:
            self.known[members] = found = self._scored(members)
            self.journal.append({"block": len(self.journal.records), "members": members, "score": found})
        self.done += 1
        return self.known[members]

    def _scored(self, members: tuple[int, ...]) -> float:
        if len(members) == 1:
            return float(self.of(self.folders[members[0]]))
        try:
            merge_checkpoints(_plan([self.folders[member] for member in members], self.any_vocabulary), self.average)
            return float(self.of(self.average))
        finally:
            shutil.rmtree(self.average, ignore_errors=True)


def _known(journal: Journal) -> dict[tuple[int, ...], float]:
    try:
        return {tuple(map(int, record["members"])): float(record["score"]) for record in journal.records}
    except (KeyError, TypeError, ValueError):
        raise ConfigError(f"{journal.path}: one of its lines is no trial. Use --force to start anew.") from None


@contextmanager
def _trials(out: Path, fingerprint: dict[str, Any], resume: bool, force: bool) -> Iterator[tuple[Path, Journal]]:
    """The folder of the run and its journal. It stays after an error if something was scored."""
    work = out.resolve().parent / f"{out.resolve().name}.soup"
    if resume and force:
        raise ConfigError("--resume goes on with a run and --force forgets it: give one of them.")
    if work.exists() and (not work.is_dir() or {path.name for path in work.iterdir()} - OURS):
        raise ConfigError(f"OUT: {work} is in the way, and not of an interrupted soup. Move it.")
    if work.exists() and not (resume or force):
        raise ConfigError(f"OUT: {work} is left from an interrupted run. Add --resume to go on, --force to start anew.")
    try:
        work.mkdir(exist_ok=True)
    except OSError as error:
        raise write_error(work, error) from None
    with locked(work):
        for path in work.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif force:
                path.unlink()
        journal = Journal(work)
        try:
            if journal.fingerprint is None:
                journal.start(fingerprint)
            else:
                check_same_run(journal.fingerprint, fingerprint)
            yield work, journal
        except BaseException as error:
            if not journal.records:
                shutil.rmtree(work, ignore_errors=True)
            elif isinstance(error, KeyboardInterrupt):
                kept = "interrupted: what was scored is kept: the same command with --resume goes on."
                raise Interrupted(kept) from None
            raise
