"""OmniVL (Wang et al. 2022): one model of images, videos and texts. No official code exists; built from the paper."""

from .classification import OmniVLForVisualClassification
from .configuration import OmniVLConfig, OmniVLVisionConfig
from .initial import config_of_parts, from_bert_, from_vit_, load_part
from .modelling import OmniVLModel, OmniVLOutput
from .visual_encoder import OmniVLVisualEncoder, SpaceTimeLayer, UnifiedPatchEmbeddings

__all__ = [
    "OmniVLConfig",
    "OmniVLForVisualClassification",
    "OmniVLModel",
    "OmniVLOutput",
    "OmniVLVisionConfig",
    "OmniVLVisualEncoder",
    "SpaceTimeLayer",
    "UnifiedPatchEmbeddings",
    "config_of_parts",
    "from_bert_",
    "from_vit_",
    "load_part",
]
