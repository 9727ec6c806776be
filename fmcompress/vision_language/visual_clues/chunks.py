"""A sentence cut into noun phrases, verbs, prepositions and what joins them: the rule parser's first half."""

import re
from collections.abc import Set
from dataclasses import dataclass

from . import grammar
from .words import VERBS, lemma_of_object

_TOKEN = re.compile(r"[^\W_]+(?:[-'][^\W_]+)*|[,;:()—]")
_BEFORE_VERB = ("noun", "pronoun", "relative", "be", "adjectives", "joining", "not")


@dataclass(frozen=True)
class Chunk:
    """Words that do one thing.

    kind        noun, adjectives, verb, preposition, be, joining, pronoun, relative, not or stop
    text        a noun's name, a verb's base, a preposition
    attributes  of a noun, or the adjectives
    """

    kind: str
    text: str = ""
    attributes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Chunker:
    """Cuts sentences; words that it does not know are nouns."""

    adjectives: Set[str]
    nouns: Set[str]

    def cut(self, sentence: str) -> list[Chunk]:
        """The chunks of a sentence in order."""
        tokens = _TOKEN.findall(sentence.casefold().replace("’", "'"))
        found: list[Chunk] = []
        at = 0
        while at < len(tokens):
            chunk, length = self._small(tokens, at, found[-1].kind if found else "")
            if chunk is None and length == 0:
                some, length = self._phrase(tokens, at, found)
                found += some
            elif chunk is not None:
                found.append(chunk)
            at += length
        return found

    def _small(self, tokens: list[str], at: int, before: str) -> tuple[Chunk | None, int]:
        """A chunk that is no noun phrase, and its tokens; (None, 0) before a noun phrase, (None, 1) for an adverb."""
        word = tokens[at]
        length = _preposition(tokens, at)
        if length:
            return Chunk("preposition", " ".join(tokens[at : at + length])), length
        following = tokens[at + 1] if at + 1 < len(tokens) else ","
        alone = self._is_function(following) or following in VERBS or bool(_preposition(tokens, at + 1))
        if word in grammar.RELATIVE and before in ("noun", "joining") and alone:
            return Chunk("relative"), 1
        if word in grammar.PRONOUNS or (word in grammar.ALONE and alone):
            return Chunk("pronoun", word), 1
        for kind, words in (
            ("not", grammar.NEGATIONS),
            ("be", grammar.BE),
            ("joining", grammar.JOINING),
            ("stop", grammar.STOPS),
        ):
            if word in words:
                return Chunk(kind, word), 1
        if word in VERBS and before in _BEFORE_VERB and word not in self.nouns:
            return Chunk("verb", VERBS[word]), 1
        return None, int(word in grammar.ADVERBS)

    def _phrase(self, tokens: list[str], at: int, before: list[Chunk]) -> tuple[list[Chunk], int]:
        """A noun phrase with whose it is, or adjectives behind "is", and its tokens."""
        words: list[str] = []
        begin, determined = at, False
        while at < len(tokens):
            word = tokens[at]
            if word in grammar.DETERMINERS and not words and word not in grammar.NEGATIONS:
                determined = True
            elif word == "," and self._goes_on(tokens, at, words):
                pass
            elif self._ends(tokens, at, words, determined):
                break
            elif word not in grammar.ADVERBS:
                words.append(word)
            at += 1
        if not words:
            return [], max(at - begin, 1)
        told = [chunk.kind for chunk in before if chunk.kind not in ("joining", "not")]
        listed = told[-2:] == ["be", "verb"] and before[-1].kind == "joining"  # "is standing and black"
        if (listed or told[-1:] in (["be"], ["adjectives"])) and not determined and all(map(self._is_adjective, words)):
            return [Chunk("adjectives", attributes=tuple(words))], at - begin
        owned = next((place for place, word in enumerate(words[:-1], 1) if word.endswith("'s")), 0)
        chunks = [self._noun(words[owned:])]
        if owned:  # "the woman's suit"
            owner = self._noun([*words[: owned - 1], words[owned - 1][:-2]])
            chunks = [owner, Chunk("preposition", "have"), *chunks]
        return chunks, at - begin

    def _goes_on(self, tokens: list[str], at: int, words: list[str]) -> bool:
        """Whether a comma stands between adjectives: "an old, rusty car"."""
        following = tokens[at + 1] if at + 1 < len(tokens) else ","
        more = not self._is_function(following) and following not in grammar.DETERMINERS
        return bool(words) and all(map(self._is_adjective, words)) and more and not _preposition(tokens, at + 1)

    def _ends(self, tokens: list[str], at: int, words: list[str], determined: bool) -> bool:
        """Whether a noun phrase ends before a token."""
        word = tokens[at]
        if self._is_function(word) or word in grammar.DETERMINERS or _preposition(tokens, at):
            return True
        if word in VERBS and word not in self.nouns and words:
            return not self._is_adjective(words[-1])
        return word in grammar.ADVERBS and bool(words) and not self._is_adjective(words[-1])

    def _noun(self, words: list[str]) -> Chunk:
        first = next((place for place, word in enumerate(words) if not self._is_adjective(word)), len(words) - 1)
        return Chunk("noun", lemma_of_object(" ".join(words[first:])), tuple(words[:first]))

    def _is_adjective(self, word: str) -> bool:
        if word in self.nouns or word in grammar.NOUNS:
            return False
        participle = (word.endswith("ing") and word in VERBS) or (word.endswith("ed") and len(word) > 4)
        return word in self.adjectives or participle or word.endswith(grammar.ADJECTIVE_ENDINGS)

    def _is_function(self, word: str) -> bool:
        return word in grammar.FUNCTION_WORDS


def _preposition(tokens: list[str], at: int) -> int:
    """How many tokens the preposition that begins here has; 0 if none does."""
    return next((n for n in range(grammar.LONGEST, 0, -1) if tuple(tokens[at : at + n]) in grammar.PREPOSITIONS), 0)
