"""A checkpoint decoding beside its dense twins."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from ..devices import pick_device
from ..errors import ConfigError
from .decode_speed import DecodeSpeed, copy_rate, measure_decoding
from .generation import dense_twin
from .load import load
from .packed_linear import PackedLinear

TWINS = {"both": ("float32", "bfloat16"), **{name: (name,) for name in ("float32", "bfloat16", "float16")}}


def compare_decoding(
    path: Path,
    new_tokens: int,
    prompt_length: int,
    runs: int,
    dtype: str,
    device: str,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> tuple[list[DecodeSpeed], float]:
    """Speeds of a checkpoint and of its dense twins, and the copy rate in bytes a second, all measured in turn.

    path    folder of a dense, packed or compressed-tensors checkpoint; a dense one is its own twin
    dtype   of the twins: "both" stands for float32 and bfloat16

    Raises ConfigError if there is not room for so many tokens, and as load() does.
    """
    if dtype not in TWINS:
        raise ConfigError(f"dtype: expected one of {', '.join(TWINS)}, got {dtype!r}.")
    target = pick_device(device)
    model = load(path, device=device)
    config = model.config.get_text_config()
    longest = getattr(config, "max_position_embeddings", None)
    if longest is not None and prompt_length + new_tokens > longest:
        raise ConfigError(
            f"{path}: has room for {longest} tokens, not for {prompt_length} + {new_tokens}. "
            "Lower --tokens or --prompt-length."
        )
    generator = torch.Generator().manual_seed(0)
    input_ids = torch.randint(config.vocab_size, (1, prompt_length), generator=generator)
    models: dict[str, Any] = {f"dense {name}": dense_twin(model, getattr(torch, name)) for name in TWINS[dtype]}
    if any(isinstance(module, PackedLinear) for module in model.modules()):
        models["as it is"] = model
    return measure_decoding(models, input_ids, new_tokens, runs, progress), copy_rate(target)
