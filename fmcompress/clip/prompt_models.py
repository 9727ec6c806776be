"""Prompts of trained vectors around frozen towers: of text, of images, of both, and of neither."""

import math
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .towers import TextTower, VisionTower
from .vectors import as_matrix

Takes = Literal["embeddings", "pixels"]


class PromptModel(Protocol):
    """What can be tuned by pseudo-labels. The four models below are ready; a person may write another.

    kind   names it in files
    takes  what its images are: rows of embeddings, of length 1, or pixels as the model's processor gives them
    lr     learning rate that suits it
    """

    kind: ClassVar[str]
    takes: ClassVar[Takes]
    lr: ClassVar[float]

    @property
    def device(self) -> torch.device:
        """Where images must be."""
        ...

    @property
    def class_count(self) -> int:
        """How many classes it tells apart."""
        ...

    def parameters(self) -> Any:
        """The tensors that are trained, and no others."""
        ...

    def logits(self, images: Tensor, classes: Tensor) -> Tensor:
        """[images, classes] float, of the classes by number [classes] int64."""
        ...

    def zero_shot(self, images: Tensor, classes: Tensor) -> Tensor:
        """As logits, of the model without the prompt."""
        ...

    def reset(self, generator: torch.Generator) -> None:
        """Draw the initial prompt anew."""
        ...

    def state_dict(self) -> Any:
        """The prompt, as tensors by name."""
        ...

    def load_state_dict(self, state: Any) -> Any:
        """Take a prompt that state_dict gave."""
        ...


class Prompt(nn.Module):
    """What all four have in common: logits are logit_scale * cosine. Towers are frozen, and no submodules.

    text         [classes, dim] embeddings of the classes by templates, rows of length 1: what pseudo-labels begin with
    logit_scale  what cosines are multiplied by, such as 100
    """

    kind: ClassVar[str]
    takes: ClassVar[Takes] = "embeddings"
    lr: ClassVar[float] = 0.1
    text: Tensor

    def __init__(self, text: Any, logit_scale: float) -> None:
        super().__init__()
        given = text.detach().cpu().numpy() if isinstance(text, Tensor) else text
        self.register_buffer("text", torch.tensor(as_matrix(given, "text")), persistent=False)
        if not (math.isfinite(logit_scale) and logit_scale > 0):
            raise ConfigError(f"logit_scale: expected a number above 0, such as 100, got {logit_scale!r}.")
        self.logit_scale = float(logit_scale)

    @property
    def device(self) -> torch.device:
        """Where the prompt is."""
        return self.text.device

    @property
    def class_count(self) -> int:
        """Rows of the text."""
        return len(self.text)

    def logits(self, images: Tensor, classes: Tensor) -> Tensor:
        """[images, classes], with the prompt."""
        return self.logit_scale * self.image_features(images) @ self.text_features(classes).T

    def zero_shot(self, images: Tensor, classes: Tensor) -> Tensor:
        """[images, classes], without it."""
        return self.logit_scale * self._plain(images) @ self.text[classes].T

    def image_features(self, images: Tensor) -> Tensor:
        """[images, dim], rows of length 1."""
        return self._plain(images)

    def text_features(self, classes: Tensor) -> Tensor:
        """[classes, dim], rows of length 1."""
        return self.text[classes]

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Draw the initial prompt anew, on the CPU whatever the device."""
        raise NotImplementedError

    def _begin(self, device: torch.device | str) -> None:
        """Once the parameters are there: seed 0's prompt, on the device of the tower."""
        self.reset(torch.Generator().manual_seed(0))
        self.to(device)

    def _plain(self, images: Tensor) -> Tensor:
        """The frozen model's image features."""
        return images


class LinearPrompt(Prompt):
    """A residual for each class on its embedding of text, as in TaskRes: no tower, so matrices suffice.

    Our addition to the paper's three. Parameter: [classes, dim], begun with zeros.
    """

    kind = "linear"

    def __init__(self, text: Any, logit_scale: float, device: torch.device | str = "cpu") -> None:
        super().__init__(text, logit_scale)
        self.residual = nn.Parameter(torch.empty_like(self.text))
        self._begin(device)

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Zeros: the model without a prompt."""
        self.residual.zero_()

    def text_features(self, classes: Tensor) -> Tensor:
        """[classes, dim], rows of length 1."""
        return nn.functional.normalize(self.text[classes] + self.residual[classes], dim=-1)


class TextPrompt(Prompt):
    """Vectors in front of every class's name, shared by all (CoOp, Zhou et al. 2022); images are cached embeddings.

    Parameter: [places, width], begun as N(0, 0.02²).
    """

    kind = "text"

    def __init__(self, text: Any, logit_scale: float, tower: TextTower) -> None:
        super().__init__(text, logit_scale)
        self.tower = tower
        self.context = nn.Parameter(torch.empty(tower.places, tower.width, dtype=self.text.dtype))
        self._begin(tower.token_ids.device)

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """N(0, 0.02²)."""
        self.context.copy_(normal(self.context.shape, 0.02, generator))

    def text_features(self, classes: Tensor) -> Tensor:
        """[classes, dim], rows of length 1, through the tower."""
        return self.tower(self.context, classes)


class VisualPrompt(Prompt):
    """Vectors among every image's patches, shared by all (VPT-shallow, Jia et al. 2022); text is a cached matrix.

    Parameter: [vectors, width], begun as N(0, 1 / width).
    """

    kind, takes = "image", "pixels"

    def __init__(self, text: Any, logit_scale: float, tower: VisionTower, vectors: int = 16) -> None:
        super().__init__(text, logit_scale)
        self.tower = tower
        self.prefix = nn.Parameter(torch.empty(vectors, tower.width, dtype=self.text.dtype))
        self._begin(next(tower.model.parameters()).device)

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """N(0, 1 / width)."""
        self.prefix.copy_(normal(self.prefix.shape, self.tower.width**-0.5, generator))

    def image_features(self, images: Tensor) -> Tensor:
        """[images, dim], rows of length 1, through the tower."""
        return self.tower(self.prefix, images)

    def _plain(self, images: Tensor) -> Tensor:
        return self.tower(self.prefix[:0], images)


def normal(shape: torch.Size, sd: float, generator: torch.Generator) -> Tensor:
    """Of mean 0, drawn on the CPU."""
    return sd * torch.randn(shape, generator=generator)
