"""The state of a run on disk: one line a block, so that a killed run goes on where it stopped."""

import json
import os
from pathlib import Path
from typing import Any

from .errors import ConfigError

FILE = "journal.jsonl"
TAKEN_OVER = ("threads", "ranks")  # of a fingerprint: facts that a resumed run need not share


class Journal:
    """An append-only file: the run's fingerprint, then one record for each finished block.

    A record is on disk before append() returns; a line that a kill cut short counts as not written. Raises ConfigError
    if blocks are missing or doubled, or a line is none of its own.
    """

    def __init__(self, folder: Path) -> None:
        self.path = folder / FILE
        self.fingerprint: dict[str, Any] | None = None
        self.records: list[dict[str, Any]] = []
        if self.path.exists():
            lines = self.path.read_bytes().splitlines(keepends=True)
            whole = [self._parsed(line) for line in lines if line.endswith(b"\n")]
            if len(whole) < len(lines):  # so that the next line begins on a line of its own
                os.truncate(self.path, sum(map(len, lines[:-1])))
            if whole:
                self.fingerprint, self.records = whole[0], whole[1:]
            if [record.get("block") for record in self.records] != list(range(len(self.records))):
                raise ConfigError(f"{self.path}: its blocks are out of order. Use --force to start anew.")

    def _parsed(self, line: bytes) -> dict[str, Any]:
        try:
            return dict(json.loads(line))
        except (ValueError, TypeError, RecursionError):
            raise ConfigError(f"{self.path}: one of its lines is no record. Use --force to start anew.") from None

    def start(self, fingerprint: dict[str, Any]) -> None:
        """Write the first line. Everything that a resumed run relies on must be on disk already."""
        self.fingerprint = fingerprint
        self._write(fingerprint)

    def append(self, record: dict[str, Any]) -> None:
        """Note a finished block, whose tensors must be on disk already."""
        self.records.append(record)
        self._write(record)

    def _write(self, value: dict[str, Any]) -> None:
        with self.path.open("a") as file:
            file.write(json.dumps(value) + "\n")
            file.flush()
            os.fsync(file.fileno())


def check_same_run(written: dict[str, Any], fingerprint: dict[str, Any]) -> None:
    """Raise ConfigError, naming the field, if two fingerprints belong to runs with other inputs or options."""
    keys = [*fingerprint, *(key for key in written if key not in fingerprint)]  # options before what they change
    for key in (key for key in keys if key not in TAKEN_OVER):
        before, now = written.get(key), fingerprint.get(key)
        if before != now:
            raise ConfigError(
                f"--resume: {key} was {before!r} in the earlier run and is {now!r} now. "
                "Use the same, or --force to start anew."
            )
