"""What describing an image has gone through: every intermediate, as Python and as JSON."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from ...errors import ConfigError, in_one_line
from .clues import VisualClues
from .given import clues_as_dict, parse_clues
from .selection import Sentence


@dataclass(frozen=True)
class Candidate:
    """A paragraph of the language model, and its cosine with the image."""

    text: str
    score: float


@dataclass(frozen=True)
class Description:
    """A paragraph about an image, and where it comes from.

    image       its name
    clues       of stage 1
    prompt      of stage 2
    candidates  different ones, in the order written
    chosen      number of the candidate of the highest score
    sentences   of the chosen one, with score, whether each was kept, and why
    paragraph   the sentences that were kept
    threshold   that sentences had to reach; None where they were not filtered
    settings    of the language model and the choice
    notes       what a user should know
    """

    image: str
    clues: VisualClues
    prompt: str
    candidates: tuple[Candidate, ...]
    chosen: int
    sentences: tuple[Sentence, ...]
    paragraph: str
    threshold: float | None
    settings: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "image": self.image,
            "paragraph": self.paragraph,
            "clues": clues_as_dict(self.clues),
            "prompt": self.prompt,
            "candidates": [asdict(one) for one in self.candidates],
            "chosen": self.chosen,
            "threshold": self.threshold,
            "sentences": [asdict(one) for one in self.sentences],
            "settings": dict(self.settings),
            "notes": list(self.notes),
        }

    @classmethod
    def from_dict(cls, facts: Any) -> "Description":
        """What as_dict gave. Raises ConfigError for anything else."""
        try:
            found = cls(
                image=str(facts["image"]),
                clues=parse_clues(facts["clues"], f"image {facts['image']!r}, clues"),
                prompt=str(facts["prompt"]),
                candidates=tuple(Candidate(str(one["text"]), float(one["score"])) for one in facts["candidates"]),
                chosen=int(facts["chosen"]),
                sentences=tuple(
                    Sentence(str(one["text"]), float(one["score"]), bool(one["kept"]), str(one["reason"]))
                    for one in facts["sentences"]
                ),
                paragraph=str(facts["paragraph"]),
                threshold=None if facts["threshold"] is None else float(facts["threshold"]),
                settings=dict(facts["settings"]),
                notes=tuple(map(str, facts["notes"])),
            )
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            if isinstance(error, ConfigError):
                raise
            told = f"{type(error).__name__} {in_one_line(error, 80)}"
            raise ConfigError(f"description: expected what fmcompress caption writes ({told}).") from None
        if not 0 <= found.chosen < len(found.candidates):
            raise ConfigError(f"description of {found.image!r}: chosen is none of {len(found.candidates)} candidates.")
        return found
