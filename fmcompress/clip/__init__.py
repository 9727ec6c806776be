"""Vision-language models that classify by text, and what improves them without retraining."""

from typing import Any

from .ask_descriptors import ask_for_descriptors
from .confidence import expected_calibration_error, probabilities
from .descriptions import DescriptionClassifier
from .descriptors import read_descriptors
from .embedding_set import EmbeddingSet
from .encoders import Encoder, load_encoder
from .files import read_embeddings, read_labels, write_embeddings
from .groups import GroupReport, group_report
from .linear_probe import LinearHead, linear_probe, wise_ft, zero_shot_head
from .vectors import normalised
from .waffle import description_report
from .zero_shot import class_embeddings, predict, top_k

__all__ = [
    "DescriptionClassifier",
    "EmbeddingCache",
    "EmbeddingSet",
    "Encoder",
    "GroupReport",
    "LinearHead",
    "ask_for_descriptors",
    "class_embeddings",
    "description_report",
    "expected_calibration_error",
    "group_report",
    "linear_probe",
    "load_encoder",
    "normalised",
    "predict",
    "probabilities",
    "read_descriptors",
    "read_embeddings",
    "read_labels",
    "top_k",
    "wise_ft",
    "write_embeddings",
    "zero_shot_head",
]


def __getattr__(name: str) -> Any:
    if name == "EmbeddingCache":  # of this the import costs that of torch
        from .cache import EmbeddingCache

        return EmbeddingCache
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
