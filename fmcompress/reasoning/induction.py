"""Induction as bAbI's task 16 has it: what is of one kind is of one colour, as far as is known."""

from collections.abc import Sequence

from .english import ANYONE, Literal, Rule, parse, say
from .problem import Step


def induced(statements: Sequence[str], asked: Literal) -> Step | None:
    """The step that answers an open question about an attribute: who is meant, one more of that kind, and how it is.

    That one is the last of the kind whose attribute is stated: 1,000 of 1,000 answers of bAbI's test file, where
    several of a kind may differ. None if there is none.
    """
    facts = {fact: number for number, one in enumerate(statements) if isinstance(fact := parse(one), Literal)}
    kinds = {fact.subject: fact for fact in facts if fact.verb == "is a" and fact.holds}
    attributes = {fact.subject: fact for fact in facts if fact.verb == asked.verb and fact.holds}
    if asked.what != ANYONE or asked.subject not in kinds:
        return None
    kind = kinds[asked.subject]
    alike = [one for one, its in kinds.items() if its.what == kind.what and one != asked.subject and one in attributes]
    if not alike:
        return None
    shown = attributes[alike[-1]]
    chosen = (facts[kind], facts[kinds[shown.subject]], facts[shown])
    return Step(chosen, say(Literal(asked.subject, shown.verb, shown.what)))


def is_example(selection: Sequence[Literal | Rule], inference: Literal) -> bool:
    """Whether a selection is (X is a K, Y is a K, Y is so), in any order, and the inference "X is so"."""
    if len(selection) != 3 or inference.verb != "is":
        return False
    for shown in selection:
        kinds = [one for one in selection if isinstance(one, Literal) and one.verb == "is a" and one.holds]
        if isinstance(shown, Literal) and len(kinds) == 2 and kinds[0].what == kinds[1].what:
            subjects = {one.subject for one in kinds}
            same = (shown.verb, shown.what, shown.holds) == (inference.verb, inference.what, inference.holds)
            if same and subjects == {shown.subject, inference.subject} and shown.subject != inference.subject:
                return True
    return False
