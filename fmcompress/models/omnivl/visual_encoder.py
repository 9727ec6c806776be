"""One encoder of images and videos, which are one frame or more: a ViT that attends over time, then over space."""

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel
from transformers import initialization as init
from transformers.modeling_outputs import BaseModelOutputWithPooling
from transformers.models.vit.modeling_vit import ViTAttention, ViTLayer

from .configuration import OmniVLVisionConfig


class UnifiedPatchEmbeddings(nn.Module):
    """Patches of images by a convolution over two axes, of videos by one over three (Wang et al. 2022)."""

    def __init__(self, config: OmniVLVisionConfig) -> None:
        super().__init__()
        self.config = config
        channels, width, patch, span = config.num_channels, config.hidden_size, config.patch_size, config.tubelet_size
        self.image_projection = nn.Conv2d(channels, width, patch, patch)
        self.video_projection = nn.Conv3d(channels, width, (span, patch, patch), (span, patch, patch))

    def forward(self, pixel_values: Tensor) -> Tensor:
        """[items, tubes, patches, width] of images [items, channels, height, width], whose only tube is the image, or
        of videos [items, frames, channels, height, width]. A video of one frame is an image.

        Raises ValueError for another shape.
        """
        self._check(pixel_values)
        if pixel_values.dim() == 5 and pixel_values.shape[1] == 1:
            pixel_values = pixel_values[:, 0]
        if pixel_values.dim() == 4:
            return self.image_projection(pixel_values).flatten(2).transpose(1, 2)[:, None]  # type: ignore[no-any-return]
        tubes = self.video_projection(pixel_values.transpose(1, 2))  # [items, width, tubes, rows, cols]
        return tubes.flatten(3).permute(0, 2, 3, 1)  # type: ignore[no-any-return]

    def inflated(self) -> Tensor:
        """A kernel for videos [width, channels, frames, height, width] that is an equal share of the images' for each
        frame: a video that stands still has the patches of its frame, if the biases are equal, too."""
        span = self.config.tubelet_size
        return self.image_projection.weight[:, :, None].expand(-1, -1, span, -1, -1) / span

    def _check(self, pixels: Tensor) -> None:
        config, shape = self.config, list(pixels.shape)
        if pixels.dim() not in (4, 5) or shape[-3] != config.num_channels:
            raise ValueError(
                f"pixel_values: expected [items, {config.num_channels}, height, width] or [items, frames, "
                f"{config.num_channels}, height, width], got {shape}."
            )
        if shape[-2] != config.image_size or shape[-1] != config.image_size:
            raise ValueError(f"pixel_values: expected {config.image_size} x {config.image_size} pixels, got {shape}.")
        if pixels.dim() == 5 and shape[1] > 1 and shape[1] % config.tubelet_size:
            raise ValueError(f"pixel_values: expected a multiple of {config.tubelet_size} frames, got {shape[1]}.")


class SpaceTimeLayer(ViTLayer):  # type: ignore[misc]
    """A layer of a ViT that attends over time before it attends over space (divided space-time attention, Bertasius et
    al. 2021). With one frame, or joint attention, it is the ViT's layer, bit for bit."""

    def __init__(self, config: OmniVLVisionConfig) -> None:
        super().__init__(config)
        self.divided = config.space_time_attention == "divided"
        if self.divided:
            self.temporal_layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
            self.temporal_attention = ViTAttention(config)
            self.temporal_projection = nn.Linear(config.hidden_size, config.hidden_size)

    def forward(  # type: ignore[override]
        self, hidden_states: Tensor, tubes: int = 1, **kwargs: Any
    ) -> Tensor:
        """[items, 1 + tubes * patches, width], like hidden_states: a class token, then the patches tube by tube."""
        if tubes == 1 or not self.divided:
            return super().forward(hidden_states, **kwargs)  # type: ignore[no-any-return]
        hidden_states = self.over_time(hidden_states, tubes)
        hidden_states = hidden_states + self.dropout(self.over_space(hidden_states, tubes))
        return hidden_states + self.dropout(self.mlp(self.layernorm_after(hidden_states)))  # type: ignore[no-any-return]

    def over_time(self, hidden_states: Tensor, tubes: int) -> Tensor:
        """hidden_states to which each patch adds what it sees of its own place in the other tubes."""
        begin, patches = hidden_states[:, :1], hidden_states[:, 1:].unflatten(1, (tubes, -1))
        places = patches.transpose(1, 2)  # [items, patches, tubes, width]
        seen, _ = self.temporal_attention(self.temporal_layernorm(places).flatten(0, 1))
        places = places + self.temporal_projection(seen).view_as(places)
        return torch.cat([begin, places.transpose(1, 2).flatten(1, 2)], dim=1)

    def over_space(self, hidden_states: Tensor, tubes: int) -> Tensor:
        """What tokens see of their own tube, like hidden_states; the class token sees the mean of all tubes."""
        normed = self.layernorm_before(hidden_states)
        patches = normed[:, 1:].unflatten(1, (tubes, -1))
        begin = normed[:, None, :1].expand(-1, tubes, -1, -1)
        seen, _ = self.attention(torch.cat([begin, patches], dim=2).flatten(0, 1))
        seen = seen.unflatten(0, (-1, tubes))  # [items, tubes, 1 + patches, width]
        return torch.cat([seen[:, :, 0].mean(dim=1, keepdim=True), seen[:, :, 1:].flatten(1, 2)], dim=1)


class OmniVLVisionModel(PreTrainedModel):  # type: ignore[misc]
    """What transformers asks of a model of images and videos alone."""

    config: OmniVLVisionConfig
    config_class = OmniVLVisionConfig
    base_model_prefix = "visual_encoder"
    main_input_name = "pixel_values"
    input_modalities = ("image", "video")  # type: ignore[assignment]
    supports_gradient_checkpointing = True
    _no_split_modules = ["SpaceTimeLayer"]  # noqa: RUF012
    _supports_sdpa = True
    _supports_attention_backend = True


class OmniVLVisualEncoder(OmniVLVisionModel):
    """The visual encoder. forward takes images or videos, never both at once."""

    def __init__(self, config: OmniVLVisionConfig) -> None:
        super().__init__(config)
        patches = (config.image_size // config.patch_size) ** 2
        self.patch_embeddings = UnifiedPatchEmbeddings(config)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, config.hidden_size))
        self.position_embeddings = nn.Parameter(torch.zeros(1, 1 + patches, config.hidden_size))
        self.time_embeddings = nn.Parameter(
            torch.zeros(1, config.num_frames // config.tubelet_size, config.hidden_size)
        )
        self.dropout = nn.Dropout(config.hidden_dropout_prob)
        self.layers = nn.ModuleList([SpaceTimeLayer(config) for _ in range(config.num_hidden_layers)])
        self.layernorm = nn.LayerNorm(config.hidden_size, eps=config.layer_norm_eps)
        self.post_init()

    def get_input_embeddings(self) -> nn.Module:
        """What turns pixels into patches."""
        return self.patch_embeddings

    @property
    def knows_videos(self) -> bool:
        """Whether videos were learned from: what is zero or equal for each frame at first is so no more."""
        kernel = self.patch_embeddings.video_projection.weight
        return bool(self.time_embeddings.any()) or not torch.equal(kernel, kernel[:, :, :1].expand_as(kernel))

    @torch.no_grad()
    def begin_videos_(self) -> None:
        """After training on images alone: overwrite what only videos use, so that a video is what its frames are.

        Its kernel becomes the images', an equal share for each frame; attention over time becomes that over space, and
        the projection behind it zero (as TimeSformer begins).
        """
        patches = self.patch_embeddings
        patches.video_projection.weight.copy_(patches.inflated())
        patches.video_projection.bias.copy_(patches.image_projection.bias)  # type: ignore[union-attr,arg-type]
        self.time_embeddings.zero_()
        for layer in self.layers:
            if isinstance(layer, SpaceTimeLayer) and layer.divided:
                layer.temporal_attention.load_state_dict(layer.attention.state_dict())
                layer.temporal_layernorm.load_state_dict(layer.layernorm_before.state_dict())
                layer.temporal_projection.weight.zero_()
                layer.temporal_projection.bias.zero_()

    def forward(self, pixel_values: Tensor, **kwargs: Any) -> BaseModelOutputWithPooling:
        """Hidden states [items, 1 + tubes * patches, width], and the class token's as pooler_output.

        pixel_values  images [items, channels, height, width] or videos [items, frames, channels, height, width]

        Raises ValueError for another shape.
        """
        hidden = self.embed(pixel_values.to(self.cls_token.dtype))
        tubes = (hidden.shape[1] - 1) // (self.position_embeddings.shape[1] - 1)
        for layer in self.layers:
            hidden = layer(hidden, tubes=tubes)
        hidden = self.layernorm(hidden)
        return BaseModelOutputWithPooling(last_hidden_state=hidden, pooler_output=hidden[:, 0])

    def embed(self, pixel_values: Tensor) -> Tensor:
        """[items, 1 + tubes * patches, width]: patches with their places in space and, of videos, in time."""
        patches = self.patch_embeddings(pixel_values) + self.position_embeddings[:, None, 1:]
        tubes = patches.shape[1]
        if tubes > 1:
            patches = patches + self._times(tubes)[:, :, None]
        begin = (self.cls_token + self.position_embeddings[:, :1]).expand(len(patches), -1, -1)
        return self.dropout(torch.cat([begin, patches.flatten(1, 2)], dim=1))  # type: ignore[no-any-return]

    def _times(self, tubes: int) -> Tensor:
        if tubes == self.time_embeddings.shape[1]:
            return self.time_embeddings
        stretched = nn.functional.interpolate(self.time_embeddings.transpose(1, 2), tubes, mode="linear")
        return stretched.transpose(1, 2)

    @torch.no_grad()
    def _init_weights(self, module: nn.Module) -> None:
        """As a ViT's; a video at first is what its frames are: one kernel for both, and nothing goes over time."""
        super()._init_weights(module)
        if not isinstance(module, OmniVLVisualEncoder):
            return  # transformers does not ask for modules of ours that have no parameters of their own
        init.trunc_normal_(module.cls_token, std=self.config.initializer_range)
        init.trunc_normal_(module.position_embeddings, std=self.config.initializer_range)
        init.zeros_(module.time_embeddings)
        init.copy_(module.patch_embeddings.video_projection.weight, module.patch_embeddings.inflated())
        for layer in module.layers:
            if isinstance(layer, SpaceTimeLayer) and layer.divided:
                init.zeros_(layer.temporal_projection.weight)
                init.zeros_(layer.temporal_projection.bias)
