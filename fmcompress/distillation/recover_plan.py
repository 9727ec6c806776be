"""What a recovery needs: whether its memory is there, and how long it takes, from two steps of it."""

import math
import time
from typing import Any

import torch

from ..checkpoint import Checkpoint
from ..errors import ConfigError
from ..memory import available_bytes, peak_memory_bytes
from ..report import human_bytes
from ..training.selecting import Selecting
from .recover_inputs import Inputs

LEARNING_BYTES = 20  # of a weight in float32: itself, its gradient, two moments of AdamW, the best step's


def weights_of(checkpoint: Checkpoint) -> int:
    """How many numbers a checkpoint holds."""
    return sum(math.prod(entry.shape) for entry in checkpoint.tensors.values())


def needed_bytes(inputs: Inputs, *, online: bool) -> int:
    """Of memory: for all weights and what goes with them, activations not counted."""
    student = LEARNING_BYTES * weights_of(inputs.pruned)
    return student + (4 * weights_of(inputs.teacher) if online and inputs.teacher is not None else 0)


def require_room(inputs: Inputs, device: torch.device, *, online: bool) -> None:
    """Raise ConfigError if the weights and what goes with them are larger than the memory that is left."""
    needed = needed_bytes(inputs, online=online)
    left = torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else available_bytes()
    if left is not None and needed > left:
        advice = "Keep the teacher out of it with distill logits and --logits, or take" if online else "Take"
        raise ConfigError(
            f"{inputs.pruned.folder}: expected {human_bytes(needed)} of memory for weights that learn, got "
            f"{human_bytes(left)}. {advice} a machine with more."
        )


def measure(recovery: Selecting) -> dict[str, Any]:
    """Two steps and a look at the held-out text, done in memory: time of each, of all, and the most memory held.

    recovery  before its first step; its model is changed

    Returns step_s, look_s, seconds (all steps and looks), peak_bytes (a copy of the best step's weights counted), and
    left_bytes (None where the system does not tell).
    """
    steps = recovery.steps
    looks = steps // recovery.every + (steps % recovery.every > 0)
    begin = time.perf_counter()
    recovery.measure()
    look_s = time.perf_counter() - begin
    recovery.trainer.one()  # the first makes the optimizer's moments
    begin = time.perf_counter()
    recovery.trainer.one()
    step_s = time.perf_counter() - begin
    best = sum(one.numel() * one.itemsize for one in recovery.trainer.state()["model"].values())
    return {
        "step_s": step_s,
        "look_s": look_s,
        "seconds": steps * step_s + looks * look_s,
        "peak_bytes": peak_memory_bytes() + best,
        "left_bytes": available_bytes(),
    }
