"""The student that a training begins with, written into its folder so that the training can go on alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from ..training.start import load_trainable, new_model, new_tokenizer, zeros_of
from .options import SIZES, TrainOptions


@dataclass
class Student:
    """A model that is to learn.

    model, tokenizer  of transformers
    zeros             where it stays 0, as Trainer has it
    """

    model: Any
    tokenizer: Any
    zeros: dict[str, Tensor]

    @property
    def has_encoder(self) -> bool:
        """Whether an input is read by an encoder, rather than gone on with."""
        return bool(self.model.config.is_encoder_decoder)

    def facts(self) -> dict[str, Any]:
        """What kind of student it is."""
        kept = sum(int(zero.sum()) for zero in self.zeros.values())
        return {
            "architecture": type(self.model).__name__,
            "parameters": sum(one.numel() for one in self.model.parameters()),
            "zeros_kept": kept, "of_weights": sum(zero.numel() for zero in self.zeros.values()),
        }  # fmt: skip

    def require_zeros(self) -> None:
        """Raises ConfigError if a weight that was to stay 0 is not."""
        weights = dict(self.model.named_parameters())
        for name, zero in self.zeros.items():
            if bool(weights[name].detach()[zero].any()):
                raise ConfigError(f"{name}: weights that were pruned are no longer 0. Report this: it must not happen.")


def begin(options: TrainOptions, texts: Iterable[str], folder: Path, device: torch.device) -> Student:
    """A student as options want it, after its weights, config and tokenizer were written into the folder.

    texts  that a new tokenizer is made for

    Raises ConfigError for sizes that do not fit, and what load_trainable raises.
    """
    if options.origin is not None:
        model, tokenizer = load_trainable(options.origin)
    else:
        assert options.new is not None
        tokenizer = new_tokenizer(texts, options.vocabulary or SIZES[options.size].vocabulary)
        model = new_model(options.new, tokenizer, seed=options.seed, **options.sizes)
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return _student(model, tokenizer, options, device)


def again(options: TrainOptions, folder: Path, device: torch.device) -> Student:
    """The student that begin() wrote into the folder."""
    return _student(*load_trainable(folder), options, device)


def _student(model: Any, tokenizer: Any, options: TrainOptions, device: torch.device) -> Student:
    zeros = zeros_of(model) if options.keep_zeros and options.origin is not None else {}
    return Student(model.to(device), tokenizer, {name: zero.to(device) for name, zero in zeros.items()})
