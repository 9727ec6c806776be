"""Halting: when enough is known, and what the answer is then."""

from collections.abc import Sequence

from ..errors import ConfigError
from ..language_model import LanguageModel
from .parts import Answer
from .prompts import NOT_YET, Prompts
from .selection import check_normalise, scored


class LanguageModelHalter:
    """After each step a model says the answer, or NOT_YET.

    The likeliest of the choices and NOT_YET is taken; for an open question what the model generates, if that is
    likelier than NOT_YET. No choice may be NOT_YET itself.

    normalise   "sum" of a text's log probabilities, or their "mean", which favours no short one
    max_tokens  of an open answer
    """

    def __init__(self, model: LanguageModel, prompts: Prompts, *, normalise: str = "sum", max_tokens: int = 16) -> None:
        check_normalise(normalise)
        self.model, self.prompts, self.normalise, self.max_tokens = model, prompts, normalise, max_tokens

    def halt(self, question: str, inferences: Sequence[str], choices: Sequence[str]) -> Answer | None:
        """See Halter. Raises ConfigError for a choice that is NOT_YET."""
        if NOT_YET in choices:
            raise ConfigError(
                f"choices: {NOT_YET!r} is what a halter says where nothing answers. Word it in another way."
            )
        prompt = self.prompts.halting(question, inferences)
        texts = list(choices) or [open_answer(self.model, prompt, self.max_tokens)]
        if texts[0].casefold() in ("", NOT_YET):
            return None
        answer = best_of(self.model, prompt, [*texts, NOT_YET], self.normalise)
        return None if answer.text == NOT_YET else answer


class FixedSteps:
    """Halts after so many steps, as Selection-Inference does where the depth is known.

    steps      at least one
    model      scores the choices after the last step; not needed for open questions
    prompts    of that model

    For an open question the last inference is the answer.
    """

    def __init__(
        self,
        steps: int,
        model: LanguageModel | None = None,
        prompts: Prompts | None = None,
        *,
        normalise: str = "sum",
    ) -> None:
        check_normalise(normalise)
        if steps < 1:
            raise ConfigError(f"steps: expected at least 1, got {steps}.")
        self.steps, self.model, self.prompts, self.normalise = steps, model, prompts, normalise

    def halt(self, question: str, inferences: Sequence[str], choices: Sequence[str]) -> Answer | None:
        """See Halter. Raises ConfigError for choices without a model that could choose."""
        if len(inferences) < self.steps:
            return None
        if not choices:
            return Answer(inferences[-1])
        if self.model is None or self.prompts is None:
            raise ConfigError("FixedSteps: a question with choices needs a model and its prompts. Give both.")
        return best_of(self.model, self.prompts.halting(question, inferences), choices, self.normalise)


def best_of(model: LanguageModel, prompt: str, texts: Sequence[str], normalise: str = "sum") -> Answer:
    """The likeliest of texts after a prompt; of equals the first."""
    scores = scored(model, prompt, [f" {text}" for text in texts], normalise)
    return Answer(texts[scores.index(max(scores))], tuple(zip(texts, scores, strict=True)))


def open_answer(model: LanguageModel, prompt: str, max_tokens: int = 16) -> str:
    """What a model generates after a prompt, greedily: one line without the full stop at its end."""
    return cleaned_answer(model.generate([prompt], max_tokens=max_tokens, stop=["\n"])[0][0])


def cleaned_answer(text: str) -> str:
    """An answer out of a model's text: its first line, in single spaces, without a full stop."""
    line = next(iter(text.strip().splitlines()), "")
    return " ".join(line.split()).removesuffix(".").rstrip()
