"""Classes by their names: the row of text that an image is nearest to."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ..errors import ConfigError
from .vectors import Labels, Matrix, as_matrix, as_shape, check_lengths, normalised, squared_lengths

# Up to so many classes the kernel that reads each row once runs. One thread with AVX-512 against the product of
# matrices below: 1.6 times as fast of 10 to 64 classes at 512 columns; at 64 columns 1.3 of 10, 0.8 of 64.
# With AVX2 at 512 columns 1.1 of 10, 0.7 of 64.
FEW_CLASSES = 64
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


def predict(images: Any, text: Any, *, chunk_rows: int = 1024) -> Labels:
    """The class of each image: the row of text of the highest cosine, the first where several have it.

    images      [rows, dim] float32 or float64, rows of length 1
    text        [classes, dim], rows of length 1
    chunk_rows  of many classes: rows that are looked at while they lie in the cache; decides nothing else

    Returns [rows] int64. Raises ConfigError for anything else. Memory: a few numbers a row; of up to FEW_CLASSES
    classes one pass over it.
    """
    return top_k(images, text, 1, chunk_rows=chunk_rows)[0][:, 0]


def top_k(images: Any, text: Any, k: int, *, chunk_rows: int = 1024) -> tuple[Labels, Matrix]:
    """The k likeliest classes of each image, the likeliest first: numbers [rows, k] int64 and cosines [rows, k].

    Of equal cosines the first class stands first. Raises ConfigError as predict does, and for k beyond the classes.
    """
    images, text = _checked(images, text)
    if not 1 <= k <= len(text):
        raise ConfigError(f"top k: expected 1 to {len(text)}, the number of classes, got {k}.")
    as_it_lies = images.flags.c_contiguous and images.dtype == np.result_type(images, text)  # else it would be copied
    if k == 1 and len(text) <= FEW_CLASSES and as_it_lies:
        return _nearest(images, text)
    squared = np.empty(len(images), images.dtype)
    found = np.empty((len(images), k), np.int64)
    cosines = np.empty((len(images), k), np.result_type(images, text))
    for begin in range(0, len(images), chunk_rows):
        part = slice(begin, begin + chunk_rows)
        squared[part] = squared_lengths(images[part])
        scores = images[part] @ text.T
        for place in range(k):  # of few places cheaper than to sort all classes
            best = np.argmax(scores, axis=1)[:, None]
            found[part, place] = best[:, 0]
            cosines[part, place] = np.take_along_axis(scores, best, 1)[:, 0]
            np.put_along_axis(scores, best, -np.inf, 1)
    check_lengths(squared, "images")
    return found, cosines


def _nearest(images: Matrix, text: Matrix) -> tuple[Labels, Matrix]:
    """As top_k of one, by the native kernel, which measures the rows' lengths in the same pass."""
    from .. import ops
    from .tensors import borrowed

    targets = borrowed(np.ascontiguousarray(text, images.dtype))
    index, product, length = ops.nearest_rows(borrowed(images), targets)
    check_lengths(length.numpy() ** 2, "images")
    return index.numpy()[:, None], product.numpy()[:, None]


def top_k_accuracy(found: Any, labels: Any) -> float:
    """The share of images whose label is among the classes found [rows, k]."""
    found = np.asarray(found)
    labels = np.asarray(labels)
    if found.ndim != 2 or labels.shape != found.shape[:1] or not len(labels):
        raise ConfigError(f"labels: expected one for each of the images, got {list(labels.shape)} for {found.shape}.")
    return float((found == labels[:, None]).any(axis=1).mean())


def _checked(images: Any, text: Any) -> tuple[Matrix, Matrix]:
    """Images by shape alone, since who reads them checks them on the way; the few rows of text wholly."""
    images = as_shape(images, "images")
    text = as_matrix(text, "text", images.shape[1])
    if not len(text):
        raise ConfigError("text: expected at least one class, got no row.")
    return images, text
