"""Architectures that transformers lacks, of its modules; AutoConfig and AutoModel know them once registered."""


def register() -> None:
    """Let transformers' Auto classes build them. May be called again. Imports transformers."""
    from transformers import AutoConfig, AutoModel

    from .omnivl import OmniVLConfig, OmniVLModel

    AutoConfig.register(OmniVLConfig.model_type, OmniVLConfig, exist_ok=True)
    AutoModel.register(OmniVLConfig, OmniVLModel, exist_ok=True)
