"""Classes by their names: the row of text that an image is nearest to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ConfigError
from .vectors import Matrix, as_matrix, normalised

EncodeText = Callable[[Sequence[str]], Matrix]  # texts -> [texts, dim], rows of length 1


def fill(template: str, name: str) -> str:
    """A prompt of a template with one {} (or {c}, as in CLIP benchmarks' lists) for the name of the class."""
    for place in ("{}", "{c}"):
        if template.count(place) == 1:
            return template.replace(place, name)
    raise ConfigError(f"template {template!r}: expected one {{}} for the name of the class.")


def class_embeddings(
    classes: Sequence[str], templates: Sequence[str] | Mapping[str, Sequence[str]], encode_text: EncodeText
) -> Matrix:
    """[classes, dim]: of each class the mean of its prompts' embeddings, of length 1 again (Radford et al. 2021).

    templates    one list for all classes, or a list of finished prompts for each, by name (as in CuPL)
    encode_text  gives rows of length 1

    Raises ConfigError for a class without prompts, twice the same class, or a template without its place.
    """
    if not classes or len(set(classes)) != len(classes):
        raise ConfigError(f"classes: expected different names, got {len(classes)} of which {len(set(classes))} differ.")
    if isinstance(templates, Mapping):
        missing = [name for name in classes if not templates.get(name)]
        if missing:
            raise ConfigError(f"templates: class {missing[0]!r} has no prompts ({len(missing)} such). Add some.")
        prompts = [list(templates[name]) for name in classes]
    else:
        if not templates:
            raise ConfigError("templates: expected at least one, such as 'a photo of a {}.'")
        prompts = [[fill(template, name) for template in templates] for name in classes]
    rows = as_matrix(encode_text([prompt for some in prompts for prompt in some]), "embeddings of prompts")
    ends = np.cumsum([len(some) for some in prompts])
    means = [part.mean(axis=0) for part in np.split(rows, ends[:-1])]
    return normalised(np.stack(means))


def predict(images: Any, text: Any, *, chunk_rows: int = 8192) -> np.ndarray[Any, np.dtype[np.int64]]:
    """The class of each image: the row of text of the highest cosine, the first where several have it.

    images  [rows, dim] float32 or float64, rows of length 1
    text    [classes, dim] the same dtype, rows of length 1

    Returns [rows] int64. Raises ConfigError for anything else.
    """
    images = as_matrix(images, "images")
    text = as_matrix(text, "text", images.shape[1])
    found = np.empty(len(images), np.int64)
    for begin in range(0, len(images), chunk_rows):
        part = slice(begin, begin + chunk_rows)
        np.argmax(images[part] @ text.T, axis=1, out=found[part])
    return found
