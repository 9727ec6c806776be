"""Seeded word problems in several steps, and a simulated teacher who explains them and slips now and then."""

import random

from fmcompress.distillation.completions import with_teacher
from fmcompress.distillation.examples import Example
from fmcompress.distillation.tasks import task

NAMES = ("Ann", "Ben", "Cem", "Dora", "Emil", "Fay", "Gus", "Hana")
THINGS = ("apples", "books", "coins", "stamps", "shells", "pens")
GAINS = ("finds {} more", "buys {} new ones", "is given {}", "picks up another {}")
LOSSES = ("loses {}", "gives away {}", "sells {} of them", "drops {}")
LARGEST = 9  # so that every number is one token
SLIP, SILENT = 0.2, 0.03  # shares of problems that the teacher gets wrong, and of those that it does not answer


def problems(count: int, seed: int, split: str, *, slip: float = SLIP) -> list[Example]:
    """Word problems with the right answer and what the simulated teacher said. No input comes twice."""
    generator, found = random.Random(f"{split} {seed}"), dict[str, Example]()
    while len(found) < count:
        one = problem(generator, split, slip)
        found.setdefault(one.input, one)
    return list(found.values())


def problem(generator: random.Random, split: str, slip: float) -> Example:
    """A problem of one to three steps, among which something may happen to somebody else, which does not matter."""
    name, other = generator.sample(NAMES, 2)
    thing = generator.choice(THINGS)
    start = have = generator.randint(1, LARGEST)
    changes = []
    sentences = [f"{name} has {start} {thing}."]
    for _ in range(generator.randint(1, 3)):
        change, words = _step(generator, have)
        changes.append(change)
        sentences.append(f"{name} {words}.")
        have += change
    if generator.random() < 0.5:
        _, words = _step(generator, LARGEST // 2)
        sentences.insert(generator.randint(0, len(sentences)), f"{other} {words}.")
    asked = " ".join([*sentences, f"How many {thing} does {name} have?"])
    completion = teacher_says(generator, name, start, changes, slip)
    return with_teacher(Example(asked, expression(start, changes), split=split, completion=completion), task("svamp"))


def expression(start: int, changes: list[int]) -> str:
    """What is to be computed, such as ( ( 7 + 5 ) - 3 )."""
    told = str(start)
    for change in changes:
        told = f"( {told} {'+' if change > 0 else '-'} {abs(change)} )"
    return told


def teacher_says(generator: random.Random, name: str, start: int, changes: list[int], slip: float) -> str:
    """The simulated teacher: right, but for a slip in one step with which it goes on, or for no answer at all."""
    meant = list(changes)
    if generator.random() < slip:
        place = generator.randrange(len(meant))
        meant[place] = generator.choice((-meant[place], meant[place] + 1))
    have, told = start, [f"{name} begins with {start}."]
    for change in meant:
        told.append(f"{have} {'+' if change > 0 else '-'} {abs(change)} = {have + change}.")
        have += change
    if generator.random() < SILENT:
        return " ".join(told)
    return f"{' '.join(told)} The answer is {expression(start, meant)}.\n\nQ: {name} has"


def _step(generator: random.Random, have: int) -> tuple[int, str]:
    """A change that leaves something and at most LARGEST, and words for it."""
    gains = have < 2 or (have < LARGEST and generator.random() < 0.5)
    amount = generator.randint(1, LARGEST - have if gains else have - 1)
    return (amount if gains else -amount), generator.choice(GAINS if gains else LOSSES).format(amount)
