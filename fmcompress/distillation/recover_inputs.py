"""What a recovery is given: the pruned model, its teacher, and the windows of text that both cut alike."""

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..calibration import cut_windows, load_tokenizer, longest_sequence, token_stream
from ..calibration.architecture import build_on_meta, is_causal_lm
from ..checkpoint import Checkpoint
from ..errors import CalibrationError, CheckpointError, ConfigError
from ..formats import open_checkpoint
from .logit_objective import shared_vocabulary
from .recover_options import RecoverOptions
from .recover_writing import check_recoverable
from .top_k_logits import LogitsFile, tokenizer_digest


@dataclass
class Inputs:
    """All that is read before anything is loaded.

    train, valid  windows [count, length] int64
    vocabulary    tokens that student and teacher share
    """

    pruned: Checkpoint
    teacher: Checkpoint | None
    logits: LogitsFile | None
    train: Tensor
    valid: Tensor
    vocabulary: int

    def fingerprint(self, options: RecoverOptions) -> dict[str, Any]:
        """What a resumed run must share: by content, wherever files lie."""
        tokens = hashlib.sha256(self.train.numpy().tobytes() + self.valid.numpy().tobytes()).hexdigest()
        places = {"teacher", "text", "logits", "valid"}
        return {
            "pruned": self.pruned.digest(),
            "teacher": None if self.teacher is None else self.teacher.digest(),
            "tokens": tokens,
            "logits": None if self.logits is None else self.logits.about.model_dump(),
            "threads": torch.get_num_threads(),
            **{f"option {key}": value for key, value in options.model_dump(exclude=places).items()},
        }


def read_inputs(pruned: Path, options: RecoverOptions) -> Inputs:
    """Read and check everything but the weights. Raises an error where something does not fit the rest."""
    student = open_checkpoint(pruned)
    check_recoverable(student)
    skeleton, tokenizer = _causal(student), load_tokenizer(pruned)
    longest = [longest_sequence(skeleton)]
    teacher, of_teacher, vocabulary = None, None, _logits(skeleton)
    if options.teacher is not None:
        teacher = open_checkpoint(options.teacher)
        other, of_teacher = _causal(teacher), load_tokenizer(teacher.folder)
        vocabulary = shared_vocabulary(tokenizer, of_teacher, (vocabulary, _logits(other)), (pruned, teacher.folder))
        longest.append(longest_sequence(other))
    fitting = [one for one in longest if one]
    if options.logits is not None:
        logits, where = LogitsFile(Path(options.logits)), Path(options.logits)
        _check_logits(logits, tokenizer, _logits(skeleton), fitting, pruned)
        windows, vocabulary = logits.tokens[: options.max_windows], logits.about.vocabulary
    else:
        logits, where = None, Path(str(options.text))
        length = min([options.sequence_length, *fitting])
        windows = _windows(tokenizer, where, length, options.max_windows)
        if teacher is not None and not _windows(of_teacher, where, length, options.max_windows).equal(windows):
            raise CheckpointError(
                f"{teacher.folder}: its tokenizer cuts the text into other tokens than that of {pruned}. "
                "Give a teacher of the same tokens."
            )
    if options.valid is not None:
        valid = _windows(tokenizer, Path(options.valid), windows.shape[1], options.valid_windows)
    else:
        windows, valid = _held_out(windows, options, where)
    return Inputs(student, teacher, logits, windows, valid[: options.valid_windows], vocabulary)


def _check_logits(file: LogitsFile, tokenizer: Any, size: int, longest: list[int], pruned: Path) -> None:
    """Raise CheckpointError unless logits are of the student's tokens."""
    about = file.about
    if about.tokenizer != tokenizer_digest(tokenizer):
        raise CheckpointError(
            f"{file.path}: is of a teacher whose tokenizer knows other tokens than that of {pruned}. Give a teacher of "
            "the same tokens."
        )
    if about.vocabulary > size or any(about.length > one for one in longest):
        raise CheckpointError(
            f"{file.path}: has windows of {about.length} tokens out of {about.vocabulary}, {pruned} takes "
            f"{min([*longest, about.length])} out of {size}. Make logits that fit, or give --text and --teacher."
        )


def _held_out(windows: Tensor, options: RecoverOptions, where: Path) -> tuple[Tensor, Tensor]:
    """The windows to learn, and the last ones, which are not."""
    held = max(1, round(options.valid_share * len(windows)))
    if held >= len(windows):
        raise CalibrationError(
            f"{where}: {len(windows)} window(s), too few to learn some and hold out others. Give more text, a lower "
            "--sequence-length, or --valid FILE."
        )
    return windows[:-held], windows[-held:]


def _windows(tokenizer: Any, text: Path, length: int, count: int | None) -> Tensor:
    wanted = None if count is None else count * length
    return cut_windows(token_stream(tokenizer, text, wanted), length, str(text))[:count]


def _causal(checkpoint: Checkpoint) -> Any:
    """A model without weights. Raises ConfigError if it predicts no next token."""
    model = build_on_meta(checkpoint, torch.float32)
    if not is_causal_lm(model):
        raise ConfigError(
            f"{checkpoint.folder}: {type(model).__name__} predicts no next token. Give a causal language model."
        )
    return model


def _logits(skeleton: Any) -> int:
    """How many numbers a model says of each token."""
    return int(skeleton.config.get_text_config().vocab_size)
