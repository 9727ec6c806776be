"""What a run is calibrated with: windows of text, images, or pairs of both, as the chosen layers look at them."""

from dataclasses import dataclass, field
from pathlib import Path

import torch
from torch import Tensor, nn

from .calibration import (
    Pairs,
    StreamedModel,
    check_text,
    cut_windows,
    find_images,
    load_tokenizer,
    longest_sequence,
    sample_images,
    sample_windows,
    token_stream,
)
from .calibration_pairs import is_manifest, sample_pairs
from .config import RunConfig
from .errors import CalibrationError, ConfigError
from .layers import Chosen, needed_stacks

POOL = 16  # calibration sequences are drawn from at most so many times as many
IMAGES = 128  # by default, where the folder holds as many


@dataclass(frozen=True)
class Files:
    """Where the inputs come from; None for what was not given."""

    text: Path | None = None
    images: Path | None = None
    pairs: Path | None = None

    @classmethod
    def of(cls, calibration: Path | None, images: Path | None) -> "Files":
        """--calibration takes a text, a manifest of pairs, or a folder of images where no --images is given.

        Raises CalibrationError if one of them is not there, or none was given.
        """
        if calibration is not None and calibration.is_dir() and images is None:
            calibration, images = None, calibration
        if calibration is not None and is_manifest(calibration):
            if images is not None:
                raise ConfigError("--images: the manifest of --calibration names images already. Leave it out.")
            return cls(pairs=calibration)
        if calibration is not None or images is None:
            check_text(calibration)
        if images is not None:
            find_images(images)
        return cls(calibration, images)


@dataclass(frozen=True)
class Inputs:
    """Token ids [sequences, length], pixels [count, channels, height, width], pairs; what to know of them."""

    windows: Tensor | None = None
    images: Tensor | None = None
    pairs: Pairs | None = None
    notes: list[str] = field(default_factory=list)

    def by_kind(self) -> dict[str, Tensor | Pairs]:
        """By kind of a stack."""
        given = {"text": self.windows, "images": self.images, "pairs": self.pairs}
        return {kind: tensor for kind, tensor in given.items() if tensor is not None}


def read_inputs(
    model: Path, streamed: StreamedModel, chosen: Chosen, config: RunConfig, files: Files, device: torch.device
) -> Inputs:
    """Read what the stacks that must run look at.

    Raises CalibrationError or ConfigError if that was not given, or something that none of them looks at was.
    """
    needed = {streamed.stacks[number].kind: number for number in needed_stacks(streamed, chosen)}
    given = {
        "text": ("--calibration", files.text),
        "images": ("--images", files.images),
        "pairs": ("--calibration", files.pairs),
    }
    for kind in sorted(needed, key=lambda kind: kind != "pairs"):  # which would be all that there is to give
        number, (option, path) = needed[kind], given[kind]
        if path is None:
            raise CalibrationError(
                f"{option}: {_who_needs(streamed, number)}; --method magnitude and rtn need no data."
            )
    for kind, (option, path) in given.items():
        if kind not in needed and path is not None:
            raise ConfigError(f"{path}: no chosen layer looks at {kind}. Leave {option} out.")
    notes: list[str] = []
    windows = images = pairs = None
    if files.pairs is not None:
        pairs = sample_pairs(model, streamed.model, files.pairs, config.samples, config.seed, notes)
    if files.text is not None:
        windows = _read_text(model, streamed.stacks[needed["text"]].runner, config, files.text, device, notes)
    if files.images is not None:
        images = sample_images(model, files.images, config.samples or IMAGES, config.seed)
        if len(images) < (config.samples or 0):
            notes.append(f"{files.images} holds {len(images)} images, fewer than the {config.samples} asked for")
    return Inputs(windows, images, pairs, notes)


def _who_needs(streamed: StreamedModel, number: int) -> str:
    stack = streamed.stacks[number]
    what = {
        "text": "a text (.txt, .jsonl)",
        "images": "a folder of images",
        "pairs": "a manifest of images or videos with texts (.jsonl)",
    }[stack.kind]
    if not stack.path:
        return f"{type(streamed.model).__name__} needs {what}"
    return f"{stack.path} needs {what}, or leave it out with --exclude '^{stack.path}'"


def _read_text(
    model: Path, runner: nn.Module, config: RunConfig, text: Path, device: torch.device, notes: list[str]
) -> Tensor:
    longest, length = longest_sequence(runner), config.sequence_length
    if longest is not None and longest < length:
        length = longest
        if "sequence_length" in config.model_fields_set:
            notes.append(f"sequence length {config.sequence_length} lowered to {length}, the model's longest")
    wanted = config.samples_on(device, length)
    stream = token_stream(load_tokenizer(model), text, at_most=POOL * wanted * length)
    windows = sample_windows(cut_windows(stream, length, str(text)), wanted, config.seed)
    if len(windows) < wanted and config.samples:
        notes.append(f"calibration holds {len(windows)} sequences, fewer than the {wanted} asked for")
    return windows
