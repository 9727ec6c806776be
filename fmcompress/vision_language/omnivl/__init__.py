"""Training and tasks of OmniVL (Wang et al. 2022): images, videos, texts. From the paper; no official code exists."""

from .memory_bank import MemoryBank
from .momentum import MomentumModel
from .negatives import hard_negatives
from .univlc import Keys, univlc_loss

__all__ = ["Keys", "MemoryBank", "MomentumModel", "hard_negatives", "univlc_loss"]
