"""Files that commands write: whole or not at all, and never over what somebody has."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .checkpoint import read_error, write_error
from .drawing import new_figure
from .errors import ConfigError


def write_json(path: Path, facts: Mapping[str, Any] | Sequence[Any]) -> None:
    """Write a JSON file, whole or not at all. Raises DiskError if it cannot be written."""
    write_text(path, json.dumps(facts, indent=1) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text in UTF-8, whole or not at all. Raises DiskError if it cannot be written."""
    growing = path.with_name(f"{path.name}.partial")
    try:
        growing.write_text(text, encoding="utf-8")
        growing.replace(path)
    except OSError as error:
        raise write_error(path, error) from None


def sha256_of(path: Path) -> bytes:
    """The hash of a file's bytes. Raises DiskError if it cannot be read."""
    sha = hashlib.sha256()
    try:
        with path.open("rb") as file:
            while piece := file.read(1 << 20):
                sha.update(piece)
    except OSError as error:
        raise read_error(path, error) from None
    return sha.digest()


def refuse_existing(force: bool, output: Path | None, plot: Path | None) -> None:
    """Before any work: ConfigError for what could not be written after it.

    That is what is there already, unless it may be replaced, where no folder is, and a picture that cannot be drawn.
    """
    if plot:
        new_figure(plot, 1, 1)
    if plot and plot == output:
        raise ConfigError(f"{plot}: --plot and --output are one file. Give each a name of its own.")
    for path in filter(None, (output, plot)):
        if path.exists() and not (force and path.is_file()):
            raise ConfigError(f"{path}: is there already. {'It is no file.' if force else 'Replace it with --force.'}")
        if not path.parent.is_dir():
            raise ConfigError(f"{path}: there is no folder {path.parent}. Make it first.")
