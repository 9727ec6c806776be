"""The FACTUAL parser (Li et al. 2023), a language model that writes scene graphs, behind our protocol."""

import importlib
from typing import Any

from ...errors import ConfigError
from .scene_graph import SceneGraph, merged
from .sentences import split_sentences

CHECKPOINT = "lizhuang144/flan-t5-base-VG-factual-sg"


class FactualParser:
    """Parses with the package FactualSceneGraph, a sentence at a time, and merges the graphs.

    checkpoint  folder or name on the hub
    device      as torch names it

    Raises ConfigError if the package is missing. Written against the package's source and tested with a stand-in that
    answers as it does; it was not run with its checkpoint.
    """

    def __init__(self, checkpoint: str = CHECKPOINT, device: str = "cpu") -> None:
        try:
            module = importlib.import_module("factual_scene_graph.parser.scene_graph_parser")
        except ImportError:
            raise ConfigError(
                "scene graph parser: the package FactualSceneGraph is not installed. "
                "pip install FactualSceneGraph, or leave the parser out for our rules."
            ) from None
        self._parser = module.SceneGraphParser(checkpoint, device=device)

    def parse(self, text: str) -> SceneGraph:
        """See SceneGraphParser.parse."""
        sentences = split_sentences(text)
        return merged([_graph(found) for found in self._parser.parse(sentences)]) if sentences else SceneGraph()


def _graph(found: Any) -> SceneGraph:
    """Its entities and relations, which refer to them by number, as ours; names of the same thing may repeat."""
    names = [str(entity["head"]) for entity in found["entities"]]
    return SceneGraph(
        tuple(name for name in names if name.strip()),
        tuple(
            (name, str(word))
            for name, entity in zip(names, found["entities"], strict=True)
            for word in sorted(entity["attributes"])
        ),
        tuple((names[r["subject"]], str(r["relation"]), names[r["object"]]) for r in found["relations"]),
    )
