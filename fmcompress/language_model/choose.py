"""A language model by a word on the command line."""

from pathlib import Path

from ..errors import ConfigError
from .protocol import LanguageModel

SPEC = "a folder (FOLDER#chat for its chat template), http(s)://HOST/v1#MODEL, or ANSWERS.jsonl"


def language_model(spec: str, *, device: str = "auto", dtype: str = "auto") -> LanguageModel:
    """The language model that a spec names.

    spec           FOLDER of a checkpoint, or FOLDER#chat to put prompts into its chat template;
                   http(s)://HOST/v1#MODEL of an OpenAI-compatible server, as a chat, or
                   http(s)://HOST/v1/completions#MODEL with prompts as they are;
                   ANSWERS.jsonl
    device, dtype  of a checkpoint

    Raises ConfigError for anything else, and what the models raise on opening.
    """
    if spec.startswith(("http://", "https://")):
        from .endpoint import EndpointLanguageModel

        url, _, model = spec.partition("#")
        return EndpointLanguageModel(url, model)
    if spec.endswith(".jsonl"):
        from .file import FileLanguageModel

        return FileLanguageModel(spec)
    chat = spec.endswith("#chat") and not Path(spec).is_dir()
    folder = Path(spec.removesuffix("#chat") if chat else spec)
    if not folder.is_dir():
        raise ConfigError(f"language model {spec!r}: expected {SPEC}. There is no such folder.")
    from .transformers_model import TransformersLanguageModel

    return TransformersLanguageModel(folder, device, dtype, chat=chat)
