"""Induction as bAbI's task 16 has it: what is of one kind is of one colour, as far as is known."""

from collections.abc import Sequence
from dataclasses import replace

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


def examples(selection: Sequence[Literal | Rule]) -> list[Literal]:
    """What a selection says by example: "X is so" of (X is a K, Y is a K, Y is so) in any order; nothing else."""
    if len(selection) != 3:
        return []
    facts = [one for one in selection if isinstance(one, Literal) and one.holds]
    kinds, shown = [one for one in facts if one.verb == "is a"], [one for one in facts if one.verb == "is"]
    if len(kinds) != 2 or not shown or kinds[0].what != kinds[1].what:
        return []
    return [
        replace(shown[0], subject=new.subject)
        for new, known in (kinds, reversed(kinds))
        if known.subject == shown[0].subject != new.subject
    ]
