"""Inference: a model says what follows from the selection, and sees nothing else."""

from collections.abc import Sequence

from ..errors import ConfigError
from ..language_model import LanguageModel
from .prompts import Prompts
from .statements import sentences as sentences_of


class LanguageModelInferrer:
    """Generates one statement, greedily, from prompts.inference(selection): neither context nor question is in it.

    max_tokens  of a statement
    """

    def __init__(self, model: LanguageModel, prompts: Prompts, max_tokens: int = 48) -> None:
        if max_tokens < 1:
            raise ConfigError(f"max-tokens: expected at least 1, got {max_tokens}.")
        self.model, self.prompts, self.max_tokens = model, prompts, max_tokens

    def infer(self, sentences: Sequence[str]) -> str:
        """See Inferrer. An empty text where the model said nothing."""
        prompt = self.prompts.inference(sentences)
        return one_statement(self.model.generate([prompt], max_tokens=self.max_tokens, stop=["\n"])[0][0])


def one_statement(text: str) -> str:
    """The first sentence of what a model wrote, as a statement: in one line, from a capital letter to a full stop."""
    text = " ".join(text.split()).lstrip(" ,:;")
    first = next(iter(sentences_of(text)), "")
    if not any(letter.isalnum() for letter in first):
        return ""
    return first[:1].upper() + first[1:] + ("" if first[-1] in ".!?\"'\u201d" else ".")
