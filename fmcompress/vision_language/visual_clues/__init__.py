"""Paragraphs about images: visual clues, a language model, and a check by the image (BEST, Xie et al. 2022)."""

import importlib
from typing import Any

from .clues import Clue, DetectedObject, VisualClues
from .rule_parser import parse_graph
from .scene_graph import SceneGraph, SceneGraphParser
from .spipe import Spipe, spipe

# looked up on first use: words and boxes need no model
_LAZY = {
    "Captioner": ".captions",
    "ClueFile": ".given",
    "Description": ".description",
    "Extractor": ".extract",
    "ObjectDetector": ".detect",
    "Settings": ".synthesis",
    "Vocabulary": ".tags",
    "describe": ".synthesis",
    "describe_all": ".synthesis",
    "filter_sentences": ".selection",
    "read_prompt": ".prompt",
    "retrieve_tags": ".tags",
    "select": ".selection",
    "split_sentences": ".selection",
    "to_prompt": ".prompt",
}
__all__ = [
    "Clue",
    "DetectedObject",
    "SceneGraph",
    "SceneGraphParser",
    "Spipe",
    "VisualClues",
    "parse_graph",
    "spipe",
    *_LAZY,
]


def __dir__() -> list[str]:
    return sorted({*globals(), *_LAZY})


def __getattr__(name: str) -> Any:
    if name in _LAZY:
        return getattr(importlib.import_module(_LAZY[name], __name__), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
