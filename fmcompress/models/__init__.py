"""Architectures that transformers lacks, of its modules; AutoConfig and AutoModel know them once registered."""


def register() -> None:
    """Let transformers' Auto classes build them. May be called again. Imports transformers."""
    from transformers import AutoConfig, AutoModel, AutoModelForImageClassification

    from .omnivl import (
        OmniVLConfig,
        OmniVLForVisualClassification,
        OmniVLModel,
        OmniVLVisionConfig,
        OmniVLVisualEncoder,
    )

    for config, model in ((OmniVLConfig, OmniVLModel), (OmniVLVisionConfig, OmniVLVisualEncoder)):
        AutoConfig.register(config.model_type, config, exist_ok=True)
        AutoModel.register(config, model, exist_ok=True)
    AutoModelForImageClassification.register(OmniVLVisionConfig, OmniVLForVisualClassification, exist_ok=True)
