"""The visual encoder with a head of classes: fine-tuned on labelled images or videos, stopped by validation."""

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from torch import Tensor, nn

from ...calibration import load_processor
from ...checkpoint import write_error
from ...devices import pick_device
from ...errors import CalibrationError, CheckpointError, ConfigError
from ...models.omnivl import OmniVLForVisualClassification, OmniVLVisionConfig
from .beginning import load_model
from .classification import Classified
from .inputs import OmniVLInputs
from .loaded import Medium, Progress, pixel_batches, silent

HELD_OUT = 0.2  # of each class, where no validation is given


@dataclass(frozen=True)
class FineTuning:
    """How a classifier is trained; stops when `patience` epochs in a row were no better on validation."""

    epochs: int = 20
    patience: int = 3
    batch_size: int = 16
    learning_rate: float = 1e-4
    weight_decay: float = 0.05
    seed: int = 0

    def __post_init__(self) -> None:
        if min(self.epochs, self.patience, self.batch_size) < 1:
            raise ConfigError("epochs, patience, batch size: expected 1 at least of each.")
        if not (0 < self.learning_rate < math.inf and 0 <= self.weight_decay < math.inf):
            raise ConfigError(
                f"learning rate, weight decay: expected numbers above 0 and from 0 on, got {self.learning_rate}, "
                f"{self.weight_decay}."
            )
        if not 0 <= self.seed < 2**63:
            raise ConfigError(f"seed: expected a number from 0 on, got {self.seed}.")


@dataclass(frozen=True)
class FineTuned:
    """accuracies on validation after each epoch, the epoch that was kept (from 1), and its losses in training."""

    accuracies: list[float]
    best_epoch: int
    losses: list[float]


def fine_tune(
    source: str | Path, out: str | Path, media: Sequence[Medium], labels: Sequence[str], *,
    val: tuple[Sequence[Medium], Sequence[str]] | None = None, options: FineTuning | None = None,
    device: str = "auto", progress: Callable[[int, int, float], None] = lambda done, total, loss: None,
) -> FineTuned:  # fmt: skip
    """Train the visual encoder of a dense OmniVL model, with a new head, and write both as a folder.

    labels    of the media; at least two classes
    val       media and labels to stop by; without it every fifth of each class, drawn by the seed, is held out
    progress  (steps done, of at most, loss of the last)

    A batch holds images or videos alone. The best epoch's weights are written; the last epochs' are lost. Equal inputs
    give equal weights on one machine; the folder appears whole or not at all. Raises ConfigError for labels that do not
    fit, or an out that is there, CalibrationError where the loss is no finite number, DiskError.
    """
    options, out, classes = options or FineTuning(), Path(out), sorted(set(labels))
    if out.exists():
        raise ConfigError(f"{out}: is there already. Choose another folder.")
    if not out.absolute().parent.is_dir():
        raise ConfigError(f"{out}: {out.parent} is no folder. Create it first.")
    if len(classes) < 2 or len(labels) != len(media):
        raise ConfigError(f"labels: expected one each of {len(media)} media and two classes, got {len(classes)}.")
    chance = np.random.default_rng(options.seed)
    if val is None:
        media, labels, val = _held_out(media, labels, chance)
    unknown = sorted(set(map(str, val[1])) - set(classes))
    if unknown or not len(val[0]):
        raise ConfigError(
            f"validation: {unknown[0]!r} is no class of training." if unknown else "validation: is empty."
        )
    model: Any = _begun(Path(source), classes, options.seed)
    model.to(pick_device(device))
    inputs = OmniVLInputs(source)
    with torch.random.fork_rng():
        torch.manual_seed(options.seed)  # of dropout, where a config asks for it
        found = _train(model, inputs, (media, labels), val, classes, options, chance, progress)
    try:
        with TemporaryDirectory(dir=out.absolute().parent, prefix=f"{out.name}.partial-") as growing:
            folder = Path(growing) / "model"
            model.save_pretrained(folder)
            inputs.processor.save_pretrained(folder)
            folder.rename(out)
    except OSError as error:
        raise write_error(out, error) from None
    except SafetensorError as error:
        raise CheckpointError(f"{out}: cannot be written ({error}). Make room.") from None
    return found


class VisualClassifier:
    """A fine-tuned model of a folder, dense or packed.

    Raises CheckpointError if it does not load, ConfigError if it is no such model.
    """

    def __init__(self, folder: str | Path, *, device: str = "auto", dtype: str = "float32", batch_size: int = 16):
        from ...clip.batches import checked_dtype
        from ...runtime import load

        checked_dtype(dtype, batch_size)
        self.device, self.batch_size = pick_device(device), batch_size
        self.model: Any = load(folder, device=str(self.device), dtype=dtype)
        if not isinstance(self.model, OmniVLForVisualClassification):
            raise ConfigError(f"{folder}: expected a fine-tuned classifier, got {type(self.model).__name__}.")
        self.inputs = _VisualInputs(Path(folder), self.model.config)
        config: Any = self.model.config
        self.classes = tuple(config.id2label[number] for number in range(config.num_labels))

    def classify(self, media: Sequence[Medium], progress: Progress = silent) -> Classified:
        """The class of each image or video."""
        scores = _logits(self.model, self.inputs, media, self.batch_size, progress)
        return Classified(self.classes, scores.argmax(axis=1), scores)


class _VisualInputs(OmniVLInputs):
    """Pixels alone: a classifier reads no texts."""

    def __init__(self, folder: Path, config: OmniVLVisionConfig) -> None:
        self.config: Any = SimpleNamespace(vision_config=config)
        self.processor = load_processor(folder)


def _begun(source: Path, classes: Sequence[str], seed: int) -> OmniVLForVisualClassification:
    whole = load_model(source)
    config: Any = copy.deepcopy(whole.config.vision_config)
    config.id2label = dict(enumerate(classes))
    config.label2id = {name: number for number, name in enumerate(classes)}
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # of the head
        model = OmniVLForVisualClassification(config)
    model.visual_encoder.load_state_dict(whole.visual_encoder.state_dict())
    return model


def _held_out(
    media: Sequence[Medium], labels: Sequence[str], chance: np.random.Generator
) -> tuple[list[Medium], list[str], tuple[list[Medium], list[str]]]:
    """Training, and a share of each class beside it, of which at least one stays."""
    held: set[int] = set()
    for name in sorted(set(labels)):
        rows = [row for row, label in enumerate(labels) if label == name]
        count = min(len(rows) - 1, max(1, round(HELD_OUT * len(rows))))
        held.update(chance.permutation(rows)[:count].tolist())
    if not held:
        raise ConfigError("validation: no class has two items. Give some of split val.")
    kept = [row for row in range(len(media)) if row not in held]
    rest = sorted(held)
    return (
        [media[row] for row in kept],
        [labels[row] for row in kept],
        ([media[row] for row in rest], [labels[row] for row in rest]),
    )


def _train(
    model: OmniVLForVisualClassification, inputs: OmniVLInputs, train: tuple[Sequence[Medium], Sequence[str]],
    val: tuple[Sequence[Medium], Sequence[str]], classes: Sequence[str], options: FineTuning,
    chance: np.random.Generator, progress: Callable[[int, int, float], None],
) -> FineTuned:  # fmt: skip
    optimizer = torch.optim.AdamW(model.parameters(), lr=options.learning_rate, weight_decay=options.weight_decay)
    media, labels = train
    numbers = torch.tensor([classes.index(label) for label in labels])
    wanted = np.array([classes.index(label) for label in val[1]])
    accuracies: list[float] = []
    losses: list[float] = []
    best: dict[str, Tensor] = {}
    videos = sum(medium.video for medium in media)
    step, steps = 0, options.epochs * sum(-(-few // options.batch_size) for few in (videos, len(media) - videos))
    for _ in range(options.epochs):
        order, total = chance.permutation(len(media)).tolist(), 0.0
        model.train()
        for rows, pixels in pixel_batches(inputs, [media[row] for row in order], options.batch_size):
            target = numbers[[order[row] for row in rows]]
            loss = model(pixels.to(model.device), target.to(model.device)).loss
            assert loss is not None
            if not bool(loss.isfinite()):
                raise CalibrationError(
                    f"step {step + 1}: the loss is no finite number any more, at a learning rate of "
                    f"{options.learning_rate:g}. Lower it."
                )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            step, total = step + 1, total + float(loss.detach()) * len(rows)
            progress(step, steps, float(loss.detach()))
        losses.append(total / len(media))
        scores = _logits(model, inputs, val[0], options.batch_size)
        accuracies.append(float((scores.argmax(axis=1) == wanted).mean()))
        if accuracies[-1] > max(accuracies[:-1], default=-1.0):
            best = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        if len(accuracies) - 1 - accuracies.index(max(accuracies)) >= options.patience:
            break
    model.load_state_dict(best)
    return FineTuned(accuracies, 1 + accuracies.index(max(accuracies)), losses)


@torch.no_grad()
def _logits(
    model: Any, inputs: OmniVLInputs, media: Sequence[Medium], batch_size: int, progress: Progress = silent
) -> Any:
    """[media, classes] float32."""
    model.eval()
    found = np.empty((len(media), model.config.num_labels), np.float32)
    for rows, pixels in pixel_batches(inputs, media, batch_size, progress):
        found[rows] = model(pixels.to(model.device)).logits.float().cpu().numpy()
    return found
