"""A forward chainer in an open world: what follows from statements, in how many steps, and by which proof."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from .english import ANYONE, Literal, Rule, parse, say
from .problem import Step


@dataclass(frozen=True)
class Application:
    """A rule applied to somebody: its conditions, in the rule's order, and what follows."""

    conditions: tuple[Literal, ...]
    rule: int  # the number of its statement
    conclusion: Literal


class Theory:
    """Statements in controlled English, and all that follows from them.

    What neither follows nor is denied is unknown. A denial is a fact like any other: it has to be stated or derived.

    Raises ConfigError for a statement of another form.
    """

    def __init__(self, statements: Sequence[str]) -> None:
        self.size = len(statements)
        self.facts: dict[Literal, int] = {}  # with the number of the statement that says it first
        self.rules: list[tuple[int, Rule]] = []
        for number, statement in enumerate(statements):
            parsed = parse(statement)
            if isinstance(parsed, Rule):
                self.rules.append((number, parsed))
            else:
                self.facts.setdefault(parsed, number)

    @cached_property
    def heights(self) -> dict[Literal, int]:
        """Everything known, with the rules that lie above each other in its flattest derivation; facts have 0."""
        heights = dict.fromkeys(self.facts, 0)
        height, new = 0, True
        while new:
            height += 1
            found = {one.conclusion for one in self._applications(heights)} - heights.keys()
            heights |= dict.fromkeys(found, height)
            new = bool(found)
        return heights

    @cached_property
    def ways(self) -> dict[Literal, list[Application]]:
        """All rules that can be applied, by what follows from them."""
        ways = defaultdict(list)
        for one in self._applications(self.heights):
            ways[one.conclusion].append(one)
        return dict(ways)

    def _applications(self, known: Iterable[Literal]) -> list[Application]:
        known = set(known)
        everybody = sorted({fact.subject for fact in known})
        found = []
        for number, rule in self.rules:
            general = any(one.subject == ANYONE for one in (*rule.conditions, rule.conclusion))
            for somebody in everybody if general else [""]:
                conditions = tuple(condition.about(somebody) for condition in rule.conditions)
                if all(condition in known for condition in conditions):
                    found.append(Application(conditions, number, rule.conclusion.about(somebody)))
        return found

    def proof(self, goal: Literal) -> tuple[Step, ...] | None:
        """One with the fewest steps; none for a fact, and None for what does not follow.

        A step's selection is the conditions in the rule's order, then the rule.
        """
        if goal not in self.heights:
            return None
        most = self.heights[goal]
        while (chosen := self._search((goal,), {}, most)) is None:
            most += 1
        return self._steps([goal], chosen)

    def walk(self, subject: str) -> tuple[Step, ...]:
        """All about one subject that something else follows from, and the highest; with what that needs of others.

        These are the steps that are worth a try before it is clear whether they lead to an answer; the flattest first.
        """
        used = {condition for ways in self.ways.values() for way in ways for condition in way.conditions}
        about = sorted((h, say(fact), fact) for fact, h in self.heights.items() if fact.subject == subject and h)
        goals = [fact for h, _, fact in about if fact in used or h == about[-1][0]]
        chosen: dict[Literal, Application] = {}
        for goal in goals:
            self._choose_flattest(goal, chosen)
        return self._steps(goals, chosen)

    def _choose_flattest(self, goal: Literal, chosen: dict[Literal, Application]) -> None:
        if goal in self.facts or goal in chosen:
            return
        chosen[goal] = next(way for way in self.ways[goal] if self._height(way) == self.heights[goal])
        for condition in chosen[goal].conditions:
            self._choose_flattest(condition, chosen)

    def _height(self, way: Application) -> int:
        return 1 + max(self.heights[condition] for condition in way.conditions)

    def _search(
        self, goals: tuple[Literal, ...], chosen: dict[Literal, Application], most: int
    ) -> dict[Literal, Application] | None:
        """An application for every goal and for all that these need, at most `most` of them; None if there are none."""
        goals = tuple(goal for goal in goals if goal not in self.facts and goal not in chosen)
        if len(chosen) + len(goals) > most:
            return None
        if not goals:
            return chosen if _grounded(chosen, self.facts) else None
        for way in self.ways[goals[0]]:
            further = tuple(dict.fromkeys((*goals[1:], *way.conditions)))
            found = self._search(further, {**chosen, goals[0]: way}, most)
            if found is not None:
                return found
        return None

    def _steps(self, goals: Sequence[Literal], chosen: Mapping[Literal, Application]) -> tuple[Step, ...]:
        """The applications in an order in which each finds its conditions known."""
        numbers, steps = dict(self.facts), list[Step]()

        def derive(goal: Literal) -> None:
            if goal not in numbers:
                way = chosen[goal]
                for condition in way.conditions:
                    derive(condition)
                numbers[goal] = self.size + len(steps)
                steps.append(Step((*(numbers[one] for one in way.conditions), way.rule), say(goal)))

        for goal in goals:
            derive(goal)
        return tuple(steps)


def _grounded(chosen: Mapping[Literal, Application], facts: Mapping[Literal, int]) -> bool:
    """Whether no conclusion needs itself."""
    known, open_ = set(facts), dict(chosen)
    while ready := [goal for goal, way in open_.items() if known.issuperset(way.conditions)]:
        known.update(ready)
        for goal in ready:
            del open_[goal]
    return not open_
