"""Files of scene graphs: by image, or as Visual Genome has them; and of descriptions, which are parsed."""

import json
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

from ...errors import ConfigError, in_one_line
from .rule_parser import parse_graph
from .scene_graph import SceneGraph, SceneGraphParser
from .spipe import Synonyms

Graphs = dict[str, SceneGraph]  # by image


def read_graphs(path: str | Path, parser: SceneGraphParser | None = None, *, texts: bool = False) -> Graphs:
    """The scene graph of each image of a JSON file.

    path    an object image -> graph {"objects": …, "attributes": …, "relations": …}, or the list of Visual Genome's
            scene_graphs.json, whose images go by their image_id
    parser  of texts; default our rules
    texts   whether an image may also have a text in the place of a graph, or an object with the text as "paragraph";
            then the file may also be what fmcompress caption --out writes

    Raises ConfigError for anything else, naming the image.
    """
    value = _json(path)
    if texts and isinstance(value, Mapping) and isinstance(value.get("descriptions"), list):
        value = _paragraphs(value["descriptions"], path)
    if isinstance(value, list):
        return visual_genome(value, str(path))
    if not isinstance(value, Mapping) or not value:
        raise ConfigError(f"{path}: expected an object image -> scene graph, got {_kind(value)}.")
    found = {}
    for image, told in value.items():
        text = told.get("paragraph") if isinstance(told, Mapping) and "paragraph" in told else told
        if texts and isinstance(text, str):
            found[image] = parse_graph(text, parser)
        else:
            found[image] = SceneGraph.from_dict(told, f"{path}, {image}")
    return found


def _paragraphs(descriptions: list[Any], path: str | Path) -> dict[str, Any]:
    """image -> paragraph, of what fmcompress caption wrote."""
    try:
        found = {_words(one["image"]): _words(one["paragraph"]) for one in descriptions}
        if len(found) == len(descriptions):
            return found
        raise ConfigError(f"{path}: an image is described twice. Leave one out.")
    except (KeyError, TypeError):
        raise ConfigError(f"{path}: expected descriptions with image and paragraph, as caption writes them.") from None


def visual_genome(images: list[Any], what: str = "scene_graphs.json") -> Graphs:
    """The graphs of Visual Genome's scene_graphs.json: image_id as a text -> graph.

    images  its list; of each image_id, objects with object_id, names and attributes, relationships with predicate,
            subject_id and object_id. Of several names the first counts
    what    names the file in errors

    Raises ConfigError for what is missing, of another kind, twice, or refers to no object.
    """
    found: Graphs = {}
    for place, image in enumerate(images):
        told = f"{what}, image {place}"
        try:
            name = str(image["image_id"])
            told = f"{what}, image_id {name}"
            graph = _of_visual_genome(image)
        except (KeyError, TypeError, IndexError, AttributeError) as error:
            raise ConfigError(
                f"{told}: expected objects with object_id, names and attributes, and relationships with predicate, "
                f"subject_id and object_id of those objects, got {type(error).__name__}: {in_one_line(error)}."
            ) from None
        except ConfigError as error:
            raise ConfigError(f"{told}: {error}") from None
        if name in found:
            raise ConfigError(f"{told}: stands there twice. Leave one out.")
        found[name] = graph
    return found


def _of_visual_genome(image: Any) -> SceneGraph:
    names = {item["object_id"]: _words(item["names"][0]) for item in image["objects"]}
    return SceneGraph(
        tuple(names.values()),
        tuple(
            (names[item["object_id"]], _words(word))
            for item in image["objects"]
            for word in _list(item.get("attributes") or [])
        ),
        tuple(
            (names[item["subject_id"]], _words(item["predicate"]), names[item["object_id"]])
            for item in image["relationships"]
        ),
    )


def in_both(predicted: Graphs, gold: Graphs) -> tuple[dict[str, tuple[SceneGraph, SceneGraph]], list[str]]:
    """(image -> its two graphs, notes on images that only one has), by gold's names.

    Names match as they are, or, if none does, without their folders. Raises ConfigError if none matches then.
    """
    if not set(predicted) & set(gold):
        short = [PurePosixPath(name).name for name in predicted]
        if len(set(short)) == len(short):
            predicted = dict(zip(short, predicted.values(), strict=True))
    both = {image: (predicted[image], graph) for image, graph in gold.items() if image in predicted}
    if not both:
        raise ConfigError(
            f"images: expected some that both files have, got {next(iter(predicted), '')!r} … and "
            f"{next(iter(gold), '')!r} …. Name them alike."
        )
    notes = []
    for some, other, told in ((predicted, gold, "no human graph"), (gold, predicted, "no description")):
        alone = [image for image in some if image not in other]
        if alone:
            more = f" and {len(alone) - 5} more" if len(alone) > 5 else ""
            notes.append(f"left out, as there is {told} of them: {', '.join(alone[:5])}{more}")
    return both, notes


def read_synonyms(path: str | Path) -> Synonyms:
    """Synonyms of a JSON file, in either form that spipe takes. Raises ConfigError for another kind of value."""
    value = _json(path)
    if not isinstance(value, list | Mapping):
        raise ConfigError(f"{path}: expected lists of words, or word -> list of words, got {_kind(value)}.")
    return value


def _json(path: str | Path) -> Any:
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"), object_pairs_hook=_without_twins)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(f"{path}: expected a JSON file, got {in_one_line(error)}.") from None


def _without_twins(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError(f"a name twice among {', '.join(name for name, _ in pairs)[:80]}")
    return found


def _kind(value: Any) -> str:
    return "an empty object" if value == {} else type(value).__name__


def _words(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{value!r} is no text")
    return value.strip()


def _list(value: Any) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{value!r} is no list")
    return value
