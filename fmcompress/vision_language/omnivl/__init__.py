"""Training and tasks of OmniVL (Wang et al. 2022): images, videos, texts. From the paper; no official code exists."""

from .answering import Answer, answer
from .captioning import write_captions
from .classification import Classified, classify_by_probe, probe, zero_shot
from .fine_tuning import FineTuned, FineTuning, VisualClassifier, fine_tune
from .loaded import Medium, OmniVL, find_media, media_of
from .memory_bank import MemoryBank
from .momentum import MomentumModel
from .negatives import hard_negatives
from .retrieval import Recall, Scores, both_recalls, recall, score
from .univlc import Keys, univlc_loss

__all__ = [
    "Answer",
    "Classified",
    "FineTuned",
    "FineTuning",
    "Keys",
    "Medium",
    "MemoryBank",
    "MomentumModel",
    "OmniVL",
    "Recall",
    "Scores",
    "VisualClassifier",
    "answer",
    "both_recalls",
    "classify_by_probe",
    "find_media",
    "fine_tune",
    "hard_negatives",
    "media_of",
    "probe",
    "recall",
    "score",
    "univlc_loss",
    "write_captions",
    "zero_shot",
]
