"""A scene graph from a text by a few rules for English: no model, no dictionary, nothing to download."""

from collections.abc import Iterable

from .chunks import Chunk, Chunker
from .grammar import ADJECTIVES, CONTAINERS, PLACES
from .scene_graph import SceneGraph, SceneGraphParser
from .sentences import split_sentences

_OF_THE_NEAREST = ("of", "with", "made of", "full of")
_AT = [Chunk("preposition", word) for word in ("in", "at", "on", "of")]


class RuleParser:
    """Finds objects, attributes and relations in simple sentences, as captions have them.

    adjectives  words to take for adjectives, beside the list and the endings that are known
    nouns       words to take for nouns where they could be something else, such as "light"

    A run of words that are no function words is a noun phrase: its last words are the object ("space shuttle"), what
    stands before them and is known as an adjective is its attribute. "is red and round" are attributes. Prepositions
    and known verbs between two noun phrases are relations, to each of a list; "it" stands for the subject of the
    sentence before, "which" for the noun before. A verb without an object is an attribute ("the woman smiles"), and
    "a photo of a cat" is a cat; "in the upper left" is no object. What is negated is left out.

    What it does not do: see adjectives or verbs that it does not know (they become part of a name), count, choose among
    several things that "it" may be, or know what a phrase at the end belongs to: it takes the clause's subject, but
    behind "of" and "with" the noun before.
    """

    def __init__(self, adjectives: Iterable[str] = (), nouns: Iterable[str] = ()) -> None:
        own = frozenset(word.casefold() for word in nouns)
        self._chunker = Chunker((ADJECTIVES | {word.casefold() for word in adjectives}) - own, own)

    def parse(self, text: str) -> SceneGraph:
        """See SceneGraphParser.parse: every sentence in turn; all words in small letters, objects in the singular."""
        reading = _Reading()
        for sentence in split_sentences(text):
            reading.sentence(_of_the_scene(self._chunker.cut(sentence)))
        return SceneGraph(
            tuple(dict.fromkeys(reading.objects)),
            tuple(dict.fromkeys(reading.attributes)),
            tuple(dict.fromkeys(reading.relations)),
        )


def _of_the_scene(chunks: list[Chunk]) -> list[Chunk]:
    """The chunks without what tells of the picture: "a photo of", "in the upper left", "of the image"."""
    found: list[Chunk] = []
    for chunk in chunks:
        last = found[-1] if found else Chunk("")
        photo = chunk == Chunk("preposition", "of") and last.kind == "noun" and last.text in CONTAINERS
        place = chunk.kind == "noun" and (chunk.text.split()[-1] in PLACES or chunk.text in CONTAINERS)
        if photo or (place and last in _AT):
            found.pop()
        else:
            found.append(chunk)
    return found


class _Reading:
    """What has been read of a text, and what the next words would belong to."""

    def __init__(self) -> None:
        self.objects: list[str] = []
        self.attributes: list[tuple[str, str]] = []
        self.relations: list[tuple[str, str, str]] = []
        self.topic: list[str] = []  # what "it" is

    def sentence(self, chunks: list[Chunk]) -> None:
        """Read a sentence."""
        self._clause()
        self.first_subject: list[str] = []
        for place, chunk in enumerate(chunks):
            self.following = next((c.kind for c in chunks[place + 1 :] if c.kind != "not"), "")
            getattr(self, f"_{chunk.kind}")(chunk)
            self.before = chunk.kind
        self._finish_verb()
        self.topic = self.first_subject or self.topic

    def _clause(self) -> None:
        self.subjects: list[str] = []
        self.last: list[str] = []  # the noun before
        self.verb, self.relation, self.of = "", "", [""]  # what waits for its object, and whose it is
        self.listed: tuple[list[str], str] | None = None  # the relation that a list goes on with
        self.fronted: list[tuple[str, str]] = []  # (preposition, noun) before any subject
        self.negated, self.after_be, self.before = False, False, ""
        self.predicated = False  # something was said of the subject

    def _noun(self, chunk: Chunk) -> None:
        if self.negated:
            self.negated, self.verb, self.relation, self.listed = False, "", "", None
            return
        self.objects.append(chunk.text)
        self.attributes += [(chunk.text, word) for word in chunk.attributes]
        self._named([chunk.text])

    def _named(self, names: list[str]) -> None:
        """Something with a name stands here: as a relation's object, in a list, or as a subject."""
        words = " ".join(filter(None, (self.verb, self.relation)))
        begins = self.predicated and self.before == "joining" and self.following in ("verb", "be")
        if words and self.of:
            self._relate(self.of, words, names)
            self.listed = (self.of, words)
            if words == "have" and self.relation and self.subjects == self.of:  # "the woman's suit is …"
                self.first_subject = names if self.first_subject == self.of else self.first_subject
                self.subjects, self.listed = names, None
        elif words and self.relation:
            self.fronted += [(words, name) for name in names]
        elif self.listed and self.before == "joining" and not begins:
            self._relate(*self.listed, names)
        elif not self.subjects or begins or not (self.after_be or self.before == "joining"):
            self._subject(names)
        elif not self.after_be:
            self.subjects = [*self.subjects, *names]
        if not (words and self.relation and not self.of):
            self.last = names
        if not (words and not self.of and not self.relation):
            self.verb = self.relation = ""

    def _subject(self, names: list[str]) -> None:
        self.subjects, self.listed, self.after_be, self.predicated = names, None, False, False
        self.first_subject = self.first_subject or names
        for words, name in self.fronted:
            self._relate(names, " ".join(filter(None, (self.verb, words))), [name])
        if self.verb and not self.fronted:
            self.of = names
            self._finish_verb()
        self.fronted, self.verb = [], ""

    def _relate(self, subjects: list[str], words: str, names: list[str]) -> None:
        self.relations += [(subject, words, name) for subject in subjects for name in names if subject != name]

    def _verb(self, chunk: Chunk) -> None:
        self._finish_verb()
        if self.negated:
            return
        self.verb, self.relation, self.of, self.listed = chunk.text, "", self.subjects or self.last, None
        self.predicated = True

    def _preposition(self, chunk: Chunk) -> None:
        nearest = chunk.text in _OF_THE_NEAREST and self.last
        if self.before != "verb":
            self._finish_verb()
            self.of = self.last if nearest or chunk.text == "have" else self.subjects or self.last
        self.relation = chunk.text

    def _be(self, _: Chunk) -> None:
        self._finish_verb()
        self.after_be, self.listed, self.relation, self.predicated = True, None, "", bool(self.subjects)

    def _adjectives(self, chunk: Chunk) -> None:
        if not self.negated:
            self.attributes += [(name, word) for name in self.subjects or self.last for word in chunk.attributes]
        self.negated = False

    def _pronoun(self, chunk: Chunk) -> None:
        if chunk.text != "there" and self.topic:
            self._named(self.topic)

    def _relative(self, _: Chunk) -> None:
        self._finish_verb()
        self.subjects, self.after_be, self.listed = self.last, False, None

    def _joining(self, chunk: Chunk) -> None:
        self._finish_verb()
        if chunk.text == "but":
            self.negated = False

    def _not(self, _: Chunk) -> None:
        self.negated = True

    def _stop(self, _: Chunk) -> None:
        self._finish_verb()
        self._clause()

    def _finish_verb(self) -> None:
        """A verb that gets no object says how its subject is."""
        if self.verb and not self.relation and self.verb != "have":
            self.attributes += [(name, self.verb) for name in self.of if name]
            self.verb = ""


def parse_graph(text: str, parser: SceneGraphParser | None = None) -> SceneGraph:
    """The scene graph of a text, by our rules if no other parser is given."""
    return (parser or RuleParser()).parse(text)
