"""Vision-language models that classify by text, and what improves them without retraining."""

from .embedding_set import EmbeddingSet
from .encoders import Encoder
from .groups import GroupReport, group_report
from .vectors import normalised
from .zero_shot import class_embeddings, predict

__all__ = ["EmbeddingSet", "Encoder", "GroupReport", "class_embeddings", "group_report", "normalised", "predict"]
