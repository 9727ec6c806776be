"""The symbolic checker: whether an inference follows from its selection, and from nothing else."""

from collections.abc import Sequence

from ..errors import ConfigError
from .english import Literal, parse
from .induction import examples
from .rules import Theory


def follows(selection: Sequence[str], inference: str) -> bool:
    """Whether one application of a rule, or one induction from an example, leads from the selection to the inference.

    A selected fact follows as well: to say it again draws nothing new, and nothing wrong. False for sentences that are
    not in controlled English.
    """
    try:
        parsed, drawn = [parse(sentence) for sentence in selection], parse(inference)
        theory = Theory(selection)
    except ConfigError:
        return False
    return isinstance(drawn, Literal) and (theory.heights.get(drawn, 2) <= 1 or drawn in examples(parsed))
