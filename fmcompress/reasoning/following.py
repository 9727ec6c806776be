"""The symbolic checker: whether an inference follows from its selection, and from nothing else."""

from collections.abc import Sequence

from ..errors import ConfigError
from .english import Literal, parse
from .induction import is_example
from .rules import Theory


def follows(selection: Sequence[str], inference: str) -> bool:
    """Whether one application of a rule, or one induction from an example, leads from the selection to the inference.

    False as well for sentences that are not in controlled English, and for an inference that was selected.
    """
    try:
        parsed, drawn = [parse(sentence) for sentence in selection], parse(inference)
        theory = Theory(selection)
    except ConfigError:
        return False
    if not isinstance(drawn, Literal) or drawn in theory.facts:
        return False
    return theory.heights.get(drawn) == 1 or is_example(parsed, drawn)
