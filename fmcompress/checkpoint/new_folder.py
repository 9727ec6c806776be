"""A folder that appears whole or not at all."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from ..errors import ConfigError
from .writer import sync, write_error


@contextlib.contextmanager
def growing(out: Path, what: str) -> Iterator[Path]:
    """A new folder beside `out`, which becomes it by one rename if all goes well and vanishes if not.

    what  the argument that a message is to name
    Raises ConfigError if there is something in the way (an empty folder is not), DiskError for a full disk.
    """
    out = out.resolve()
    partial = out.parent / f"{out.name}.partial"
    taken = out.exists() and not (out.is_dir() and not any(out.iterdir()))
    if partial.exists() or taken:
        raise ConfigError(f"{what}: {partial if partial.exists() else out} exists. Choose another name.")
    if not out.parent.is_dir():
        raise ConfigError(f"{what}: {out.parent} is no folder. Create it first.")
    try:
        partial.mkdir()
    except OSError as error:
        raise write_error(partial, error) from None
    try:
        yield partial
        sync(partial)
        partial.rename(out)
        sync(out.parent)
    except OSError as error:
        raise write_error(partial, error) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)
