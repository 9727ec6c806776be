"""Stages 2 and 3 of BEST: candidates from a language model, the one most like the image, and its fitting sentences."""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from ...clip.encoders import Encoder
from ...clip.vectors import Matrix
from ...errors import ConfigError, LanguageModelError
from ...language_model import LanguageModel
from .clues import VisualClues
from .description import Candidate, Description
from .prompt import INSTRUCTION, STOP, STORY, STYLES, Example, to_prompt
from .selection import Sentence, cosines, filter_sentences, select, split_sentences

SCORES = ("paragraph", "sentences")
ENDS = (".", "!", "?", "…", "。", "！", "？")


@dataclass(frozen=True)
class Settings:
    """How descriptions are written and chosen.

    candidates   asked for an image; fewer remain, as empty and equal ones go
    temperature, top_p, max_tokens, seed  of the language model
    style, locate, examples, instruction  of the prompt, see to_prompt
    score        of a candidate: of the paragraph as a whole, cut where the encoder's text tower ends; or of its
                 sentences' mean vector, which loses no end
    filtered     leave out sentences below the threshold, repetitions, and a last one that max_tokens has cut
    threshold    a cosine; None takes, for each image, the mean less one standard deviation over the different
                 sentences of all its candidates: our formulation, as cosines of two encoders do not compare

    40 candidates, temperature 0.8 and 100 tokens are the paper's as far as we know, without its frequency penalty.
    Raises ConfigError for a value that means nothing.
    """

    candidates: int = 40
    temperature: float = 0.8
    top_p: float = 1.0
    max_tokens: int = 100
    seed: int = 0
    style: str = "best"
    locate: bool = True
    examples: Sequence[Example] = ()
    instruction: str = INSTRUCTION
    score: str = "paragraph"
    filtered: bool = True
    threshold: float | None = None

    def __post_init__(self) -> None:
        from ...language_model import Settings as Generation

        Generation(**self.generation)
        if self.style not in STYLES:
            raise ConfigError(f"style: expected one of {', '.join(STYLES)}, got {self.style!r}.")
        if self.score not in SCORES:
            raise ConfigError(f"score: expected one of {', '.join(SCORES)}, got {self.score!r}.")
        if self.threshold is not None and not np.isfinite(self.threshold):
            raise ConfigError(f"threshold: expected a number, such as 0.2, got {self.threshold}.")

    @property
    def generation(self) -> dict[str, Any]:
        """The keywords of LanguageModel.generate."""
        same = {name: getattr(self, name) for name in ("temperature", "top_p", "max_tokens", "seed")}
        return {**same, "samples": self.candidates, "stop": STOP}

    def prompt(self, clues: VisualClues) -> str:
        """What a language model is asked about clues."""
        return to_prompt(clues, self.style, self.locate, examples=self.examples, instruction=self.instruction)

    def as_dict(self) -> dict[str, Any]:
        """For JSON; of the examples how many there are."""
        return {**asdict(self), "examples": len(self.examples)}


def describe(
    image: Any,
    clues: VisualClues,
    encoder: Encoder,
    language_model: LanguageModel,
    settings: Settings | None = None,
    *,
    name: str | None = None,
) -> Description:
    """Describe an image by its clues.

    image           a file, or Pillow's
    language_model  may be a Recorded, whose answers an interrupted run does not ask for again
    name            of the image; its own path without one

    Raises ConfigError for no clues and what is no image, LanguageModelError if all candidates are empty.
    """
    settings = settings or Settings()
    before = _notes(encoder)
    prompt = settings.prompt(clues)
    answers = language_model.generate([prompt], **settings.generation)[0]
    name = str(image) if name is None else name
    texts, notes = different(answers, STORY if settings.style == "story" else "")
    if not texts:
        raise LanguageModelError(
            f"{language_model.name}: wrote {len(answers)} empty candidates for {name}. Take another model, give it "
            "examples, or a prompt of style story."
        )
    vector = encoder.encode_images([image])[0]
    parts = [[part for part in split_sentences(text) if _says_something(part)] for text in texts]
    vectors = _by_text(encoder, texts, parts, settings)
    if settings.score == "paragraph":
        rows = [vectors[text] for text in texts]
    else:
        rows = [np.mean([vectors[sentence] for sentence in some], axis=0) for some in parts]
    found = select(vector, np.stack(rows))
    sentences, threshold, more = _filtered(vector, parts, found.index, vectors, settings)
    after = _notes(encoder)
    return Description(
        image=name,
        clues=clues,
        prompt=prompt,
        candidates=tuple(Candidate(text, float(score)) for text, score in zip(texts, found.scores, strict=True)),
        chosen=found.index,
        sentences=sentences,
        paragraph=" ".join(one.text for one in sentences if one.kept),
        threshold=threshold,
        settings={**settings.as_dict(), "language_model": language_model.name, "encoder": encoder.identity},
        notes=(*notes, *more, *(f"so far, {note}" for note in after if note not in before)),
    )


def describe_all(
    images: Sequence[Any],
    clues: Sequence[VisualClues],
    encoder: Encoder,
    language_model: LanguageModel,
    settings: Settings | None = None,
    *,
    names: Sequence[str] | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Description]:
    """Describe several images, one after another; what a file of answers lacks is told of all of them at once.

    progress  called with (images done, images in all)

    Raises what describe raises.
    """
    settings = settings or Settings()
    names = list(names) if names is not None else [str(image) for image in images]
    if not len(images) == len(clues) == len(names):
        raise ConfigError(f"clues: expected as many as images, {len(images)}, got {len(clues)}, {len(names)} names.")
    if hasattr(language_model, "missing_prompts"):
        language_model.generate([settings.prompt(one) for one in clues], **settings.generation)
    found = []
    for number, (image, one, name) in enumerate(zip(images, clues, names, strict=True)):
        progress(number, len(images))
        found.append(describe(image, one, encoder, language_model, settings, name=name))
    progress(len(images), len(images))
    return found


def different(answers: Sequence[str], lead: str = "") -> tuple[list[str], list[str]]:
    """Answers without empty ones and repetitions, their white space made one space; and notes of what went.

    lead  words of the prompt that an answer goes on from, put before each
    """
    texts = [" ".join(answer.split()) for answer in answers]
    written = [f"{lead} {text}".strip() for text in texts if _says_something(text)]
    kept = list(dict.fromkeys(written))
    empty, same = len(texts) - len(written), len(written) - len(kept)
    notes = [f"{empty} of {len(texts)} candidates were empty"] if empty else []
    notes += [f"{same} of {len(texts)} candidates repeated another one"] if same else []
    return kept, notes


def _by_text(
    encoder: Encoder, texts: Sequence[str], parts: Sequence[Sequence[str]], settings: Settings
) -> dict[str, Matrix]:
    """The vectors of all texts that are needed: whole, or sentences, or both; each once."""
    whole = list(texts) if settings.score == "paragraph" else []
    sentences = [sentence for some in parts for sentence in some]
    wanted = list(dict.fromkeys([*whole, *sentences]))
    return dict(zip(wanted, encoder.encode_text(wanted), strict=True))


def _filtered(
    image: Matrix, parts: Sequence[Sequence[str]], chosen: int, vectors: dict[str, Matrix], settings: Settings
) -> tuple[tuple[Sentence, ...], float | None, list[str]]:
    """The chosen candidate's sentences with what became of each, the threshold, and notes."""
    own = parts[chosen]
    rows = np.stack([vectors[sentence] for sentence in own])
    if not settings.filtered:
        scores = cosines(image, rows, "sentences").tolist()
        kept = (Sentence(text, score, True, "not filtered") for text, score in zip(own, scores, strict=True))
        return tuple(kept), None, []
    threshold = settings.threshold
    if threshold is None:
        every = dict.fromkeys(sentence for some in parts for sentence in some)
        scores = cosines(image, np.stack([vectors[sentence] for sentence in every]), "sentences")
        threshold = math.floor(1e4 * (scores.mean() - scores.std())) / 1e4  # down: one sentence alone stays
    found = filter_sentences(image, own, rows, threshold)
    notes = [f"no sentence reaches the threshold {threshold:.3f}: the best one stands alone"] if found.fell_back else []
    *before, last = found.sentences
    if last.kept and not last.text.rstrip("\"'”’»)]").endswith(ENDS):
        if any(one.kept for one in before):
            last = replace(last, kept=False, reason="is not finished")
        else:
            notes.append("the only sentence left is not finished: give the language model more --max-tokens")
    return (*before, last), threshold, notes


def _says_something(text: str) -> bool:
    return any(map(str.isalnum, text))


def _notes(encoder: Encoder) -> list[str]:
    """What an encoder tells of the texts so far, such as how many it has cut."""
    return list(getattr(encoder, "notes", ()))
