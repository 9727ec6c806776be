"""Parts of a reasoner that reason by the chainer and not by a model: what a perfect model would do."""

from collections.abc import Sequence

from .english import answer_to, parse, parse_question, say
from .gold import steps
from .induction import examples
from .loop import SelectionInference
from .parts import Answer, Selected
from .rules import Theory


class OracleSelector:
    """Selects the first step of a shortest proof from all that is known. Raises ConfigError as Theory does."""

    def select(self, statements: Sequence[str], question: str) -> Selected:
        """See Selector."""
        return Selected(steps(statements, question)[0].selection)


class OracleInferrer:
    """Says what one application of a rule, or one example, gives; what is selected alone is said again."""

    def infer(self, sentences: Sequence[str]) -> str:
        """See Inferrer. An empty text where nothing follows. Raises ConfigError as Theory does."""
        theory = Theory(sentences)
        drawn = [fact for fact, height in theory.heights.items() if height == 1]
        drawn += examples([parse(sentence) for sentence in sentences])
        if not drawn and len(sentences) == 1:
            return sentences[0]
        return say(min(drawn, key=say)) if drawn else ""


class OracleHalter:
    """Answers as soon as the last inference does."""

    def halt(self, question: str, inferences: Sequence[str], choices: Sequence[str]) -> Answer | None:
        """See Halter. Raises ConfigError for sentences of another form."""
        fact = next(iter(Theory(inferences[-1:]).facts), None)
        text = answer_to(parse_question(question), fact) if fact else None
        return Answer(text) if text else None


def oracle(max_steps: int = 6) -> SelectionInference:
    """Selection-Inference whose parts all ask the chainer: right wherever a proof has at most so many steps."""
    return SelectionInference(OracleSelector(), OracleInferrer(), OracleHalter(), max_steps)
