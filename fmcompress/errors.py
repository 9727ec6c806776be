"""The errors a caller may want to tell apart; every message says what was expected, what was got and what to do."""

import textwrap


def in_one_line(text: object, width: int = 300) -> str:
    """What another program says, in one line and cut after a word, for a message of ours."""
    words = " ".join(str(text).split())
    short = textwrap.shorten(words, width, placeholder=" …")
    return short if len(short) > width // 2 or len(words) <= width else f"{words[:width]}…"  # one word, such as a path


class FmcompressError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(FmcompressError, ValueError):
    """An option, a pattern or a combination of them that cannot be carried out."""


class CheckpointError(FmcompressError):
    """A checkpoint that is missing, damaged, or not what its index says."""


class DiskError(CheckpointError):
    """A file that cannot be read or written here and now; the same run may succeed later."""


class CalibrationError(FmcompressError):
    """Calibration data or a Hessian that a layer cannot be solved from."""


class BackendUnavailable(FmcompressError, RuntimeError):
    """A back-end that was asked for by name and is not there."""


class PayloadError(FmcompressError):
    """Bytes from elsewhere that do not parse."""


class CommunicationError(FmcompressError, RuntimeError):
    """A collective that failed, or a worker that has gone."""


class LanguageModelError(FmcompressError, RuntimeError):
    """A language model that cannot be asked, or whose answer is of no use."""


class TraceError(FmcompressError, ValueError):
    """A trace of reasoning whose steps or answer do not hold."""


class TheoryError(FmcompressError, ValueError):
    """A category, a functor or a natural transformation whose laws do not hold; `where` has the names that break them."""

    def __init__(self, message: str, *where: object) -> None:
        super().__init__(message)
        self.where = where


class RankFailed(FmcompressError):
    """An error of input that another rank of the run has met and told of."""


class Interrupted(FmcompressError):
    """A run that Ctrl-C stopped between two steps, and that can go on; its message says how."""
