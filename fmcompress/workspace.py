"""The folders of a run: everything grows in OUT.partial, and OUT appears by one rename when all of it was checked."""

import json
import os
import shutil
from pathlib import Path
from typing import Any

from .checkpoint import Checkpoint, copy_checkpoint, sync
from .errors import CheckpointError, ConfigError
from .journal import Journal, check_same_run

FACTS = "fmcompress.json"


class Workspace:
    """Where one run reads and writes.

    out      the finished checkpoint's folder, which does not exist before the end
    partial  beside it: the journal, and the growing copy in `output`
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
        if self.out.is_dir() and any(self.out.iterdir()) and not (self.force or self.finished_before()):
            raise ConfigError(f"OUT: {self.out} is not empty. Choose another folder, or --force to replace it.")
        if self.partial.exists() and not (self.resume or self.force):
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

    def open(self, fingerprint: dict[str, Any]) -> Journal:
        """The journal of the run to go on with, or of a new one for which the source was copied.

        Raises ConfigError if --resume meets a run of other inputs or options, CheckpointError if the disk is full.
        """
        if self.resume and (self.partial / "journal.jsonl").exists():
            journal = Journal(self.partial)
            if journal.fingerprint is not None:
                check_same_run(journal.fingerprint, fingerprint)
                return journal
        shutil.rmtree(self.partial, ignore_errors=True)
        self.partial.mkdir()
        try:
            copy_checkpoint(self.source, self.output)
        except CheckpointError:
            shutil.rmtree(self.partial, ignore_errors=True)
            raise
        sync(self.partial)
        journal = Journal(self.partial)
        journal.start(fingerprint)
        return journal

    def discard(self) -> None:
        """Forget the run."""
        shutil.rmtree(self.partial, ignore_errors=True)

    def publish(self, facts: dict[str, Any]) -> None:
        """Write fmcompress.json and let OUT appear."""
        path = self.output / FACTS
        path.write_text(json.dumps(facts, indent=1) + "\n")
        sync(path)
        sync(self.output)
        replaced = self.partial / "replaced"
        if self.out.is_dir() and any(self.out.iterdir()):
            os.rename(self.out, replaced)
        os.rename(self.output, self.out)
        sync(self.out.parent)
        shutil.rmtree(self.partial)
