"""The value of a trace so far: how much likelier a model calls it correct than incorrect."""

from collections.abc import Sequence

from ..language_model import LanguageModel
from .prompts import Prompts
from .selection import scored

VERDICTS = (" correct", " incorrect")


class LanguageModelValue:
    """log p(" correct") - log p(" incorrect") after prompts.value(), of a model that is trained to say one of them."""

    def __init__(self, model: LanguageModel, prompts: Prompts) -> None:
        self.model, self.prompts = model, prompts

    def value(self, question: str, selections: Sequence[Sequence[str]], inferences: Sequence[str]) -> float:
        """See Value."""
        right, wrong = scored(self.model, self.prompts.value(question, selections, inferences), VERDICTS)
        return right - wrong
