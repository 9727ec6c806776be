"""How a teacher is asked for its reasons: by a template of the task, or by one of the user's own."""

from dataclasses import dataclass
from pathlib import Path

from ..checkpoint import read_error
from ..errors import ConfigError
from .tasks import Task
from .templates import TEMPLATES

PLACE = "{input}"


@dataclass(frozen=True)
class Template:
    """A prompt with one {input}. Other braces mean nothing. Raises ConfigError if {input} is not there just once."""

    text: str

    def __post_init__(self) -> None:
        if (count := self.text.count(PLACE)) != 1:
            raise ConfigError(f"prompt: expected one {PLACE}, got {count}. Write it where the input is to be.")

    def prompt(self, asked: str) -> str:
        """The prompt of an input."""
        before, after = self.text.split(PLACE)
        return f"{before}{asked}{after}"


def template_of(task: Task) -> Template:
    """The template of a task: with a few solved examples, but for "text" and "number", of which nothing is known."""
    return Template(TEMPLATES[task.name])


def read_template(path: Path) -> Template:
    """A user's own template from a text file; the end of its last line is no part of it.

    Raises ConfigError if it is no UTF-8 text with one {input}, DiskError if it cannot be read.
    """
    try:
        return Template(path.read_text(encoding="utf-8").removesuffix("\n"))
    except UnicodeDecodeError:
        raise ConfigError(f"{path}: expected UTF-8 text.") from None
    except OSError as error:
        raise read_error(path, error) from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
