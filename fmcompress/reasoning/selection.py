"""Selection: every candidate statement is scored as what a model would say next, and copied, never written."""

import math
from collections.abc import Sequence

from ..errors import ConfigError, LanguageModelError
from ..language_model import LanguageModel, Score
from .parts import Selected
from .prompts import Prompts, spoken

NORMALISE = ("sum", "mean")
_Partial = tuple[Selected, bool]  # a selection that grows, and whether it is over


def scored(model: LanguageModel, prefix: str, texts: Sequence[str], normalise: str = "sum") -> list[float]:
    """Log probabilities of continuations: summed over their tokens, or the mean of these. Equal ones are asked once.

    Raises LanguageModelError where a model gives no number.
    """
    different = list(dict.fromkeys(texts))
    found = dict(zip(different, model.score(prefix, different), strict=True))
    if any(math.isnan(score.log_probability) for score in found.values()):
        raise LanguageModelError(f"{model.name}: gives probabilities that are no numbers. Its weights may be damaged.")
    return [_normalised(found[text], normalise) for text in texts]


def check_normalise(normalise: str) -> None:
    """Raises ConfigError for a word that is not in NORMALISE."""
    if normalise not in NORMALISE:
        raise ConfigError(f"normalise: expected {' or '.join(NORMALISE)}, got {normalise!r}.")


class ScoringSelector:
    """The selector of Selection-Inference (Creswell et al. 2022).

    The likeliest statement is appended to the prompt, and the others are scored again, until there are enough.

    select     most statements of a step
    enough     let prompts.enough() compete once `least` are chosen, so that a step may have fewer; a choice of our own.
               Without it each step has `select`, or all there are
    least      2 are a fact and a rule. With 1, what is uncertain loses to what is short: the probability of "some rule"
               is parted among all rules, that of enough() is not
    normalise  "sum" of a statement's log probabilities, or their "mean", which favours no short statement

    Of equal scores the earlier statement counts. Statements of the same words are never selected together.
    """

    after = ""  # what is scored with a statement

    def __init__(
        self,
        model: LanguageModel,
        prompts: Prompts,
        select: int = 2,
        *,
        enough: bool = False,
        least: int = 2,
        normalise: str = "sum",
    ) -> None:
        check_normalise(normalise)
        if select < 1 or least < 1:
            raise ConfigError(f"select, least: expected at least 1 statement a step, got {select} and {least}.")
        self.model, self.prompts, self.most, self.least = model, prompts, select, least
        self.enough, self.normalise = enough, normalise

    def select(self, statements: Sequence[str], question: str) -> Selected:
        """See Selector."""
        return self.candidates(statements, question, 1)[0]

    def candidates(self, statements: Sequence[str], question: str, width: int) -> list[Selected]:
        """See BeamSelector: a beam of that width over the statements of the step. Order makes no other selection."""
        beam = [(Selected(()), False)]
        for _ in range(self.most):
            beam = _best([child for one in beam for child in self._grown(statements, question, *one)], width)
        return [selected for selected, _ in beam]

    def shown(self, statements: Sequence[str]) -> tuple[list[str], list[str]]:
        """How statements stand in the prompt, and how they are named when they are chosen."""
        return list(statements), list(statements)

    def _grown(self, statements: Sequence[str], question: str, known: Selected, over: bool) -> list[_Partial]:
        """A selection with one more statement, for each that remains, and the one that is over as it is."""
        listed, names = self.shown(statements)
        taken = {spoken(statements[number]) for number in known.numbers}
        open_ = [number for number, text in enumerate(statements) if spoken(text) not in taken]
        if over or not open_:
            return [(known, True)]
        prefix = self.prompts.selection(listed, question, [names[number] for number in known.numbers])
        texts = [self.prompts.chosen(names[number]) + self.after for number in open_]
        may_end = self.enough and len(known.numbers) >= self.least
        scores = scored(self.model, prefix, [*texts, *([self.prompts.enough()] if may_end else [])], self.normalise)
        numbers = [(*known.numbers, number) for number in open_] + [known.numbers] * may_end
        return [
            (Selected(those, known.score + score), those == known.numbers)
            for those, score in zip(numbers, scores, strict=True)
        ]


class LabelSelector(ScoringSelector):
    """Scores labels ("sen 3") in the place of whole statements: fewer tokens, for a model that was trained on them.

    The prompt lists statements with their labels; what is selected are the statements, word for word. A label is scored
    with the " and" that follows it in every prompt: without it "sen 1" would be likelier than "sen 12", whose beginning
    it is.
    """

    after = " and"

    def shown(self, statements: Sequence[str]) -> tuple[list[str], list[str]]:
        """See ScoringSelector."""
        labels = [label_of(number) for number in range(len(statements))]
        return [f"{label}: {text}" for label, text in zip(labels, statements, strict=True)], labels


def label_of(number: int) -> str:
    """The label of a statement; people count from 1."""
    return f"sen {number + 1}"


def _best(partial: Sequence[_Partial], width: int) -> list[_Partial]:
    """The best of different sets of statements; a stable sort keeps the earlier of equals."""
    found: dict[frozenset[int], _Partial] = {}
    for one in sorted(partial, key=lambda one: -one[0].score):
        found.setdefault(frozenset(one[0].numbers), one)
    return list(found.values())[:width]


def _normalised(score: Score, normalise: str) -> float:
    return score.log_probability / (max(1, score.tokens) if normalise == "mean" else 1)
