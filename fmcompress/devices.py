"""Where a model runs, and in which dtype."""

import torch

from .errors import ConfigError


def pick_device(name: str) -> torch.device:
    """ "auto" is a GPU if torch sees one. Raises ConfigError for a device that is not there."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ConfigError(f"device: {name!r} cannot be used here ({reason}). Try --device cpu.") from None
    return device


def pick_dtype(name: str, device: torch.device, stored: torch.dtype) -> torch.dtype:
    """The dtype to run the model in: "auto" is float32 on a CPU and the checkpoint's own on a GPU."""
    if name not in ("auto", "float32", "bfloat16", "float16"):
        raise ConfigError(f"dtype: expected auto, float32, bfloat16 or float16, got {name!r}.")
    if name != "auto":
        return getattr(torch, name)  # type: ignore[no-any-return]
    return torch.float32 if device.type == "cpu" else stored
