"""Generated problems of forward chaining, with gold proofs; of chains no word gives the answer away."""

from collections.abc import Iterator, Sequence
from itertools import cycle, islice, pairwise, product
from random import Random

from ..errors import ConfigError
from .english import ANYONE, FALSE, TRUE, Literal, ask, plural, say
from .induction import induced
from .problem import UNKNOWN, Problem
from .rules import Theory
from .words import ANIMALS, ATTRIBUTES, COLOURS, FICTIONAL, NAMES

ANSWERS = (TRUE, FALSE, UNKNOWN)
CHAINED = ("ontology", "attributes")  # of any depth
OF_ONE_STEP = ("fears", "colours")  # as bAbI's tasks 15 and 16
FAMILIES = (*CHAINED, *OF_ONE_STEP)


def generate(
    count: int,
    *,
    seed: int,
    families: Sequence[str] = FAMILIES,
    depths: Sequence[int] = (1, 2, 3, 4, 5),
    pairs: float = 0.25,
) -> list[Problem]:
    """Problems of all families, depths and answers, in turns of a drawn order; equal seeds give equal problems.

    depths  steps of the shortest proof; where nothing follows, those of the longest derivation about the subject.
            Families of one step leave them out of account.
    pairs   share of the places in a chain whose rule has a second condition ("attributes"), or beside whose rule there
            is another that leads nowhere ("ontology")

    Raises ConfigError for a family that there is not, a depth below 1 or above 6, or pairs outside [0, 1].
    """
    if wrong := [one for one in families if one not in FAMILIES]:
        raise ConfigError(f"family: expected one of {', '.join(FAMILIES)}, got {wrong[0]!r}.")
    if not families or not depths or min(depths) < 1 or max(depths) > 6:
        raise ConfigError(f"depths: expected some from 1 to 6, got {list(depths)}, and families, got {list(families)}.")
    if not 0 <= pairs <= 1:
        raise ConfigError(f"pairs: expected a share from 0 to 1, got {pairs}.")
    every = list(product(ANSWERS, depths, families))
    kinds = islice(cycle(Random(f"{seed}").sample(every, len(every))), count)
    return [_problem(*kind, pairs, Random(f"{seed}/{number}"), f"{number}") for number, kind in enumerate(kinds)]


def _problem(answer: str, depth: int, family: str, pairs: float, random: Random, name: str) -> Problem:
    if family == "fears":
        return _fears(random, f"fears-{name}")
    if family == "colours":
        return _colours(random, f"colours-{name}")
    return _chained(family, depth, answer, pairs, random, f"{family}-{depth}-{name}")


def _chained(family: str, depth: int, answer: str, pairs: float, random: Random, name: str) -> Problem:
    """Three chains of equal form about three subjects; their ends are an attribute, its denial and another attribute.

    Which of them is the chain of the one who is asked about is the answer. All else is the same, so that neither
    words nor their numbers tell: only what follows from what does.
    """
    attributes = iter(random.sample(ATTRIBUTES, len(ATTRIBUTES)))
    target, other = next(attributes), next(attributes)
    holds = random.random() < 0.5
    ends = {
        TRUE: Literal(ANYONE, "is", target, holds),
        FALSE: Literal(ANYONE, "is", target, not holds),
        UNKNOWN: Literal(ANYONE, "is", other, random.random() < 0.5),
    }
    subjects = dict(zip(ANSWERS, random.sample(NAMES, 3), strict=True))
    kinds = iter(random.sample(FICTIONAL, len(FICTIONAL)))
    links = _ontology if family == "ontology" else _attributes
    paired = [random.random() < pairs for _ in range(depth)]  # places of rules that have a second condition
    context = []
    for one in ANSWERS:
        context += links(subjects[one], ends[one], paired, kinds, attributes, random)
    random.shuffle(context)
    asked = Literal(subjects[answer], "is", target, holds)
    proof = Theory(context).proof(asked if answer == TRUE else asked.denied())
    return Problem(
        tuple(context), ask(asked), answer, ANSWERS, None if proof is None else len(proof), proof or (), name
    )


def _ontology(
    subject: str, end: Literal, paired: Sequence[bool], kinds: Iterator[str], attributes: Iterator[str], random: Random
) -> list[str]:
    """One chain: the subject's kind, kinds of kinds, and the last one's attribute; some have another besides."""
    own = [next(kinds) for _ in paired]
    said = [say(Literal(subject, "is a", own[0]))]
    for kind, above in pairwise(own):
        said.append(_of_kind(kind, Literal(ANYONE, "is a", above), random))
    said.append(_of_kind(own[-1], end, random))
    aside = [kind for kind, has in zip(own, paired, strict=True) if has]
    return said + [_of_kind(kind, Literal(ANYONE, "is", next(attributes)), random) for kind in aside]


def _of_kind(kind: str, end: Literal, random: Random) -> str:
    if random.random() < 0.5:
        return say(Literal(f"{random.choice(('each', 'every'))} {kind}", end.verb, end.what, end.holds))
    no = "" if end.holds else "not "
    return f"{plural(kind).capitalize()} are {no}{plural(end.what) if end.verb == 'is a' else end.what}."


def _attributes(
    subject: str, end: Literal, paired: Sequence[bool], kinds: Iterator[str], attributes: Iterator[str], random: Random
) -> list[str]:
    """One chain: the subject's attribute, and rules from one attribute to the next; some need a stated one besides."""
    now = next(attributes)
    said = [say(Literal(subject, "is", now))]
    for place, with_another in enumerate(paired, 1):
        conditions = [now]
        if with_another:
            conditions.append(next(attributes))
            said.append(say(Literal(subject, "is", conditions[-1])))
        after = end if place == len(paired) else Literal(ANYONE, "is", next(attributes))
        said.append(_of_attributes(conditions, after, random))
        now = after.what
    return said


def _of_attributes(conditions: Sequence[str], end: Literal, random: Random) -> str:
    what = end.what if end.holds else f"not {end.what}"
    if random.random() < 0.5:
        return f"If someone is {' and '.join(conditions)} then they are {what}."
    return f"{', '.join(conditions).capitalize()} {random.choice(('things', 'people'))} are {what}."


def _fears(random: Random, name: str) -> Problem:
    """As bAbI's task 15: who is of which kind, and which kind is afraid of which.

    As there, several kinds may fear the same one: to name the most feared is right in half (there in 55 %).
    """
    kinds = random.sample(ANIMALS, 4)
    fears = [random.choice([other for other in kinds if other != kind]) for kind in kinds]
    whose = {one: random.choice(kinds) for one in random.sample(NAMES, 4)}
    context = [
        f"{plural(kind).capitalize()} are afraid of {plural(of)}." for kind, of in zip(kinds, fears, strict=True)
    ]
    context += [say(Literal(one, "is a", kind)) for one, kind in whose.items()]
    random.shuffle(context)
    subject = random.choice(list(whose))
    feared = fears[kinds.index(whose[subject])]
    proof = Theory(context).proof(Literal(subject, "is afraid of", feared))
    return Problem(tuple(context), f"What is {subject.capitalize()} afraid of?", feared, (), 1, proof, name)


def _colours(random: Random, name: str) -> Problem:
    """As bAbI's task 16: the colour of one whose kind is known, from others of that kind; one in ten differs.

    Of the kind that is asked for there are as many as of another, so that the commonest colour is no good guess.
    """
    subject, *others = random.sample(NAMES, 5)
    kinds = random.sample(ANIMALS, 3)
    alike = random.choice((1, 2))
    whose = [kinds[0]] * alike + [kinds[1]] * alike + [kinds[2]] * (4 - 2 * alike)
    colours = dict(zip(kinds, random.sample(COLOURS, 3), strict=True))
    pairs = list(zip(others, whose, strict=True))
    random.shuffle(pairs)
    stated = [say(Literal(one, "is a", kind)) for one, kind in pairs]
    shown = [say(Literal(one, "is", colours[kind] if random.random() < 0.9 else random.choice(COLOURS)))
             for one, kind in pairs]  # fmt: skip
    context = _interleaved(stated, shown, say(Literal(subject, "is a", kinds[0])), random)
    asked = Literal(subject, "is", ANYONE)
    step = induced(context, asked)
    assert step is not None  # at least one is of that kind
    question = f"What color is {subject.capitalize()}?"
    (answer,) = (fact.what for fact in Theory([step.inference]).facts)
    return Problem(tuple(context), question, answer, (), 1, (step,), name)


def _interleaved(kinds: Sequence[str], colours: Sequence[str], asked: str, random: Random) -> list[str]:
    """A kind before its colour, and the one who is asked about anywhere."""
    places = sorted(range(len(kinds)), key=lambda _: random.random())
    said: list[str] = []
    waiting: list[str] = []
    for place in places:
        said.append(kinds[place])
        waiting.append(colours[place])
        while waiting and random.random() < 0.5:
            said.append(waiting.pop(0))
    said += waiting
    said.insert(random.randint(0, len(said)), asked)
    return said
