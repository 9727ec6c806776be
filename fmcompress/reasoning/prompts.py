"""How selection, inference, halting and answering are put to a model: the same words in training and in use."""

from collections.abc import Sequence
from typing import Protocol

NOT_YET = "not yet"  # of a halter, where more has to be known

ANSWER_IS = "The answer is"  # before the answer at the end of a chain of thought


class Prompts(Protocol):
    """The texts of one way to ask. A continuation is what follows the prompt, its leading space included."""

    def selection(self, statements: Sequence[str], question: str, chosen: Sequence[str]) -> str:
        """What a statement is to follow, when some of this step are chosen already. Sees everything."""
        ...

    def chosen(self, statement: str) -> str:
        """A candidate statement as a continuation of selection()."""
        ...

    def enough(self) -> str:
        """The continuation of selection() that says: no further statement belongs to this step."""
        ...

    def inference(self, chosen: Sequence[str]) -> str:
        """What the new statement is to follow. Sees the selection, and nothing else."""
        ...

    def halting(self, question: str, inferences: Sequence[str]) -> str:
        """What the answer, or NOT_YET, is to follow. Sees no context: only the question and what was inferred."""
        ...

    def value(self, question: str, selections: Sequence[Sequence[str]], inferences: Sequence[str]) -> str:
        """What " correct" or " incorrect" is to follow, of the steps so far."""
        ...

    def direct(self, context: Sequence[str], question: str) -> str:
        """What the answer is to follow without any step: the baseline."""
        ...

    def chain(self, context: Sequence[str], question: str) -> str:
        """What a chain of thought is to follow, which ends in "The answer is" and the answer: the other baseline."""
        ...


def spoken(statement: str) -> str:
    """A statement inside a sentence: without its full stop."""
    return statement.rstrip().removesuffix(".")


def chain_of(sentences: Sequence[Sequence[str]], inferences: Sequence[str], answer: str) -> str:
    """Steps and the answer as a chain of thought, without the space that it begins with.

    sentences   the selected ones of each step
    inferences  of each step
    """
    steps = [
        f"{' and '.join(map(spoken, chosen))}. Therefore, {inference}"
        for chosen, inference in zip(sentences, inferences, strict=True)
    ]
    return " ".join([*steps, f"{ANSWER_IS} {answer}."])


class TrainedPrompts:
    """Short texts with a prefix a task, for a model that is trained on them; few tokens are all it needs."""

    def selection(self, statements: Sequence[str], question: str, chosen: Sequence[str]) -> str:
        """See Prompts."""
        known = "".join(f" {spoken(one)} and" for one in chosen)
        return f"select: {' '.join(statements)} {question} We know that{known}"

    def chosen(self, statement: str) -> str:
        """See Prompts."""
        return f" {spoken(statement)}"

    def enough(self) -> str:
        """See Prompts."""
        return " nothing more"

    def inference(self, chosen: Sequence[str]) -> str:
        """See Prompts."""
        return f"infer: {' and '.join(map(spoken, chosen))}. Therefore"

    def halting(self, question: str, inferences: Sequence[str]) -> str:
        """See Prompts. The last inference alone: the earlier ones have gone into it, or are not needed."""
        return f"halt: {question} {inferences[-1] if inferences else 'Nothing.'} The answer is"

    def value(self, question: str, selections: Sequence[Sequence[str]], inferences: Sequence[str]) -> str:
        """See Prompts. The last step, which is what the beam chooses between."""
        steps = [f"{' and '.join(map(spoken, s))}. Therefore {i}" for s, i in zip(selections, inferences, strict=True)]
        return f"judge: {question} {' '.join(steps[-1:])} This is"

    def direct(self, context: Sequence[str], question: str) -> str:
        """See Prompts."""
        return f"answer: {' '.join(context)} {question} The answer is"

    def chain(self, context: Sequence[str], question: str) -> str:
        """See Prompts. chain_of() is what a model is trained to write after it."""
        return f"explain: {' '.join(context)} {question}"
