"""A language model that says what it was told to: for tests, and for looking at what a method asks."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import LanguageModelError
from .protocol import Score
from .settings import Settings

Answer = str | Sequence[str]
Answers = Sequence[str] | Mapping[str, Answer] | Callable[[str], Answer]


@dataclass(frozen=True)
class Call:
    """One call: "generate" with its prompts and settings, or "score" with the prefix and its continuations."""

    kind: str
    texts: tuple[str, ...]
    settings: Settings | None = None


@dataclass
class ScriptedLanguageModel:
    """Answers from a script, and remembers every call.

    answers  a list: handed out in turn, one a sample; a mapping: prompt -> its answer, or a list with one a sample;
             a function of the prompt that returns either
    scores   (prefix, continuation) -> natural log probability, for `score`; tokens are counted as words
    calls    what was asked, in order

    Raises LanguageModelError where the script has no answer.
    """

    answers: Answers = ()
    scores: Callable[[str, str], float] | None = None
    name: str = "scripted"
    calls: list[Call] = field(default_factory=list)
    handed: int = 0  # of a list

    def generate(self, prompts: Sequence[str], **settings: Any) -> list[list[str]]:
        """See LanguageModel.generate; texts are cut before a stop text."""
        wanted = Settings(**settings)
        self.calls.append(Call("generate", tuple(prompts), wanted))
        return [[wanted.cut(text) for text in self._answer(prompt, wanted.samples)] for prompt in prompts]

    def score(self, prefix: str, continuations: Sequence[str]) -> list[Score]:
        """See LanguageModel.score."""
        self.calls.append(Call("score", (prefix, *continuations)))
        if self.scores is None:
            raise LanguageModelError(f"{self.name}: scores nothing. Give it a function as `scores`.")
        return [Score(self.scores(prefix, text), len(text.split())) for text in continuations]

    def _answer(self, prompt: str, samples: int) -> list[str]:
        if callable(self.answers):
            answer = self.answers(prompt)
        elif isinstance(self.answers, Mapping):
            if prompt not in self.answers:
                raise LanguageModelError(f"{self.name}: has no answer to {prompt[:80]!r}. Add one.")
            answer = self.answers[prompt]
        else:
            answer = self.answers[self.handed : self.handed + samples]
            self.handed += samples
        texts = [answer] * samples if isinstance(answer, str) else list(answer)
        if len(texts) < samples:
            raise LanguageModelError(
                f"{self.name}: has {len(texts)} of {samples} answers to {prompt[:80]!r}. Add the others."
            )
        return texts[:samples]
