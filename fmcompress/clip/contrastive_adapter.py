"""Training adapters by cross-entropy, contrast, or both in turn; what the worst validation group likes best is kept."""

import copy
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from ..errors import CalibrationError, ConfigError
from .adapters import Adapter, Epoch, FittedAdapter, Shape
from .contrastive_loss import loss_of_cosines
from .contrastive_pairs import Block, Pairs
from .groups import group_report
from .resampling import SCHEDULES
from .tensors import borrowed
from .vectors import Labels, Matrix, as_labels, as_matrix
from .zero_shot import predict

Schedule = Literal[
    "contrastive", "alternate", "alternate_balanced", "errors", "erm", "upsample_errors", "subsample_errors"
]
Cells = Literal["correctness", "prediction"]
BatchLoss = Callable[[Tensor, Tensor, Labels], Tensor]  # logits, labels, numbers of the rows -> loss


@dataclass(frozen=True)
class ContrastiveAdapter:
    """How an adapter is trained; the defaults are those of the released code (Zhang and Re 2022), but for `cells`.

    schedule     alternate: epochs in turn contrastive and of cross-entropy on `group_size` rows of each cell.
                 alternate_balanced: cells as large as the largest of the class instead.
                 contrastive: nothing else. Without contrast: erm (all rows), errors (those that zero-shot is wrong
                 about), upsample_errors and subsample_errors (classes even within each zero-shot prediction)
    cells        correctness: the rows of a class that zero-shot is right about, and those that it is wrong about.
                 prediction, as released: of each class and zero-shot prediction. Of two classes both are the same; of
                 many, a few errors are spread over many cells and, each of `group_size`, outweigh all else
    temperature  of the contrastive loss; logit_scale is what cosines are multiplied by to classify
    positives    right rows of the class to draw for each anchor, negatives of other classes to draw from the
                 `neighbours` nearest ones
    batch        rows, or anchors, a step. Of anchors losses are added, not averaged, as in the released code
    """

    schedule: Schedule = "alternate"
    cells: Cells = "correctness"
    hidden: int = 128
    batch_norm: bool = False
    residual: bool = False
    activation: Literal["relu", "gelu"] = "relu"
    epochs: int = 100
    batch: int = 128
    learning_rate: float = 1e-3
    momentum: float = 0.9
    weight_decay: float = 5e-5
    temperature: float = 0.1
    logit_scale: float = 100.0
    positives: int = 2048
    negatives: int = 2048
    neighbours: int = 4096
    group_size: int = 300
    seed: int = 0

    def __post_init__(self) -> None:
        if self.schedule not in SCHEDULES:
            raise ConfigError(f"schedule: expected one of {', '.join(SCHEDULES)}, got {self.schedule!r}.")
        if self.cells not in get_args(Cells):
            raise ConfigError(f"cells: expected correctness or prediction, got {self.cells!r}.")
        least = ("hidden", "epochs", "batch", "positives", "negatives", "neighbours", "group_size")
        small = [name for name in least if getattr(self, name) < 1]
        if small:
            raise ConfigError(f"{small[0]}: expected at least 1, got {getattr(self, small[0])}.")

    def fit(
        self,
        embeddings: Any,
        labels: Any,
        text: Any,
        *,
        val: tuple[Any, Any, Any],
        batch_loss: BatchLoss | None = None,
    ) -> FittedAdapter:
        """Train on embeddings [rows, dim] with labels [rows]; no groups are needed but on validation rows.

        text        [classes, dim] embeddings of the classes; what is classified by, and never changed
        val         (embeddings, labels, groups) of other rows: the epoch whose worst group is best there is kept, of
                    equal ones that of the better average
        batch_loss  in the place of cross-entropy, such as GroupDRO's

        Equal seeds give equal adapters on one machine. A class without zero-shot errors has no anchors: `notes`
        says so, and cross-entropy alone trains it. Raises ConfigError for matrices that do not fit each other, and
        where the schedule has nothing to train on.
        """
        text = as_matrix(text, "text")
        rows = as_matrix(embeddings, "embeddings", text.shape[1]).astype(np.float32, copy=False)
        numbers = as_labels(labels, "labels", len(rows), len(text))
        seen = as_matrix(val[0], "val", text.shape[1]).astype(np.float32, copy=False)
        seen_labels = as_labels(val[1], "labels of val", len(seen), len(text))
        predicted = predict(rows, text.astype(np.float32))
        run = _Run(self, rows, numbers, predicted, text.astype(np.float32), batch_loss)
        history: list[Epoch] = []
        best, state = -1, run.adapter.state_dict()
        for epoch in range(self.epochs):
            kind, loss = run.epoch(epoch)
            shown = FittedAdapter(run.adapter, text, self.logit_scale).predict(seen)
            report = group_report(seen_labels, shown, val[2])
            history.append(Epoch(kind, loss, report.average, report.worst))
            if best < 0 or (report.worst, report.average) > (history[best].worst, history[best].average):
                best, state = epoch, copy.deepcopy(run.adapter.state_dict())
        run.adapter.load_state_dict(state)
        run.adapter.eval()
        return FittedAdapter(run.adapter, text, self.logit_scale, tuple(history), best, tuple(run.notes))


class _Run:
    """An adapter in training."""

    def __init__(
        self,
        plan: ContrastiveAdapter,
        rows: Matrix,
        labels: Labels,
        predicted: Labels,
        text: Matrix,
        batch_loss: BatchLoss | None,
    ) -> None:
        self.plan, self.labels = plan, labels
        self.rows, self.text, self.targets = map(borrowed, (rows, text, labels))
        self.batch_loss = batch_loss or (lambda logits, targets, _: torch.nn.functional.cross_entropy(logits, targets))
        self.resample, contrast = SCHEDULES[plan.schedule]
        by_correctness = contrast and plan.cells == "correctness"
        self.seen_as = np.where(labels == predicted, labels, -1) if by_correctness else predicted
        self.draw = np.random.default_rng(plan.seed)
        self.notes: list[str] = []
        self.pairs = None
        if contrast:
            self.pairs = Pairs(rows, labels, predicted, plan.positives, plan.negatives, plan.neighbours)
            self.notes += self.pairs.notes
            if not len(self.pairs.anchors):
                self.notes.append("no contrastive anchors at all: trained by cross-entropy alone")
                self.pairs = None
        if not self.pairs and (self.resample is None or (plan.schedule == "errors" and (labels == predicted).all())):
            raise ConfigError(
                f"schedule {plan.schedule}: zero-shot makes no errors to train on. Take another schedule."
            )
        shape = Shape(rows.shape[1], plan.hidden, plan.batch_norm, plan.residual, plan.activation)
        self.adapter = Adapter(shape, plan.seed)
        self.optimizer = torch.optim.SGD(
            self.adapter.parameters(), plan.learning_rate, plan.momentum, weight_decay=plan.weight_decay
        )

    def epoch(self, number: int) -> tuple[str, float]:
        """What kind of an epoch it was, and its mean loss."""
        self.adapter.train()
        if self.pairs and (self.resample is None or number % 2 == 0):
            blocks = self.pairs.blocks(self.plan.batch, self.draw)
            losses = [self._step(self._contrast(block)) for block in blocks]
            return "contrastive", sum(losses) / len(self.pairs.anchors)
        assert self.resample is not None
        rows = self.draw.permutation(self.resample(self.labels, self.seen_as, self.plan.group_size, self.draw))
        losses, total = [], 0
        for begin in range(0, len(rows), self.plan.batch):
            some = rows[begin : begin + self.plan.batch]
            if self.plan.batch_norm and len(some) == 1:
                continue  # one row has no variance; its turn comes in another epoch
            losses.append(self._step(self._classify(some)) * len(some))
            total += len(some)
        return "cross-entropy", sum(losses) / max(1, total)

    def _step(self, loss: Tensor) -> float:
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise CalibrationError(f"training: the loss is {value}. Lower learning_rate.")
        return value

    def _classify(self, some: Labels) -> Tensor:
        adapted = torch.nn.functional.normalize(self.adapter(self.rows[some]), dim=1)
        return self.batch_loss(self.plan.logit_scale * adapted @ self.text.T, self.targets[some], some)

    def _contrast(self, block: Block) -> Tensor:
        """Each row that occurs goes through the adapter once, however often it occurs."""
        parts = (block.anchors[:, None], block.positives, block.negatives)
        needed, place = np.unique(np.concatenate([part.ravel() for part in parts]), return_inverse=True)
        ends = np.cumsum([part.size for part in parts])[:-1]
        anchors, positives, negatives = (
            torch.from_numpy(numbers.reshape(part.shape))
            for numbers, part in zip(np.split(place, ends), parts, strict=True)
        )
        adapted = torch.nn.functional.normalize(self.adapter(self.rows[needed]), dim=1)
        cosines = adapted[anchors[:, 0]] @ adapted.T
        return loss_of_cosines(
            cosines.gather(1, positives),
            cosines.gather(1, negatives),
            self.plan.temperature,
            positive_mask=torch.from_numpy(block.positive_mask),
            negative_mask=torch.from_numpy(block.negative_mask),
        ).sum()
