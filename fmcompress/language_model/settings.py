"""How a text is to be continued: checked once, for every language model alike."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from ..errors import ConfigError


@dataclass(frozen=True)
class Settings:
    """The keywords of `LanguageModel.generate`. Raises ConfigError for a value that means nothing."""

    max_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    samples: int = 1
    stop: Sequence[str] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if isinstance(self.stop, str):
            raise ConfigError(f"stop: expected a list of texts, got the text {self.stop!r}. Put it into a list.")
        object.__setattr__(self, "stop", tuple(self.stop))
        for right, told in (
            (self.max_tokens >= 1, f"max_tokens: expected at least 1, got {self.max_tokens}."),
            (self.samples >= 1, f"samples: expected at least 1, got {self.samples}."),
            (self.temperature >= 0, f"temperature: expected 0 or more, got {self.temperature}."),
            (0 < self.top_p <= 1, f"top_p: expected more than 0 and at most 1, got {self.top_p}."),
            (all(self.stop), "stop: expected texts that are not empty. Leave the empty one out."),
        ):
            if not right:
                raise ConfigError(told)

    @property
    def different(self) -> int:
        """Texts to ask for: without a temperature all samples are the same."""
        return self.samples if self.temperature > 0 else 1

    def repeated(self, texts: list[str]) -> list[str]:
        """As many texts as were asked for, of as many as are `different`."""
        return texts * (self.samples // self.different)

    def cut(self, text: str) -> str:
        """The text before the first of the stop texts."""
        return text[: min((at for at in (text.find(stop) for stop in self.stop) if at >= 0), default=len(text))]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "stop": list(self.stop)}
