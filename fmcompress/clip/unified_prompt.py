"""One prompt for both towers, whose vectors a small transformer makes of one another (UPT, Zang et al. 2022)."""

import math
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .prompt_models import Prompt, normal
from .towers import TextTower, VisionTower

WIDTH, HEADS = 128, 1  # of the transformer, which has one layer


class UnifiedPrompt(Prompt):
    """Vectors of text and of images that attend to one another before each goes into its tower.

    Parameters: the vectors, [places, text width] begun as N(0, 0.02²) and [vectors, image width] uniform, and linear
    maps to and from a transformer of one layer. All of its places see each other, as in the paper; the released code
    lets text place i see image vector i only.
    """

    kind, takes, lr = "multimodal", "pixels", 0.01

    def __init__(
        self, text: Any, logit_scale: float, text_tower: TextTower, vision_tower: VisionTower, vectors: int = 4
    ) -> None:
        if text_tower.model is not vision_tower.model:
            raise ConfigError("towers: expected both of one model.")
        super().__init__(text, logit_scale)
        self.text_tower, self.vision_tower = text_tower, vision_tower
        wide, high, kind = text_tower.width, vision_tower.width, self.text.dtype
        self.context = nn.Parameter(torch.empty(text_tower.places, wide, dtype=kind))
        self.prefix = nn.Parameter(torch.empty(vectors, high, dtype=kind))
        with torch.device("meta"):  # reset draws the values, from its own generator
            parts = {
                "text_in": nn.Linear(wide, WIDTH, dtype=kind),
                "image_in": nn.Linear(high, WIDTH, dtype=kind),
                "mix": nn.TransformerEncoderLayer(
                    WIDTH, HEADS, 4 * WIDTH, 0.0, "gelu", batch_first=True, norm_first=True, dtype=kind
                ),
                "text_out": nn.Linear(WIDTH, wide, dtype=kind),
                "image_out": nn.Linear(WIDTH, high, dtype=kind),
            }
        self.parts = nn.ModuleDict(parts).to_empty(device="cpu")
        self._begin(text_tower.token_ids.device)

    @torch.no_grad()
    def reset(self, generator: torch.Generator) -> None:
        """Vectors as the class says; weights uniform within 1 / sqrt(columns), norms 1, biases 0."""
        self.context.copy_(normal(self.context.shape, 0.02, generator))
        high = self.vision_tower
        self.prefix.copy_(_uniform(self.prefix.shape, math.sqrt(6 / (3 * high.patch**2 + high.width)), generator))
        for name, values in self.parts.named_parameters():
            if values.dim() == 2:
                values.copy_(_uniform(values.shape, values.shape[1] ** -0.5, generator))
            else:
                values.fill_(1.0 if "norm" in name and name.endswith("weight") else 0.0)

    def text_features(self, classes: Tensor) -> Tensor:
        """[classes, dim], rows of length 1, through the text tower."""
        return self.text_tower(self._mixed()[0], classes)

    def image_features(self, images: Tensor) -> Tensor:
        """[images, dim], rows of length 1, through the vision tower."""
        return self.vision_tower(self._mixed()[1], images)

    def logits(self, images: Tensor, classes: Tensor) -> Tensor:
        """[images, classes], with the prompt, made once for both towers."""
        context, prefix = self._mixed()
        return self.logit_scale * self.vision_tower(prefix, images) @ self.text_tower(context, classes).T

    def _mixed(self) -> tuple[Tensor, Tensor]:
        """What goes into the towers: [places, text width], [vectors, image width]."""
        places = len(self.context)
        if not places + len(self.prefix):  # attention over nothing is not defined
            return self.context, self.prefix
        both = torch.cat([self.parts["text_in"](self.context), self.parts["image_in"](self.prefix)])
        mixed = self.parts["mix"](both[None])[0]
        return self.parts["text_out"](mixed[:places]), self.parts["image_out"](mixed[places:])

    def _plain(self, images: Tensor) -> Tensor:
        return self.vision_tower(self.prefix[:0], images)


def _uniform(shape: torch.Size, most: float, generator: torch.Generator) -> Tensor:
    return most * (2 * torch.rand(shape, generator=generator) - 1)
