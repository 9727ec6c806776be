"""Facts, rules and questions in controlled English: what the chainer reads, and how it speaks."""

import re
from dataclasses import dataclass, replace

from ..errors import ConfigError

ANYONE = "?"  # the subject of a rule that holds for all, and what an open question asks for
TRUE, FALSE = "true", "false"
_OPEN = ((r"what is (.+) afraid of", "is afraid of"), (r"what colou?r is (.+)", "is"))
_IRREGULAR = {"mice": "mouse", "wolves": "wolf", "sheep": "sheep"}
_PLURALS = {one: many for many, one in _IRREGULAR.items()}
_PRONOUNS = ("someone", "something", "they", "it")
_THING = r"(?:the [a-z]+(?: (?!not )[a-z]+)?|[a-z]+)"


@dataclass(frozen=True)
class Literal:
    """A simple statement, or its denial.

    subject  a name, "the" and a noun, or ANYONE within a rule
    verb     "is" before an attribute, "is a" before a kind, "is afraid of" before a kind, or a verb without its -s
    what     in the singular, or ANYONE in an open question
    holds    False for "is not", "does not"
    """

    subject: str
    verb: str
    what: str
    holds: bool = True

    def denied(self) -> "Literal":
        """The opposite."""
        return replace(self, holds=not self.holds)

    def about(self, subject: str) -> "Literal":
        """The same of somebody, where it is about ANYONE."""
        return replace(self, subject=subject) if self.subject == ANYONE else self


@dataclass(frozen=True)
class Rule:
    """What follows where all conditions hold for one subject."""

    conditions: tuple[Literal, ...]
    conclusion: Literal


def parse(sentence: str) -> Literal | Rule:
    """A fact or a rule. Case does not matter. Raises ConfigError for a sentence of another form."""
    text = sentence.strip().removesuffix(".").lower()
    found = _rule(text) or _literal(text)
    if found is None:
        raise ConfigError(
            f"statement: expected a fact or a rule in controlled English, got {sentence!r}. Write it as "
            "'Alan is not kind.', 'If someone is kind and big then they are round.' or 'Each wumpus is a dumpus.'"
        )
    return found


def parse_question(question: str) -> Literal:
    """What is asked: a statement, or one whose `what` is ANYONE. Raises ConfigError for a question of another form."""
    text = question.strip().removesuffix("?").strip().lower()
    said = text.removeprefix("is it true that ")
    if said == text and (match := re.fullmatch(rf"is ({_THING}) (.+)", text)):
        said = f"{match[1]} is {match[2]}"
    if said != text and (found := _literal(said)) and found.subject != ANYONE:
        return found
    for pattern, verb in _OPEN:
        if match := re.fullmatch(pattern, text):
            return Literal(match[1], verb, ANYONE)
    raise ConfigError(
        "question: expected 'Is Alan kind?', 'Is it true that …?', 'What is … afraid of?' or 'What color is …?', "
        f"got {question!r}."
    )


def answer_to(asked: Literal, fact: Literal) -> str | None:
    """What a fact says about a question: "true", "false", the word that an open one asks for, or None for nothing."""
    if (asked.subject, asked.verb) != (fact.subject, fact.verb):
        return None
    if asked.what == ANYONE:
        return fact.what if fact.holds else None
    return None if asked.what != fact.what else TRUE if asked.holds == fact.holds else FALSE


def say(fact: Literal) -> str:
    """A fact as a sentence; parse() gives the fact again."""
    no = "" if fact.holds else " not"
    if fact.verb == "is a":
        said = f"is{no} {'an' if fact.what[0] in 'aeiou' else 'a'} {fact.what}"
    elif fact.verb == "is afraid of":
        said = f"is{no} afraid of {plural(fact.what)}"
    elif fact.verb == "is":
        said = f"is{no} {fact.what}"
    else:
        said = f"{fact.verb}s {fact.what}" if fact.holds else f"does not {fact.verb} {fact.what}"
    return f"{fact.subject[0].upper()}{fact.subject[1:]} {said}."


def ask(statement: Literal) -> str:
    """A closed question, such as "Is Alan not kind?"; parse_question() gives the statement again."""
    said = say(statement).removesuffix(".")
    said = said[0].lower() + said[1:] if said.startswith("The ") else said
    if statement.verb.startswith("is"):
        return f"Is {said.replace(' is ', ' ', 1)}?"
    return f"Is it true that {said}?"


def plural(noun: str) -> str:
    """Of a kind."""
    return _PLURALS.get(noun) or (f"{noun}es" if noun.endswith(("s", "x", "ch", "sh")) else f"{noun}s")


def _singular(noun: str) -> str | None:
    """Of a kind's plural; None for other words, such as "luminous"."""
    if noun in _IRREGULAR:
        return _IRREGULAR[noun]
    if noun.endswith(("ses", "xes", "ches", "shes")):
        return noun[:-2]
    return noun[:-1] if noun.endswith("s") and not noun.endswith(("ss", "ous")) else None


def _rule(text: str) -> Rule | None:
    if match := re.fullmatch(r"if (.+) then (.+)", text):
        conditions = [_literal(part, follows=True) for part in match[1].split(" and ")]
        conclusion = _literal(match[2])
        complete = conclusion is not None and None not in conditions
        return Rule(tuple(filter(None, conditions)), conclusion) if complete and conclusion else None
    if match := re.fullmatch(r"(?:all )?([a-z ,]+) (?:things|people) are (not )?([a-z]+)", text):
        conditions_said = re.split(r", | and ", match[1])
        return Rule(
            tuple(Literal(ANYONE, "is", word) for word in conditions_said),
            Literal(ANYONE, "is", match[3], not match[2]),
        )
    if match := re.fullmatch(r"(?:each|every) ([a-z]+) is (.+)", text):
        conclusion = _literal(f"it is {match[2]}")
        return Rule((Literal(ANYONE, "is a", match[1]),), conclusion) if conclusion else None
    if match := re.fullmatch(r"(?:all )?([a-z]+) are (not )?(afraid of )?([a-z]+)", text):
        return _of_a_kind(match[1], not match[2], bool(match[3]), match[4])
    return None


def _of_a_kind(kinds: str, holds: bool, afraid: bool, what: str) -> Rule | None:
    kind, other = _singular(kinds), _singular(what)
    if kind is None or (afraid and other is None):
        return None
    verb = "is afraid of" if afraid else "is a" if other else "is"
    return Rule((Literal(ANYONE, "is a", kind),), Literal(ANYONE, verb, other or what, holds))


def _literal(text: str, follows: bool = False) -> Literal | None:
    """A fact, or a clause of a rule. `follows`: "green" and "not green" may go on from the clause before."""
    if match := re.fullmatch(rf"({_THING}) (?:is|are) (not )?afraid of ([a-z]+)", text):
        return Literal(_subject(match[1]), "is afraid of", _singular(match[3]) or match[3], not match[2])
    if match := re.fullmatch(rf"({_THING}) (?:is|are) (not )?(an? )?([a-z]+)", text):
        return Literal(_subject(match[1]), "is a" if match[3] else "is", match[4], not match[2])
    if match := re.fullmatch(rf"({_THING}) (?:does|do) not ([a-z]+) (the [a-z]+(?: [a-z]+)?)", text):
        return Literal(_subject(match[1]), match[2], match[3], False)
    if match := re.fullmatch(rf"({_THING}) ([a-z]+) (the [a-z]+(?: [a-z]+)?)", text):
        return Literal(_subject(match[1]), match[2].removesuffix("s"), match[3])
    if follows and (match := re.fullmatch(r"(not )?([a-z]+)", text)):
        return Literal(ANYONE, "is", match[2], not match[1])
    return None


def _subject(words: str) -> str:
    return ANYONE if words in _PRONOUNS else words
