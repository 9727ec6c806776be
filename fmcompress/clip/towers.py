"""The frozen towers of a CLIP or SigLIP model, with room for trained vectors among their own tokens."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .transformers_encoder import features_of

TEXT_KINDS = ("clip", "siglip", "siglip2")
VISION_KINDS = ("clip", "siglip")  # SigLIP 2 of one size of images calls itself siglip


class TextTower:
    """Texts of classes with `places` vectors in front of each name, after the token that begins a text.

    The model's own forward runs, with the embeddings of some tokens overwritten: positions, masks and pooling are its
    own, so that no places at all is exactly the model.

    model      transformers' CLIPModel or SigLIP's; frozen here: eval(), and no parameter asks for a gradient any more
    token_ids  [classes, tokens] int64 of the names, as the model's tokenizer gives them with padding

    Raises ConfigError for another model, or names that leave no room.
    """

    def __init__(self, model: nn.Module, token_ids: Tensor, places: int) -> None:
        self.model, self.places = _frozen(model, TEXT_KINDS), places
        self.config = self.model.config.text_config
        self.front = 1 if self.model.config.model_type == "clip" else 0
        self.token_ids = self._with_places(token_ids.cpu()).to(next(model.parameters()).device)
        self.width = int(self.config.hidden_size)

    def __call__(self, context: Tensor, classes: Tensor) -> Tensor:
        """[classes, dim], rows of length 1.

        context  [places, width] for all classes
        classes  [classes] int64, rows of token_ids
        """

        def overwrite(embedded: Tensor) -> Tensor:
            begin, end = self.front, self.front + self.places
            vectors = context.to(embedded.dtype).expand(len(embedded), -1, -1)
            return torch.cat([embedded[:, :begin], vectors, embedded[:, end:]], dim=1)

        with _changed(self.model.text_model.embeddings.token_embedding, overwrite):
            return unit(self.model.get_text_features(input_ids=self.token_ids[classes])).to(context.dtype)

    def _with_places(self, ids: Tensor) -> Tensor:
        """The tokens with a place for each vector, where a token stands that is no end of a text."""
        filler = 1 if self.config.eos_token_id == 0 else 0
        longest, places = int(self.config.max_position_embeddings), ids.new_full((len(ids), self.places), filler)
        if self.front:
            ids = ids[:, : _ends(ids, self.config.eos_token_id) + 1]  # causal: what follows the end changes nothing
            room = longest - ids.shape[1]
        else:  # pools the last of a fixed number of tokens: padding makes room
            kept = ids.shape[1] - self.places
            padding = (ids[:, max(0, kept) :] == ids[0, -1]).all()
            room = self.places if kept > 0 and padding else -1
            ids = ids[:, : max(0, kept)]
        if room < self.places:
            raise ConfigError(
                f"context: {self.places} vectors and the longest name do not fit in {longest} tokens. Use fewer "
                "vectors, or shorter names."
            )
        return torch.cat([ids[:, : self.front], places, ids[:, self.front :]], dim=1)


class VisionTower:
    """Images with vectors among their patches, behind the class token where there is one (VPT-shallow).

    model  as of TextTower, and frozen alike
    """

    def __init__(self, model: nn.Module) -> None:
        self.model = _frozen(model, VISION_KINDS)
        config = self.model.config.vision_config
        self.width, self.patch = int(config.hidden_size), int(config.patch_size)
        self.front = 1 if hasattr(self.model.vision_model.embeddings, "class_embedding") else 0

    def __call__(self, prefix: Tensor, pixels: Tensor) -> Tensor:
        """[images, dim], rows of length 1.

        prefix  [vectors, width]
        pixels  [images, channels, height, width], as the model's processor gives them
        """

        def insert(embedded: Tensor) -> Tensor:
            vectors = prefix.to(embedded.dtype).expand(len(embedded), -1, -1)
            return torch.cat([embedded[:, : self.front], vectors, embedded[:, self.front :]], dim=1)

        with _changed(self.model.vision_model.embeddings, insert):
            return unit(self.model.get_image_features(pixel_values=pixels)).to(prefix.dtype)


def unit(found: Any) -> Tensor:
    """Rows of length 1 of what a model's get_…_features returns."""
    return nn.functional.normalize(features_of(found), dim=-1)


@contextmanager
def _changed(module: nn.Module, change: Callable[[Tensor], Tensor]) -> Iterator[None]:
    handle = module.register_forward_hook(lambda _module, _inputs, output: change(output))
    try:
        yield
    finally:
        handle.remove()


def _ends(ids: Tensor, eos: int) -> int:
    """The last position at which a text ends; old configs name a wrong token, and the highest number is meant."""
    return int((ids.argmax(dim=1) if eos == 2 else (ids == eos).int().argmax(dim=1)).max())


def _frozen(model: nn.Module, kinds: tuple[str, ...]) -> Any:
    """The model itself, in eval mode, none of its parameters asking for a gradient."""
    kind = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if kind not in kinds:
        raise ConfigError(f"prompts: expected a model of kind {', '.join(kinds)}, got {kind!r}. Use a linear prompt.")
    return model.eval().requires_grad_(False)
