"""Language models behind one small protocol: transformers, an OpenAI-compatible endpoint, a file, a script."""

from .protocol import LanguageModel, Score

__all__ = ["LanguageModel", "Score"]
