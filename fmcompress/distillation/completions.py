"""A teacher's completion, taken apart into why and what; or the reason why that is not possible."""

import re
from dataclasses import dataclass, replace

from .arithmetic import NUMBER
from .examples import Example
from .tasks import Task

_ANSWER = re.compile(r"\b(?:So the|so the|The|the) answer is\b:?")
_WANTED = {
    "choice": re.compile(r"\(\w\)(.*)", re.DOTALL),  # "(c) wooded area."
    "expression": re.compile(r"^[^(\n]*(\(.*\))", re.MULTILINE),  # "(84 / 2)", from the first parenthesis to the last
    "number": re.compile(rf"([-−]? ?\$? ?(?:{NUMBER}))"),
    "text": re.compile(r"([^\n]*)"),
}
NO_TEXT, NO_ANSWER = "no text", "no answer"  # nothing before a further question; nowhere "the answer is"
_MISSING = {"choice": "no choice", "expression": "no expression", "number": "no number", "text": "no label"}


@dataclass(frozen=True)
class Parsed:
    """Of a completion; rationale and label are None where it has none, and unparsed says why there is no label."""

    rationale: str | None = None
    label: str | None = None
    unparsed: str | None = None


def parse(completion: str, task: Task) -> Parsed:
    """What a completion says, as in "… 84 / 2 = 42. The answer is (84 / 2).", for any text whatever.

    The text is cut where the teacher goes on with a question of its own (`task.ends`). Before the first "the answer is"
    or "So the answer is" stands the rationale. Of what follows, up to another one, the label is
    choice      what stands behind the first (x), without a full stop
    expression  from the first parenthesis of a line to its last
    number      the first number, behind the last = if there is one, without $, commas and a full stop
    text        the first line, without a full stop
    """
    text = completion
    for end in task.ends:
        text = text.partition(end)[0]
    if not text.strip():
        return Parsed(unparsed=NO_TEXT)
    reason, *answers = _ANSWER.split(text)
    if not answers:
        return Parsed(unparsed=NO_ANSWER)
    said = answers[0].strip()
    if task.form == "number":
        said = " ".join(said.rpartition("=")[2].split())  # long runs of space would take hours to search
    found = _WANTED[task.form].search(said)
    label = _clean(found[1], task) if found else ""
    return Parsed(reason.strip() or None, label) if label else Parsed(unparsed=_MISSING[task.form])


def with_teacher(example: Example, task: Task) -> Example:
    """The example with rationale and teacher_label from its completion, in the place of those that it had.

    A label that cannot be right whatever the question is (`Task.flaw`) is treated as one that did not parse. An example
    that has no completion has no rationale afterwards either: what a person wrote is not to be taken for a teacher's.
    """
    if example.completion is None:
        return replace(example, rationale=None, teacher_label=None, unparsed=None)
    found = parse(example.completion, task)
    flaw = None if found.label is None else task.flaw(found.label, example.input)
    if flaw:
        found = Parsed(unparsed=flaw)
    return replace(example, rationale=found.rationale, teacher_label=found.label, unparsed=found.unparsed)


def _clean(label: str, task: Task) -> str:
    label = label.strip()
    if task.form == "number":
        label = re.sub(r"[\s$,]", "", label).replace("−", "-")
    return label if task.form == "expression" else label.removesuffix(".").strip()
