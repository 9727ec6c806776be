"""Prompts of worked examples, for a pre-trained model that has never seen ours."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from ..errors import ConfigError
from .exemplars import EXEMPLARS, read_exemplars
from .problem import Problem, Step
from .prompts import ANSWER_IS, NOT_YET, Prompts, TrainedPrompts, chain_of, spoken


class FewShotPrompts:
    """Every prompt is a few worked examples and the case at hand, in the same form.

    examples  with their proofs; from each of them examples of selection, inference, halting, value, direct answers and
              chains of thought are made

    Raises ConfigError for an example without a proof.
    """

    def __init__(self, examples: Sequence[Problem] = EXEMPLARS) -> None:
        if not examples or not all(one.proof for one in examples):
            raise ConfigError("few-shot prompts: expected examples, each with its proof. Add the steps.")
        self.examples = tuple(examples)
        steps = [(one, at, step) for one in self.examples for at, step in enumerate(one.proof or ())]
        self._selections = _blocks(
            f"{self._task(_statements(one)[: len(one.context) + at], one.question)}"
            f" {_joined(_sentences(one, step))}{' and' + self.enough()}."
            for one, at, step in steps
        )
        self._inferences = _blocks(f"{self._drawn(_sentences(one, s))} {s.inference}" for one, _, s in steps)
        self._haltings = _blocks(
            f"{self._known(one.question, step.inference)} {one.answer if at + 1 == len(one.proof or ()) else NOT_YET}."
            for one, at, step in steps
        )
        self._values = _blocks(_judged(self.examples))
        self._direct = _blocks(
            f"{self._asked(one.context, one.question)} {ANSWER_IS} {one.answer}." for one in examples
        )
        self._chains = _blocks(f"{self._asked(one.context, one.question)} {_chain(one)}" for one in examples)

    def selection(self, statements: Sequence[str], question: str, chosen: Sequence[str]) -> str:
        """See Prompts."""
        known = "".join(f" {spoken(one)} and" for one in chosen)
        return f"{self._selections}{self._task(statements, question)}{known}"

    def chosen(self, statement: str) -> str:
        """See Prompts."""
        return f" {spoken(statement)}"

    def enough(self) -> str:
        """See Prompts."""
        return " nothing more"

    def inference(self, chosen: Sequence[str]) -> str:
        """See Prompts. Of other statements there are only the examples'."""
        return f"{self._inferences}{self._drawn(chosen)}"

    def halting(self, question: str, inferences: Sequence[str]) -> str:
        """See Prompts. The last inference alone, so that the answer rests on nothing else."""
        return f"{self._haltings}{self._known(question, inferences[-1] if inferences else 'Nothing.')}"

    def value(self, question: str, selections: Sequence[Sequence[str]], inferences: Sequence[str]) -> str:
        """See Prompts. The last step."""
        return f"{self._values}{_verdict(question, selections[-1], inferences[-1])}"

    def direct(self, context: Sequence[str], question: str) -> str:
        """See Prompts."""
        return f"{self._direct}{self._asked(context, question)} {ANSWER_IS}"

    def chain(self, context: Sequence[str], question: str) -> str:
        """See Prompts."""
        return f"{self._chains}{self._asked(context, question)}"

    @staticmethod
    def _task(statements: Sequence[str], question: str) -> str:
        return f"Statements: {' '.join(statements)}\nQuestion: {question}\nWe know that"

    @staticmethod
    def _drawn(chosen: Sequence[str]) -> str:
        return f"{_joined(chosen)}. Therefore,"

    @staticmethod
    def _known(question: str, inference: str) -> str:
        return f"Question: {question}\nWe know that {spoken(inference)}.\n{ANSWER_IS}"

    @staticmethod
    def _asked(context: Sequence[str], question: str) -> str:
        return f"Statements: {' '.join(context)}\nQuestion: {question}\nAnswer:"


def read_prompts(spec: str) -> Prompts:
    """The prompts that a word names: trained, few-shot, or a YAML file of examples. Raises ConfigError."""
    if spec == "trained":
        return TrainedPrompts()
    if spec == "few-shot":
        return FewShotPrompts()
    if Path(spec).suffix.lower() in (".yaml", ".yml"):
        return FewShotPrompts(read_exemplars(spec))
    raise ConfigError(f"prompts: expected trained, few-shot or a .yaml file of examples, got {spec!r}.")


def _blocks(texts: Iterable[str]) -> str:
    return "".join(f"{text}\n\n" for text in texts)


def _joined(sentences: Sequence[str]) -> str:
    return " and ".join(map(spoken, sentences))


def _statements(example: Problem) -> tuple[str, ...]:
    return (*example.context, *(step.inference for step in example.proof or ()))


def _sentences(example: Problem, step: Step) -> list[str]:
    return [_statements(example)[number] for number in step.selection]


def _chain(example: Problem) -> str:
    steps = example.proof or ()
    return chain_of([_sentences(example, step) for step in steps], [step.inference for step in steps], example.answer)


def _verdict(question: str, chosen: Sequence[str], inference: str) -> str:
    return f"Question: {question}\nStep: {_joined(chosen)}. Therefore, {inference}\nThis step is"


def _judged(examples: Sequence[Problem]) -> list[str]:
    """The last step of each example as it is, and with the inference of the next one, which does not follow."""
    found = []
    for one, other in zip(examples, [*examples[1:], examples[0]], strict=True):
        last, wrong = (one.proof or ())[-1], (other.proof or ())[-1].inference
        chosen = _sentences(one, last)
        found += [f"{_verdict(one.question, chosen, last.inference)} correct."]
        found += [f"{_verdict(one.question, chosen, wrong)} incorrect."] if other is not one else []
    return found
