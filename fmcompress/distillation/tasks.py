"""The tasks that are known: how raw records become inputs and labels, and when an answer is right."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from ..errors import ConfigError
from .arithmetic import equal_values, evaluate
from .examples import Example

Form = Literal["choice", "expression", "number", "text"]
Record = Mapping[str, Any]
NO_VALUE, NO_LABEL, NO_CHOICE = FLAWS = ("no value", "none of the labels", "none of the choices")
NLI_LABELS = ("entailment", "neutral", "contradiction")
LETTERS = "abcdefghij"  # of choices
_CALCULATION = re.compile(r"<<[^<>]*>>")  # what GSM8K's solutions hand to a calculator
_CHOICE = re.compile(r"^\([a-z]\) (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Task:
    """One kind of question.

    name     of TASKS
    form     what an answer is: "choice", a text that the input lists; "expression", such as ( 84.0 / 2.0 ), or
             "number", both compared by their values; "text", compared to the letter
    convert  an Example of a raw record, without a split; None of one that has no gold label
    labels   all that there are, if they are known
    ends     what a teacher goes on with where it invents a further question
    family   of an input, what is the same in all that must not be parted by a split: the input itself, or its premise
    """

    name: str
    form: Form
    convert: Callable[[Record], Example | None]
    labels: tuple[str, ...] = ()
    ends: tuple[str, ...] = ("Q:",)
    family: Callable[[str], str] = str

    def right(self, answer: str, label: str) -> bool:
        """Whether an answer is the label: the same value, or the same text but for space around it.

        What has no value is never right, not even beside its like.
        """
        if self.form in ("choice", "text"):
            return answer.strip() == label.strip()
        try:
            return equal_values(evaluate(_bare(answer)), evaluate(_bare(label)))
        except ValueError:
            return False

    def flaw(self, answer: str, asked: str) -> str | None:
        """Why an answer to this input cannot be right whatever the label is; None if it can."""
        if self.form in ("expression", "number"):
            try:
                evaluate(_bare(answer))
            except ValueError:
                return NO_VALUE
            return None
        if self.labels:
            return None if answer in self.labels else NO_LABEL
        choices = choices_of(asked) if self.form == "choice" else []
        return NO_CHOICE if choices and answer not in choices else None

    def example(self, record: Record, where: str) -> Example | None:
        """An Example of a raw record; None of one without a gold label. Raises ConfigError, with where, for others."""
        try:
            return self.convert(record)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            told = f"lacks {error}" if isinstance(error, KeyError) else f"has {error}"
            raise ConfigError(f"{where}: is no record of task {self.name}: {told}.") from None


def task(name: str) -> Task:
    """The task of this name. Raises ConfigError for a name that is none."""
    if name not in TASKS:
        raise ConfigError(f"task: expected one of {', '.join(TASKS)}, got {name!r}.")
    return TASKS[name]


def choices_of(asked: str) -> list[str]:
    """The choices that an input lists, as "(a) ..." lines behind "Answer Choices:"."""
    return _CHOICE.findall(asked.partition("Answer Choices:\n")[2])


def _bare(number: str) -> str:
    return number.strip().removeprefix("$")


def _premise(asked: str) -> str:
    return asked.partition("\n")[0]


def _plain(record: Record) -> Example | None:
    """A record that is an Example already. Without a label it is kept: a teacher may give one."""
    given = {name: _text(record, name) for name in ("label", "rationale") if record.get(name) is not None}
    return Example(_text(record, "input"), **given)


def _cqa(record: Record) -> Example | None:
    choices = [str(one) for one in record["choices"]]
    if isinstance(record["choices"], str) or len(choices) > len(LETTERS):
        raise ValueError(f"no list of up to {len(LETTERS)} choices")
    lines = [f"({letter}) {choice}" for letter, choice in zip(LETTERS, choices, strict=False)]
    return Example("\n".join([_text(record, "question"), "Answer Choices:", *lines]), _text(record, "answer"))


def _svamp(record: Record) -> Example | None:
    if "input" in record:  # as the data of distilling step-by-step have it
        return _plain(record)
    return Example(f"{_text(record, 'Body')}\n{_text(record, 'Question')}", _text(record, "Equation"))


def _esnli(record: Record) -> Example | None:
    if record["label"] not in NLI_LABELS:  # "-" where SNLI's annotators did not agree
        return None
    asked = f"Premise: {_text(record, 'premise')}\nHypothesis: {_text(record, 'hypothesis')}"
    return Example(asked, record["label"], (record.get("explanation_1") or "").strip() or None)


def _gsm8k(record: Record) -> Example | None:
    solution, _, label = _text(record, "answer").partition("####")
    if not label.strip():
        raise ValueError('an answer without "####"')
    return Example(_text(record, "question"), label.strip().replace(",", ""), _CALCULATION.sub("", solution).strip())


def _text(record: Record, name: str) -> str:
    if not isinstance(record[name], str):
        raise TypeError(f"no text as {name!r}")
    return str(record[name]).strip()


TASKS = {
    one.name: one
    for one in (
        Task("cqa", "choice", _cqa),
        Task("svamp", "expression", _svamp),
        Task("esnli", "text", _esnli, NLI_LABELS, ("Premise:", "Q:"), _premise),
        Task("gsm8k", "number", _gsm8k),
        Task("text", "text", _plain),
        Task("number", "number", _plain),
    )
}
