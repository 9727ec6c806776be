"""What the command caption does: pictures to clues, clues to paragraphs, and all of it to files."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...clip.encoders import Encoder, load_encoder
from ...errors import ConfigError
from ...language_model import LanguageModel, Recorded, language_model
from .clues import VisualClues
from .description import Description
from .extract import Extractor
from .given import ClueFile, clues_as_dict
from .pictures import Picture, find_pictures
from .synthesis import Settings, describe_all

ENDINGS = {"out": ".json", "page": ".html", "clues": ".json"}
Progress = Callable[[int, int, str], None]  # done, in all, what


@dataclass(frozen=True)
class Sources:
    """Where clues come from, as a command line names it; see Extractor. Raises ConfigError where there is none."""

    clues: Path | None = None
    vocabulary: Path | None = None
    attributes: Path | None = None
    detector: Path | None = None
    captioner: Path | None = None
    tags: int = 10
    threshold: float | None = None
    objects: int = 20
    detector_threshold: float | None = None
    captioned_objects: int = 0
    name_objects: bool = False

    def __post_init__(self) -> None:
        if not any((self.clues, self.vocabulary, self.detector, self.captioner)):
            raise ConfigError(
                "--clues, --vocabulary, --detector, --captioner: expected one at least, got none. Give a vocabulary, "
                "or clues that you have."
            )
        if self.attributes and not (self.detector or self.clues):
            raise ConfigError("--attributes: are of objects. Give them with --detector or --clues.")

    def extractor(self, encoder: Encoder, device: str) -> Extractor:
        """With everything loaded. Raises what the models raise."""
        from .captions import Captioner
        from .detect import ObjectDetector
        from .tags import ATTRIBUTE_TEMPLATE, Vocabulary

        def words(path: Path | None, *template: str) -> Vocabulary | None:
            return None if path is None else Vocabulary.embedded(path, encoder.encode_text, *template)

        detector = self.detector and ObjectDetector(self.detector, device, self.detector_threshold, self.objects)
        return Extractor(
            words(self.vocabulary), words(self.attributes, ATTRIBUTE_TEMPLATE), detector or None,
            Captioner(self.captioner, device) if self.captioner else None, self.tags, threshold=self.threshold,
            captioned_objects=self.captioned_objects, name_objects=self.name_objects,
        )  # fmt: skip


@dataclass(frozen=True)
class Run:
    """Descriptions of pictures, and what a user should know beside their own notes."""

    pictures: Sequence[Picture]
    descriptions: Sequence[Description]
    notes: Sequence[str]

    @property
    def told(self) -> list[str]:
        """All notes, those of an image after its name."""
        return [*self.notes, *(f"{one.image}: {note}" for one in self.descriptions for note in one.notes)]

    def as_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {"descriptions": [one.as_dict() for one in self.descriptions], "notes": list(self.notes)}


def describe_pictures(
    images: Sequence[Path],
    sources: Sources,
    encoder: Path,
    writer: str,
    settings: Settings,
    *,
    answers: Path | None = None,
    cache: Path | None = None,
    device: str = "auto",
    results: Mapping[str, Path | None] | None = None,
    force: bool = False,
    progress: Progress = lambda done, total, what: None,
) -> Run:
    """Describe images by the models that a command line names.

    writer   see language_model
    answers  .jsonl that keeps what it writes, so that an interrupted run goes on
    results  files that are to be written in the end, by "out", "page" and "clues"; refused before any work if they
             cannot be, or are there and force is not given

    Raises ConfigError for input that does not fit, and what the models raise.
    """
    _refuse_results(results or {}, force, answers)
    pictures = find_pictures(images)
    given, notes = _given(sources, pictures)
    model: LanguageModel = language_model(writer, device=device)
    if answers is not None:
        model = Recorded(model, answers)
    sees = _encoder(encoder, cache, device)
    extractor, clues = sources.extractor(sees, device), []
    for number, (picture, known) in enumerate(zip(pictures, given, strict=True)):
        progress(number, 2 * len(pictures), f"clues of {picture.name}")
        found = extractor.clues(picture.path, sees, known)
        if found == VisualClues():
            raise ConfigError(f"{picture.path}: no clues were found. Lower the thresholds, or give --clues.")
        clues.append(found)

    def shown(done: int, total: int) -> None:
        progress(total + done, 2 * total, pictures[min(done, total - 1)].name)

    names = [picture.name for picture in pictures]
    paths = [picture.path for picture in pictures]
    return Run(pictures, describe_all(paths, clues, sees, model, settings, names=names, progress=shown), notes)


def write_results(run: Run, out: Path | None = None, page: Path | None = None, clues: Path | None = None) -> None:
    """Write what is asked for: every intermediate, a page, and the clues; each whole or not at all.

    Raises DiskError.
    """
    from ...files import write_json, write_text
    from ...report import finite
    from .page import page_of

    html = page_of(run.descriptions, [picture.path for picture in run.pictures]) if page else ""
    if out:
        write_json(out, finite(run.as_dict()))
    if clues:
        write_json(clues, {one.image: clues_as_dict(one.clues) for one in run.descriptions})
    if page:
        write_text(page, html)


def read_descriptions(path: str | Path) -> list[Description]:
    """What --out wrote. Raises ConfigError for any other file."""
    from ...clip.lists import read_json

    facts = read_json(Path(path))
    if not isinstance(facts, dict) or not isinstance(facts.get("descriptions"), list):
        raise ConfigError(f"{path}: expected what fmcompress caption --out writes.")
    try:
        return [Description.from_dict(one) for one in facts["descriptions"]]
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None


def _refuse_results(results: Mapping[str, Path | None], force: bool, answers: Path | None) -> None:
    from ...files import refuse_existing

    given = {name: path for name, path in results.items() if path is not None}
    for name, path in given.items():
        refuse_existing(force, path, None)
        if path.suffix != ENDINGS[name]:
            raise ConfigError(f"{path}: expected a name that ends in {ENDINGS[name]}.")
    if answers is not None and (answers.suffix != ".jsonl" or not answers.parent.is_dir()):
        raise ConfigError(f"{answers}: expected a name that ends in .jsonl, in a folder that exists.")
    if len(set(given.values())) < len(given):
        raise ConfigError(f"{next(iter(given.values()))}: is to hold two things. Give each file a name of its own.")


def _given(sources: Sources, pictures: Sequence[Picture]) -> tuple[list[VisualClues | None], list[str]]:
    """The clues of a user for each picture, and notes of what the file has beside them."""
    if sources.clues is None:
        return [None] * len(pictures), []
    file = ClueFile(sources.clues)
    names = [file.find(picture.name) for picture in pictures]
    shared = next((name for name, count in Counter(names).items() if name is not None and count > 1), None)
    if shared is not None:
        alike = [picture.name for picture, name in zip(pictures, names, strict=True) if name == shared]
        raise ConfigError(
            f"{sources.clues}: {shared!r} would be the clues of {alike[0]!r} and {alike[1]!r}. Name them by their path."
        )
    lacking = [picture.name for picture, name in zip(pictures, names, strict=True) if name is None]
    others = sources.vocabulary or sources.detector or sources.captioner
    if lacking and not others:
        raise ConfigError(
            f"{sources.clues}: has no clues of {len(lacking)} of {len(pictures)} images, such as {lacking[0]!r}. Add "
            "them, or give --vocabulary, --detector or --captioner."
        )
    notes = [f"{sources.clues}: has no clues of {len(lacking)} of {len(pictures)} images"] if lacking else []
    unused = set(file.names) - set(names)
    notes += [f"{sources.clues}: {len(unused)} of its images are not among those given"] if unused else []
    found = [
        None if name is None else file.clues(name, picture.size) for picture, name in zip(pictures, names, strict=True)
    ]
    return found, notes


def _encoder(folder: Path, cache: Path | None, device: str) -> Encoder:
    encoder = load_encoder(folder, device=device)
    if cache is None:
        return encoder
    from ...clip.cache import CachedEncoder, EmbeddingCache

    return CachedEncoder(encoder, EmbeddingCache(cache))
