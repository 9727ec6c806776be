"""Adapters: a small bottleneck after a frozen encoder, and files of them."""

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from ..checkpoint import write_error
from ..errors import CheckpointError, ConfigError, in_one_line
from .tensors import borrowed
from .vectors import Labels, Matrix, as_matrix, normalised

FORMAT = "fmcompress-clip-adapter-1"


@dataclass(frozen=True)
class Shape:
    """Of an adapter: dim -> hidden -> dim, with x added if residual. GELU goes without batch norm."""

    dim: int
    hidden: int = 128
    batch_norm: bool = False
    residual: bool = False
    activation: Literal["relu", "gelu"] = "relu"

    def __post_init__(self) -> None:
        if self.dim < 1 or self.hidden < 1:
            raise ConfigError(f"adapter: expected widths of at least 1, got {self.dim} and {self.hidden}.")
        if self.activation not in ("relu", "gelu"):
            raise ConfigError(f"activation: expected relu or gelu, got {self.activation!r}.")
        if self.batch_norm and self.activation == "gelu":
            raise ConfigError("batch_norm: goes with relu only.")


class Adapter(nn.Module):
    """W2 act(W1 x), with batch norm before the activation if wanted, and x added if wanted; lengths are not 1."""

    def __init__(self, shape: Shape, seed: int = 0) -> None:
        super().__init__()
        self.shape = shape
        with torch.random.fork_rng(devices=[]):  # layers draw from the global generator, which is not ours
            self.down = nn.Linear(shape.dim, shape.hidden, bias=not shape.batch_norm)
            self.up = nn.Linear(shape.hidden, shape.dim)
        self.norm = nn.BatchNorm1d(shape.hidden) if shape.batch_norm else nn.Identity()
        generator = torch.Generator().manual_seed(seed)
        for layer in (self.down, self.up):  # as nn.Linear starts, from a generator of our own
            bound = layer.in_features**-0.5
            for parameter in layer.parameters():
                nn.init.uniform_(parameter, -bound, bound, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        """[rows, dim] -> [rows, dim]."""
        inner = self.norm(self.down(x))
        made = self.up(torch.relu(inner) if self.shape.activation == "relu" else nn.functional.gelu(inner))
        return made + x if self.shape.residual else made


def trainable(module: nn.Module) -> int:
    """Parameters that are trained."""
    return sum(parameter.numel() for parameter in module.parameters() if parameter.requires_grad)


@dataclass(frozen=True)
class Epoch:
    """Of a training: the loss of its kind, and accuracies on validation rows after it."""

    kind: str
    loss: float
    average: float
    worst: float


@dataclass(frozen=True)
class FittedAdapter:
    """An adapter with the text that it classifies by.

    text        [classes, dim] rows of length 1
    history     of all epochs; `best` is the one whose parameters these are, selected by the worst validation group
    notes       what was not as one might think, such as a class without contrastive anchors
    identity    of the embeddings that it was trained on
    """

    adapter: Adapter
    text: Matrix
    logit_scale: float = 100.0
    history: tuple[Epoch, ...] = ()
    best: int = -1
    notes: tuple[str, ...] = ()
    classes: tuple[str, ...] = ()
    identity: dict[str, Any] = field(default_factory=dict)

    @property
    def parameters(self) -> int:
        """Numbers that were trained."""
        return trainable(self.adapter)

    def transform(self, embeddings: Any, *, chunk_rows: int = 8192) -> Matrix:
        """[rows, dim] adapted embeddings, float32 rows of length 1, of rows of length 1."""
        rows = as_matrix(embeddings, "embeddings", self.adapter.shape.dim).astype(np.float32, copy=False)
        self.adapter.eval()
        with torch.no_grad():
            parts = [self.adapter(borrowed(rows[i : i + chunk_rows])) for i in range(0, len(rows), chunk_rows)]
        return normalised(torch.cat(parts).numpy()) if parts else rows

    def logits(self, embeddings: Any) -> Matrix:
        """[rows, classes]: logit_scale times the cosines with text."""
        return self.logit_scale * self.transform(embeddings) @ self.text.astype(np.float32).T

    def predict(self, embeddings: Any) -> Labels:
        """[rows] the class of each row."""
        return self.logits(embeddings).argmax(axis=1)

    def save(self, path: str | Path) -> None:
        """A safetensors file whose header says what it is. Raises DiskError if it cannot be written."""
        from safetensors.torch import save_file

        path = Path(path)
        facts = {
            "shape": asdict(self.adapter.shape),
            "logit_scale": self.logit_scale,
            "history": [asdict(epoch) for epoch in self.history],
            "best": self.best,
            "notes": self.notes,
            "classes": self.classes,
            "identity": self.identity,
        }
        tensors = {name: tensor.contiguous() for name, tensor in self.adapter.state_dict().items()}
        tensors["text"] = borrowed(np.ascontiguousarray(self.text))
        growing = path.with_name(f"{path.name}.partial")
        try:
            save_file(tensors, growing, {"format": FORMAT, "facts": json.dumps(facts)})
            growing.replace(path)
        except OSError as error:
            raise write_error(path, error) from None

    @classmethod
    def load(cls, path: str | Path) -> "FittedAdapter":
        """What save has written. Raises CheckpointError for any other file."""
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(str(path), "pt") as file:
                header = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
            if header.get("format") != FORMAT:
                raise CheckpointError(f"{path}: expected an adapter, got format {header.get('format')!r}.")
            facts = json.loads(header["facts"])
            adapter = Adapter(Shape(**facts["shape"]))
            text = tensors.pop("text").numpy()
            adapter.load_state_dict(tensors)
            history = tuple(Epoch(**epoch) for epoch in facts["history"])
            best, notes, classes = int(facts["best"]), tuple(facts["notes"]), tuple(facts["classes"])
            scale, identity = float(facts["logit_scale"]), dict(facts["identity"])
            as_matrix(text, "text", adapter.shape.dim)
        except (OSError, SafetensorError, KeyError, TypeError, ValueError, RuntimeError) as error:
            raise CheckpointError(f"{path}: cannot be read as an adapter: {in_one_line(error)}") from None
        return cls(adapter, text, scale, history, best, notes, classes, identity)
