"""The four verdicts on a task, from the easiest to the hardest."""

from collections.abc import Iterable

ONE_PROMPT, SEVERAL, FINE_TUNING, NOTHING = VERDICTS = ("one prompt", "k prompts", "fine-tuning", "nothing")


def hardest(verdicts: Iterable[str]) -> str:
    """The verdict on several tasks at once."""
    return max(verdicts, key=VERDICTS.index)


def count(number: int, word: str) -> str:
    """1 prompt, 2 prompts."""
    return f"{number} {word}{'' if number == 1 else 's'}"


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names in quotes, the first few of many."""
    names = list(names)
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(map(repr, names[:most])) + more
