"""Paragraphs about images from visual clues, a language model and a check by the image (BEST, Xie et al. 2022)."""

from .clues import Clue, DetectedObject, VisualClues

__all__ = ["Clue", "DetectedObject", "VisualClues"]
