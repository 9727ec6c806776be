"""The loss of a student that learns what a teacher holds likely: of every token, or of the likeliest and the rest."""

from collections.abc import Iterator, Mapping
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from ..errors import CheckpointError, ConfigError
from ..training.order import draw
from .top_k_code import TopK
from .top_k_logits import LogitsFile

WINDOWS = 1  # of the seeds of draw()
LOGIT_BYTES = 1 << 27  # float32 logits of one model held at once


def divergence(student: Tensor, teacher: Tensor, temperature: float = 1.0) -> Tensor:
    """KL(teacher || student) of each token in nats, times temperature^2: [n] float32.

    student, teacher  logits [n, vocabulary], any float dtype
    temperature       T of softmax(logits / T); the square keeps gradients about as large as with T = 1
    """
    log_p = (teacher.float() / temperature).log_softmax(-1)
    log_q = (student.float() / temperature).log_softmax(-1)
    return temperature**2 * _terms(log_p, log_q).sum(-1)


def top_k_divergence(student: Tensor, known: TopK, temperature: float = 1.0) -> Tensor:
    """The same where of the teacher the k likeliest tokens are known: all others are one outcome. [n] float32.

    student      logits [n, vocabulary], any float dtype
    known        of the teacher at this temperature, n tokens

    Never more than divergence(), and the same where k is the vocabulary.
    """
    log_q = (student.float() / temperature).log_softmax(-1)
    kl = _terms(known.log_p, log_q.gather(-1, known.ids)).sum(-1)
    if known.ids.shape[-1] < student.shape[-1]:
        others = torch.full_like(log_q, 0.0).scatter(-1, known.ids, -torch.inf)
        kl = kl + _terms(known.rest, (log_q + others).logsumexp(-1))
    return temperature**2 * kl


def _terms(log_p: Tensor, log_q: Tensor) -> Tensor:
    """p (log p - log q), and 0 where the teacher rules something out."""
    p = log_p.exp()
    return torch.where(p > 0, p * (log_p.clamp_min(-1e30) - log_q), 0.0)


class Teacher(Protocol):
    """What tells what a teacher holds likely."""

    def divergence(self, rows: Tensor, tokens: Tensor, logits: Tensor, temperature: float) -> Tensor:
        """KL(teacher || student) of each token, [n, length - 1].

        rows    [n] int64 numbers of the windows
        tokens  [n, length] int64, the windows
        logits  [n, length - 1, vocabulary] of the student, before each token but the first
        """
        ...


class TeacherModel:
    """A teacher in memory.

    model  of transformers, on the student's device
    """

    def __init__(self, model: Any) -> None:
        self.model = model.eval()

    def divergence(self, rows: Tensor, tokens: Tensor, logits: Tensor, temperature: float) -> Tensor:
        """See Teacher."""
        with torch.no_grad():
            own = self.model(input_ids=tokens).logits[:, :-1, : logits.shape[-1]]
        return divergence(logits.flatten(0, 1), own.flatten(0, 1), temperature).view(logits.shape[:2])


class TeacherFile:
    """What a teacher said of the same windows before, in a file."""

    def __init__(self, file: LogitsFile) -> None:
        self.file = file

    def divergence(self, rows: Tensor, tokens: Tensor, logits: Tensor, temperature: float) -> Tensor:
        """See Teacher. The temperature must be the file's."""
        read = self.file.read(rows.tolist())
        known = TopK(*(part.to(logits.device) for part in (read.ids, read.log_p, read.rest)))
        return top_k_divergence(logits.flatten(0, 1), known, temperature).view(logits.shape[:2])


class LogitObjective:
    """Trains a causal model on windows of a text to say what a teacher says. See training.trainer.Objective.

    windows         [count, length] int64
    teacher         None where only the text is learned
    teacher_weight  in [0, 1]: of the divergence from the teacher; the rest is that of the text's own next tokens
    vocabulary      tokens that both know: the first so many
    """

    def __init__(
        self,
        model: Any,
        windows: Tensor,
        teacher: Teacher | None,
        *,
        vocabulary: int,
        teacher_weight: float = 1.0,
        temperature: float = 1.0,
        batch_size: int = 8,
        seed: int = 0,
    ) -> None:
        if not 0 <= teacher_weight <= 1 or not temperature > 0:
            raise ConfigError(
                f"teacher weight, temperature: expected 0 to 1 and more than 0, got {teacher_weight}, {temperature}."
            )
        if teacher is None and teacher_weight:
            raise ConfigError(f"teacher weight: expected 0 without a teacher, got {teacher_weight}.")
        self.model, self.windows, self.teacher, self.vocabulary = model, windows, teacher, vocabulary
        self.teacher_weight, self.temperature = teacher_weight, temperature
        self.batch_size, self.seed = batch_size, seed
        self.micro_batch = max(1, LOGIT_BYTES // (4 * vocabulary * windows.shape[1]))
        self._pool = np.arange(len(windows))

    def losses(self, step: int) -> Iterator[Mapping[str, Tensor]]:
        """See Objective."""
        drawn = torch.from_numpy(draw(self._pool, self.batch_size, step, (self.seed, WINDOWS)))
        for rows in drawn.split(self.micro_batch):
            share = len(rows) / len(drawn)
            yield {name: share * loss for name, loss in self.batch_losses(rows).items()}

    def batch_losses(self, rows: Tensor) -> dict[str, Tensor]:
        """The weighted losses of some windows, means over their tokens."""
        tokens = self.windows[rows].to(self.model.device)
        logits = self.model(input_ids=tokens).logits[:, :-1, : self.vocabulary]
        losses = {}
        if self.teacher is not None and self.teacher_weight:
            kl = self.teacher.divergence(rows, tokens, logits, self.temperature)
            losses["teacher"] = self.teacher_weight * kl.mean()
        if self.teacher_weight < 1:
            nats = cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
            losses["text"] = (1 - self.teacher_weight) * nats
        return losses


def shared_vocabulary(student: Any, teacher: Any, sizes: tuple[int, int], names: tuple[object, object]) -> int:
    """How many tokens two models share: all of the smaller, as models may be padded to different sizes.

    student, teacher  tokenizers
    sizes             logits of each
    names             of both, for the error

    Raises CheckpointError for other tokens, or a model that has fewer logits than tokens.
    """
    if student.get_vocab() != teacher.get_vocab():
        raise CheckpointError(
            f"{names[1]}: its tokenizer knows other tokens than that of {names[0]}. Give a teacher of the same tokens."
        )
    needed, shared = max(student.get_vocab().values(), default=-1) + 1, min(sizes)
    if shared < needed:
        raise CheckpointError(
            f"{names[sizes.index(shared)]}: expected logits of all {needed} tokens of the tokenizer, got {shared}. "
            "Give models that go with it."
        )
    return shared
