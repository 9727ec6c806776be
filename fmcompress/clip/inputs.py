"""What commands are given: embeddings as files, or images and names of classes to embed first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..errors import ConfigError
from .embedding_set import EmbeddingSet
from .encoders import Encoder, load_encoder
from .files import read_embeddings, require_same_model
from .lists import read_labels, read_names, read_templates
from .vectors import Labels, Matrix
from .zero_shot import class_embeddings

TEMPLATE = "a photo of a {}."
Progress = Callable[[int, int], None]  # items done, items in all


@dataclass
class Inputs:
    """Reads sets of embeddings for a command, and makes those that are not there yet.

    model      folder of the model; loaded only if something must be embedded
    cache      folder of an EmbeddingCache; None embeds anew each time
    normalise  rows of files to length 1
    progress   is told how many items of how many are embedded
    """

    model: Path | None = None
    cache: Path | None = None
    device: str = "auto"
    dtype: str = "float32"
    batch_size: int = 64
    normalise: bool = False
    progress: Progress | None = None

    @cached_property
    def encoder(self) -> Encoder:
        """The model. Raises ConfigError if none is given."""
        if self.model is None:
            raise ConfigError("--model: missing. Give the folder of the model that embeds, or embeddings as a file.")
        return load_encoder(self.model, device=self.device, dtype=self.dtype, batch_size=self.batch_size)

    @property
    def notes(self) -> list[str]:
        """What a user should know of what was embedded."""
        return list(getattr(self.encoder, "notes", ())) if "encoder" in self.__dict__ else []

    def images(self, source: Path, labels: Path | None = None) -> EmbeddingSet:
        """The images of an embeddings file, or of a folder of images, with what a CSV file says of them."""
        if source.is_dir():
            found = self.embedded_images(source)
        else:
            found = read_embeddings(source, normalise=self.normalise)
        return found if labels is None else read_labels(labels, found)

    def embedded_images(self, folder: Path) -> EmbeddingSet:
        """A folder's images, embedded; each folder in it is a class, if there are some."""
        paths, names, labels, classes = find_images(folder)
        vectors = self._embed(paths, "image")
        return self._set(vectors, names=names, labels=labels, classes=classes)

    def embedded_texts(self, texts: Sequence[str]) -> EmbeddingSet:
        """Texts as they are, embedded; they are the names of the rows."""
        return self._set(self._embed(list(texts), "text"), names=tuple(texts))

    def embedded_classes(self, classes: Sequence[str], templates: Any) -> EmbeddingSet:
        """Classes by their prompts: a row each, called by its class."""
        vectors = class_embeddings(classes, templates, lambda prompts: self._embed(list(prompts), "text"))
        return self._set(vectors, names=tuple(classes), labels=np.arange(len(classes)), classes=tuple(classes))

    def text(self, text: Path | None, classes: Path | None, template: Sequence[str] = ()) -> EmbeddingSet:
        """The classes: of an embeddings file with names, or of a list of names that is embedded by templates.

        classes   names; beside a text file without names those of its rows, in order
        template  templates, or a file of them
        """
        if text is None and classes is None:
            raise ConfigError("--classes or --text: missing. Give names of classes, or their embeddings.")
        names = None if classes is None else read_names(classes)
        if text is None:
            assert names is not None
            return self.embedded_classes(names, read_template_options(template))
        found = read_embeddings(text, normalise=self.normalise)
        if names is not None:
            if found.names and found.names != names:
                raise ConfigError(f"{classes}: {text} has names of its own, and others. Leave --classes out.")
            found = replace(found, names=names)
        if not found.names:
            raise ConfigError(f"{text}: its rows have no names. Give those of the classes with --classes.")
        return replace(found, labels=np.arange(len(found)), classes=found.names)

    def _embed(self, items: Sequence[Any], kind: Literal["image", "text"]) -> Matrix:
        if self.cache is not None:
            from .cache import EmbeddingCache

            if kind == "text" and hasattr(self.encoder, "look_at"):  # its notes are of texts in the cache, too
                self.encoder.look_at(items)
            return EmbeddingCache(self.cache).embed(self.encoder, items, kind=kind, progress=self.progress)
        encode: Any = self.encoder.encode_images if kind == "image" else self.encoder.encode_text
        step = max(1, 16 * self.batch_size)
        parts = []
        for begin in range(0, len(items), step):
            parts.append(encode(items[begin : begin + step]))
            if self.progress:
                self.progress(min(begin + step, len(items)), len(items))
        return np.concatenate(parts)

    def _set(self, vectors: Any, **rest: Any) -> EmbeddingSet:
        encoder = self.encoder
        known: dict[str, Any] = {
            "identity": encoder.identity,
            "logit_scale": encoder.logit_scale,
            "logit_bias": encoder.logit_bias,
        }
        return EmbeddingSet(vectors, **rest, **known)


def read_template_options(template: Sequence[str]) -> Sequence[str] | Mapping[str, Sequence[str]]:
    """Templates as the command line gives them: texts with a {}, or one file; the usual one if there are none."""
    files = [given for given in template if given.endswith((".txt", ".json"))]
    if files and len(template) > 1:
        raise ConfigError(f"--template: expected one file, or templates, got {len(template)} of both or more files.")
    return read_templates(files[0]) if files else list(template) or [TEMPLATE]


def find_images(folder: Path) -> tuple[list[Path], tuple[str, ...], Labels | None, tuple[str, ...]]:
    """The images of a folder: paths, names relative to it, and labels and classes where it holds a folder a class.

    Raises ConfigError if there are none, if a folder of a class has none, or if images lie beside folders of classes.
    """
    from ..calibration.images import ENDINGS

    if not folder.is_dir():
        raise ConfigError(f"{folder}: no such folder. Give a folder of images, or embeddings as a file.")
    every = sorted(path for path in folder.rglob("*") if path.suffix.lower() in ENDINGS and path.is_file())
    found = [path for path in every if not any(part.startswith(".") for part in path.relative_to(folder).parts)]
    inside = [path.relative_to(folder) for path in found]
    classes = tuple(sorted(path.name for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")))
    if not found:
        raise ConfigError(f"{folder}: holds no images ({', '.join(ENDINGS)}).")
    names = tuple(path.as_posix() for path in inside)
    if not classes:
        return found, names, None, ()
    flat = [name for name, path in zip(names, inside, strict=True) if len(path.parts) == 1]
    if flat:
        raise ConfigError(f"{folder}: holds images beside folders of classes, such as {flat[0]!r}. Move either away.")
    number = {name: at for at, name in enumerate(classes)}
    labels = np.array([number[path.parts[0]] for path in inside], np.int64)
    empty = [name for name in classes if number[name] not in labels]
    if empty:
        raise ConfigError(f"{folder}: the folder of class {empty[0]!r} holds no images. Remove it, or fill it.")
    return found, names, labels, classes


def labels_of(images: EmbeddingSet, text: EmbeddingSet) -> Labels | None:
    """The images' labels as rows of the text, matched by the names of the classes; None without labels.

    Labels that are whole numbers throughout, of which no class is called so, number the text's rows from 0. Raises
    ConfigError for a class that the text has no row of, or sets of two models.
    """
    require_same_model(images, text)
    if images.labels is None:
        return None
    rows = {name: row for row, name in enumerate(text.names)}
    used = [images.classes[number] for number in np.unique(images.labels[images.labels >= 0])]
    if used and all(name.isdecimal() and name not in rows for name in used):
        rows = {str(row): row for row in range(len(text))}
    strange = [name for name in used if name not in rows]
    if strange:
        raise ConfigError(
            f"classes: {len(strange)} of the images' classes are none of the text's, such as {strange[0]!r}. "
            f"Call them alike: the text has {text.names[0]!r}, and {len(text) - 1} more."
        )
    table = np.array([rows.get(name, -1) for name in images.classes] or [-1], np.int64)
    return np.where(images.labels < 0, -1, table[images.labels])
