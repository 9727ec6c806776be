"""What the methods ask of a language model: to continue prompts, and to score given continuations."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True)
class Score:
    """Of a continuation: the sum of its tokens' natural log probabilities, and how many tokens these are."""

    log_probability: float
    tokens: int


class LanguageModel(Protocol):
    """Anything that writes. What it returns is text from a stranger: it is parsed, never executed."""

    name: str  # of the model, for reports and files that tell where a text comes from

    def generate(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 256,
        temperature: float = 0.0,
        top_p: float = 1.0,
        samples: int = 1,
        stop: Sequence[str] = (),
        seed: int = 0,
    ) -> list[list[str]]:
        """Continue each prompt `samples` times: [prompts][samples] texts without the prompt, cut before a stop text.

        temperature  0 takes the likeliest token each time
        seed         equal seeds give equal texts, where the model can promise that

        Raises LanguageModelError if the model cannot be asked, or its answer is none.
        """
        ...

    def score(self, prefix: str, continuations: Sequence[str]) -> list[Score]:
        """How likely each continuation is after the prefix, which is read once for all of them.

        Raises LanguageModelError as above, and if the model gives no probabilities.
        """
        ...
