"""A paragraph's sentences, by rules for English that also know the full stops of other scripts."""

import re


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


NEVER_LAST = _words("mr mrs ms mx dr prof rev gen sen gov capt lt col sgt mt vs e.g i.e cf approx ca")
BEFORE_NUMBERS = _words("no nos fig figs vol ch sec p pp ed art")
MAY_BE_LAST = _words("etc inc ltd co corp jr sr a.m p.m ph.d b.c a.d dept est al st ave blvd ft oz lb")
# Behind "U.S.", "p.m." or an initial only such a word begins a sentence: "the U.S. Army" goes on, "the U.S. The" not.
BEGINNERS = _words(
    "the a an it its he she they we you i there this that these those his her their our my in on at behind above "
    "below beside under near next to from with and but so however then while when where what who is are"
)
_DOTTED = re.compile(r"(?:\w\.)*\w", re.UNICODE)
_STOP = re.compile(r"""([.!?…]+)(["'”’»)\]]*)\s+|([。！？]+[」』”’）]*)\s*|\n\s*\n\s*""")


def split_sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph in their order, without white space around them; [] of an empty one.

    A sentence ends at `.`, `!`, `?` or `…` and white space, at `。`, `！` or `？`, at an empty line, and at the end.
    It does not end at a title or an abbreviation, an initial, a decimal, inside of quotes that a small letter follows
    (“Stop!” she said), or at dots that one follows. Nothing but white space between sentences is lost.
    """
    found, begin = [], 0
    for stop in _STOP.finditer(paragraph):
        if _ends(paragraph[begin : stop.start()], stop, paragraph[stop.end() :]):
            found.append(paragraph[begin : stop.end()].strip())
            begin = stop.end()
    found.append(paragraph[begin:].strip())
    return [sentence for sentence in found if sentence]


def _ends(before: str, stop: re.Match[str], after: str) -> bool:
    """Whether a sentence ends at a stop, by the words around it."""
    marks, closing = stop.group(1), stop.group(2)
    if marks is None or not after:
        return True
    small = after.lstrip("\"'“‘«([")[:1].islower()
    if marks != "." and "." not in marks and "…" not in marks:
        return not (closing and small)
    if len(marks) > 1 or "…" in marks or closing:
        return not small
    word = (before.split() or [""])[-1].lstrip("\"'“‘«([")
    lower = word.casefold()
    if lower in NEVER_LAST:
        return False
    if lower in BEFORE_NUMBERS and after[:1].isdigit():
        return False
    if not before.strip() or (word.isdigit() and before.strip() == word):
        return False  # "1. The cat": the number of a list
    one_letter = _DOTTED.fullmatch(word) is not None and not word[-1:].isdigit()
    if lower in MAY_BE_LAST or (one_letter and word != "I"):
        return re.split(r"\W", after.lstrip("\"'“‘«(["), maxsplit=1)[0].casefold() in BEGINNERS and not small
    return True
