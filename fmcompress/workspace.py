"""The folders of a run: everything grows in OUT.partial, and OUT appears by one rename when all of it was checked."""

import contextlib
import fcntl
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint, append_to_card, copy_file, sync, write_error
from .checkpoint.layout import CARD, FACTS, INDICES, MEASURED, SINGLES
from .errors import CheckpointError, ConfigError
from .formats import Output
from .journal import FILE, Journal, check_same_run

OURS = {FILE, MEASURED, "layers", "output", "replaced"}  # all that a run puts into OUT.partial


class Workspace:
    """Where one run reads and writes.

    out      the finished checkpoint's folder, which does not exist before the end
    partial  beside it: the journal, encoded layers in `layers`, and the growing checkpoint in `output`
    """

    def __init__(self, source: Checkpoint, out: Path, *, resume: bool, force: bool) -> None:
        # a link is followed: rename() cannot replace it by a folder
        self.source, self.out, self.resume, self.force = source, out.resolve(), resume, force
        self.partial = self.out.parent / f"{self.out.name}.partial"
        self.output = self.partial / "output"
        self._check_places()

    def _check_places(self) -> None:
        model = self.source.folder.resolve()
        if any(p == model or model in p.parents or p in model.parents for p in (self.out, self.partial.resolve())):
            raise ConfigError(
                f"OUT: {self.out} and the model's folder lie inside each other. Choose a folder elsewhere."
            )
        if not self.out.parent.is_dir():
            raise ConfigError(f"OUT: {self.out.parent} is no folder. Create it first.")
        if self.out.exists() and not self.out.is_dir():
            raise ConfigError(f"OUT: {self.out} is a file. Choose another name.")
        if os.path.ismount(self.out):
            raise ConfigError(f"OUT: {self.out} is a mount point and cannot be replaced. Choose a folder inside it.")
        if self.resume and self.force:
            raise ConfigError("--resume goes on with a run and --force forgets it: give one of them.")
        if self.out.is_dir() and any(self.out.iterdir()):
            self._check_replaceable()
        if self.partial.exists():
            self._check_partial()

    def _check_replaceable(self) -> None:
        if not (self.force or self.finished_before()):
            raise ConfigError(f"OUT: {self.out} is not empty. Choose another folder, or --force to replace it.")
        if self.force and not any((self.out / name).exists() for name in (FACTS, "config.json", *INDICES, *SINGLES)):
            raise ConfigError(f"OUT: {self.out} holds no checkpoint, so --force leaves it alone. Remove it yourself.")

    def _check_partial(self) -> None:
        if not self.partial.is_dir() or {path.name for path in self.partial.iterdir()} - OURS:
            raise ConfigError(f"OUT: {self.partial} is in the way, and not of an interrupted run. Move it.")
        with locked(self.partial):  # whether a run is alive comes before what to do about one that is not
            pass
        if not (self.resume or self.force):
            raise ConfigError(
                f"OUT: {self.partial} is left from an interrupted run. Add --resume to go on, --force to start anew."
            )

    def finished_before(self) -> bool:
        """Whether --resume finds that nothing is left to do."""
        return self.resume and (self.out / FACTS).exists() and not self.output.exists()

    def confirm_finished(self, fingerprint: dict[str, Any]) -> None:
        """Sweep up after a run that was killed when OUT stood already. Raises ConfigError if it was another run."""
        try:
            written = dict(json.loads((self.out / FACTS).read_text())["fingerprint"])
        except (OSError, ValueError, KeyError, TypeError):
            raise ConfigError(
                f"OUT: {self.out / FACTS} does not tell which run wrote it. Use --force to start anew."
            ) from None
        check_same_run(written, fingerprint)
        shutil.rmtree(self.partial, ignore_errors=True)

    @contextlib.contextmanager
    def open(self, fingerprint: dict[str, Any], output: Output) -> Iterator[Journal]:
        """The journal of the run to go on with, or of a new one that `output` has begun. Locked against other runs.

        Raises ConfigError if --resume meets a run of other inputs or options or one that is still alive,
        CheckpointError if the disk is full.
        """
        try:
            self.partial.mkdir(exist_ok=True)
        except OSError as error:
            raise write_error(self.partial, error) from None
        with locked(self.partial):
            journal = Journal(self.partial) if self.resume else None
            if journal is None or journal.fingerprint is None:
                journal = self._start(fingerprint, output)
            else:
                check_same_run(journal.fingerprint, fingerprint)
            yield journal

    def _start(self, fingerprint: dict[str, Any], output: Output) -> Journal:
        for path in self.partial.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        try:
            output.begin()
        except CheckpointError:
            self.discard()
            raise
        journal = Journal(self.partial)
        journal.start(fingerprint)
        sync(self.partial)
        sync(self.partial.parent)
        return journal

    def discard(self) -> None:
        """Forget the run."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def publish(self, facts: dict[str, Any]) -> None:
        """Write fmcompress.json, add what was measured, and let OUT appear."""
        path = self.output / FACTS
        path.write_text(json.dumps(facts, indent=1) + "\n")
        sync(path)
        copy_file(self.partial / MEASURED, self.output / MEASURED)
        append_to_card(self.source.folder / CARD, self.output / CARD, facts)
        self.appear()

    def appear(self) -> None:
        """Let OUT appear by one rename, in the place of what --force replaces."""
        sync(self.output)
        replaced = self.partial / "replaced"
        if self.out.is_dir() and any(self.out.iterdir()):
            os.rename(self.out, replaced)
        os.rename(self.output, self.out)
        sync(self.out.parent)
        shutil.rmtree(self.partial)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a folder for this process; others wait in vain. Raises ConfigError if another one has it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise ConfigError(f"{folder}: another run is at work on it. Wait for it, or choose another OUT.") from None
        except OSError:
            pass  # a file system without locks
        yield
    finally:
        os.close(handle)
