"""What Selection-Inference is held against: direct answers, chains of thought, and the majority of several."""

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from ..errors import ConfigError
from ..language_model import LanguageModel
from .halting import best_of, cleaned_answer, open_answer
from .problem import UNKNOWN
from .prompts import ANSWER_IS, Prompts
from .selection import check_normalise
from .trace import written

_ANSWER = re.compile(r"answer is:?\s+(.+?)(?=\.(?:\s|$)|\n|$)", re.IGNORECASE)


@dataclass(frozen=True)
class Reply:
    """An answer without a checked trace.

    answer  UNKNOWN where no chain ended in one
    scores  (text, log probability) of the choices, where they were scored
    chains  of thought, as the model wrote them
    votes   (answer, chains that end in it), the most first
    """

    answer: str
    scores: tuple[tuple[str, float], ...] = ()
    chains: tuple[str, ...] = ()
    votes: tuple[tuple[str, int], ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "answer": self.answer,
            "scores": [[text, written(score)] for text, score in self.scores],
            "chains": list(self.chains),
            "votes": [list(vote) for vote in self.votes],
        }


class DirectAnswering:
    """The answer right after context and question: the likeliest choice, or what the model generates.

    With TrainedPrompts it is that of a model trained to answer so, with FewShotPrompts the few-shot baseline.
    """

    def __init__(self, model: LanguageModel, prompts: Prompts, *, normalise: str = "sum", max_tokens: int = 16) -> None:
        check_normalise(normalise)
        self.model, self.prompts, self.normalise, self.max_tokens = model, prompts, normalise, max_tokens

    def run(self, context: Sequence[str], question: str, choices: Sequence[str] = ()) -> Reply:
        """Answer a question about statements."""
        prompt = self.prompts.direct(context, question)
        if not choices:
            return Reply(open_answer(self.model, prompt, self.max_tokens) or UNKNOWN)
        best = best_of(self.model, prompt, choices, self.normalise)
        return Reply(best.text, best.scores)


class ChainOfThought:
    """The model reasons in its own words, and the answer is read from their end.

    samples      chains; their majority answers (self-consistency). Of equally many votes the answer that came first
                 wins. Without a temperature all are the same one
    temperature  0 takes the likeliest token each time
    max_tokens   of a chain, which also ends at an empty line
    seed         of the chains that are drawn

    A chain whose end names none of the choices is asked once more, by scoring them after it; one that names no open
    answer is asked to go on after "The answer is".
    """

    def __init__(
        self,
        model: LanguageModel,
        prompts: Prompts,
        *,
        samples: int = 1,
        temperature: float = 0.0,
        max_tokens: int = 200,
        seed: int = 0,
        normalise: str = "sum",
    ) -> None:
        check_normalise(normalise)
        if samples > 1 and temperature <= 0:
            raise ConfigError(f"temperature: expected more than 0 to draw {samples} chains, got {temperature}.")
        self.model, self.prompts, self.normalise = model, prompts, normalise
        self.asked: dict[str, Any] = {
            "samples": samples,
            "temperature": temperature,
            "max_tokens": max_tokens,
            "seed": seed,
            "stop": ["\n\n"],
        }

    def run(self, context: Sequence[str], question: str, choices: Sequence[str] = ()) -> Reply:
        """Answer a question about statements."""
        prompt = self.prompts.chain(context, question)
        chains = self.model.generate([prompt], **self.asked)[0]
        answers = [self._answer(prompt, chain, choices) for chain in chains]
        votes = Counter(answer for answer in answers if answer)
        ranked = votes.most_common()  # of equally many, in the order in which they came
        return Reply(ranked[0][0] if ranked else UNKNOWN, (), tuple(chains), tuple(ranked))

    def _answer(self, prompt: str, chain: str, choices: Sequence[str]) -> str:
        found = answer_of(chain, choices)
        if found:
            return found
        again = f"{prompt}{chain.rstrip()} {ANSWER_IS}"
        return best_of(self.model, again, choices, self.normalise).text if choices else open_answer(self.model, again)


def self_consistency(
    model: LanguageModel, prompts: Prompts, *, samples: int = 8, temperature: float = 0.7, **options: Any
) -> ChainOfThought:
    """The majority of several drawn chains; samples and temperature are choices of our own."""
    return ChainOfThought(model, prompts, samples=samples, temperature=temperature, **options)


def answer_of(chain: str, choices: Sequence[str] = ()) -> str:
    """The answer that the last "answer is" of a chain names; an empty text if it names none, or none of the choices."""
    named = _ANSWER.findall(chain)
    answer = cleaned_answer(named[-1]) if named else ""
    return choice_in(answer, choices) if choices else answer


def choice_in(text: str, choices: Sequence[str]) -> str:
    """The choice that a text is, or else the only one whose words stand in it; an empty text if there is none such."""
    plain = _plain(text)
    same = [choice for choice in choices if _plain(choice) == plain]
    inside = [choice for choice in choices if f" {_plain(choice)} " in f" {plain} "]
    return (same or (inside if len(inside) == 1 else [""]))[0]


def _plain(text: str) -> str:
    return " ".join(re.sub(r"[^\w\s]", " ", text).casefold().split())
