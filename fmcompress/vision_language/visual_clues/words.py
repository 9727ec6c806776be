"""Base forms of English words, by rules and exceptions: "cups" is "cup", "stands on" is "stand on"."""

IRREGULAR = {
    "men": "man", "women": "woman", "people": "person", "children": "child", "feet": "foot", "teeth": "tooth",
    "mice": "mouse", "geese": "goose", "oxen": "ox", "leaves": "leaf", "loaves": "loaf", "knives": "knife",
    "wolves": "wolf", "shelves": "shelf", "halves": "half", "lives": "life", "scarves": "scarf", "wives": "wife",
    "calves": "calf", "hooves": "hoof", "potatoes": "potato", "tomatoes": "tomato", "heroes": "hero",
    "skies": "sky", "movies": "movie", "cookies": "cookie", "ties": "tie", "pies": "pie", "shoes": "shoe",
    "axes": "axe", "dice": "die", "buses": "bus", "gases": "gas",
}  # fmt: skip
_UNCHANGED = (
    "grass glass dress moss bus gas lens canvas cactus octopus campus compass mattress business series species jeans "
    "pants trousers shorts scissors glasses binoculars sheep deer fish aircraft spacecraft news stairs us is his this "
    "its was has plus tennis less iris"
)
SAME_IN_PLURAL = frozenset(_UNCHANGED.split())
_BASES = (
    "stand sit lie lay hold wear carry look watch face ride walk run fly swim jump play eat drink hang rest "
    "lean surround cover contain show display fill touch cross follow pull push drive park grow float sleep "
    "smile stare gaze point reach rise shine glow reflect hide cast block support use operate film photograph "
    "enter leave climb throw catch kick hit cut cook serve pour attach mount decorate illuminate overlook lead "
    "stretch spread scatter stack pile write draw print paint read have bend crouch kneel appear hover spin "
    "include feature"
)
_PAST = {
    "stood": "stand", "sat": "sit", "lay": "lie", "lain": "lie", "laid": "lay", "held": "hold", "wore": "wear",
    "worn": "wear", "rode": "ride", "ridden": "ride", "ran": "run", "flew": "fly", "flown": "fly", "swam": "swim",
    "ate": "eat", "eaten": "eat", "drank": "drink", "hung": "hang", "drove": "drive", "driven": "drive",
    "grew": "grow", "grown": "grow", "slept": "sleep", "rose": "rise", "shone": "shine", "hid": "hide",
    "hidden": "hide", "left": "leave", "threw": "throw", "thrown": "throw", "caught": "catch", "led": "lead",
    "wrote": "write", "written": "write", "drew": "draw", "drawn": "draw", "shown": "show", "had": "have",
    "has": "have", "bent": "bend", "knelt": "kneel", "lit": "light", "spun": "spin", "lying": "lie", "cast": "cast",
}  # fmt: skip


def _forms(base: str) -> list[str]:
    """The regular forms of a verb: -s, -ing and -ed."""
    if base.endswith("y") and base[-2] not in "aeiou":
        return [base, f"{base[:-1]}ies", f"{base}ing", f"{base[:-1]}ied"]
    third = f"{base}es" if base.endswith(("s", "sh", "ch", "x")) else f"{base}s"
    stem = base[:-1] if base.endswith("e") else base
    if base in ("sit", "run", "swim", "cut", "hit", "spin", "jog", "stop"):
        stem += base[-1]
    return [base, third, f"{stem}ing", f"{stem}ed"]


# every form of the verbs that are known, with its base
VERBS = {form: base for base in _BASES.split() for form in _forms(base)} | _PAST


def singular(word: str) -> str:
    """The singular of a noun, by its ending; a word that is none comes back as it is."""
    word = word.casefold()
    if word in IRREGULAR:
        return IRREGULAR[word]
    if word in SAME_IN_PLURAL or len(word) < 4 or word.endswith(("ss", "us", "is", "'s")):
        return word
    if word.endswith("ies"):
        return f"{word[:-3]}y"
    if word.endswith(("shes", "ches", "sses", "xes", "zzes")):
        return word[:-2]
    return word[:-1] if word.endswith("s") else word


def lemma_of_object(words: str) -> str:
    """An object's name in small letters with single spaces, its last word in the singular: "Space  Shuttles"."""
    parts = words.casefold().split()
    return " ".join([*parts[:-1], singular(parts[-1])]) if parts else ""


def lemma_of_attribute(words: str) -> str:
    """An attribute in small letters with single spaces; a verb in its base form ("smiling", "smiles")."""
    parts = words.casefold().split()
    return VERBS.get(parts[0], parts[0]) if len(parts) == 1 else " ".join(parts)


def lemma_of_relation(words: str) -> str:
    """A relation in small letters with single spaces, without "is", a verb that leads it in its base form."""
    parts = words.casefold().split()
    while len(parts) > 1 and parts[0] in ("is", "are", "be", "was", "were"):
        parts = parts[1:]
    return " ".join([VERBS.get(parts[0], parts[0]), *parts[1:]]) if parts else ""
