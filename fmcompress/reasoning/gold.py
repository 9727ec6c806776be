"""The steps that a selector is to learn: those of a proof, and what to do where there is none."""

from collections.abc import Sequence
from dataclasses import replace

from ..errors import ConfigError
from .english import Literal, answer_to, parse, parse_question
from .induction import induced
from .problem import UNKNOWN, Problem, Step
from .rules import Theory


def gold_steps(problem: Problem) -> tuple[Step, ...]:
    """The steps that are to be learned: the problem's proof, or where nothing answers, all that leads on.

    Raises ConfigError for a problem without a proof.
    """
    if problem.proof is None:
        raise ConfigError(
            f"problem {problem.name!r}: expected one with a proof. Take generated ones, ProntoQA or bAbI."
        )
    if problem.proof or problem.answer != UNKNOWN:
        return problem.proof
    return Theory(problem.context).walk(parse_question(problem.question).subject)


def with_proof(problem: Problem) -> Problem:
    """The problem with a shortest proof by the chainer and its depth, where the problem has none.

    It stays as it is where the answer is unknown or the chainer finds another one. Raises ConfigError as steps() does.
    """
    if problem.proof is not None or problem.answer == UNKNOWN:
        return problem
    found, said = steps(problem.context, problem.question), parse_question(problem.question)
    fact = parse(found[-1].inference)
    if not isinstance(fact, Literal) or answer_to(said, fact) != problem.answer:
        return problem
    proof = () if found[-1].inference in problem.context else found
    return replace(problem, proof=proof, depth=len(proof))


def steps(statements: Sequence[str], question: str) -> tuple[Step, ...]:
    """Steps to the answer, by the chainer: at least one, whose inference is the answer or says that none is near.

    Where the answer is a statement already, the step says it again. Where nothing answers, the steps are those that
    lead on about the subject, and a last one that says again what the one before said.

    Raises ConfigError for statements or a question in another form than controlled English.
    """
    asked, theory = parse_question(question), Theory(statements)
    answering = [fact for fact in theory.heights if answer_to(asked, fact)]
    if answering:
        nearest = min(answering, key=lambda fact: theory.heights[fact])
        return theory.proof(nearest) or (_again(theory, nearest, statements),)
    if example := induced(statements, asked):
        return (example,)
    return _in_vain(theory, asked.subject, statements)


def _again(theory: Theory, fact: Literal, statements: Sequence[str]) -> Step:
    number = theory.facts[fact]
    return Step((number,), statements[number])


def _in_vain(theory: Theory, subject: str, statements: Sequence[str]) -> tuple[Step, ...]:
    walked = theory.walk(subject)
    if walked:
        return (*walked, Step((len(statements) + len(walked) - 1,), walked[-1].inference))
    about = [number for fact, number in theory.facts.items() if fact.subject == subject]
    last = max(about or theory.facts.values(), default=0)
    return (Step((last,), statements[last]),)
