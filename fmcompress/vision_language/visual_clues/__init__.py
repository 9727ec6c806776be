"""Paragraphs about images from visual clues, a language model and a check by the image (BEST, Xie et al. 2022)."""

from .clues import Clue, DetectedObject, VisualClues
from .scene_graph import SceneGraph, SceneGraphParser, parse_graph
from .selection import Filtered, Selection, Sentence, filter_sentences, select
from .sentences import split_sentences
from .spipe import Spipe, spipe

__all__ = [
    "Clue",
    "DetectedObject",
    "Filtered",
    "SceneGraph",
    "SceneGraphParser",
    "Selection",
    "Sentence",
    "Spipe",
    "VisualClues",
    "filter_sentences",
    "parse_graph",
    "select",
    "spipe",
    "split_sentences",
]
