"""Cross-attention of BLIP's text layers that heeds the mask of what it looks at, which transformers' own drops."""

from typing import Any

from torch import Tensor, nn
from transformers.models.blip.modeling_blip_text import BlipTextSelfAttention


class MaskedCrossAttention(BlipTextSelfAttention):  # type: ignore[misc]
    """BLIP's, to which its layer hands the mask under the name that is for attention to oneself (transformers 5)."""

    def forward(  # type: ignore[override]
        self, hidden_states: Tensor, attention_mask: Tensor | None = None, encoder_hidden_states: Tensor | None = None,
        encoder_attention_mask: Tensor | None = None, **kwargs: Any,
    ) -> tuple[Tensor, Tensor]:  # fmt: skip
        """As BLIP's. attention_mask, too, is of encoder_hidden_states."""
        mask = attention_mask if encoder_attention_mask is None else encoder_attention_mask
        return super().forward(hidden_states, attention_mask, encoder_hidden_states, mask, **kwargs)  # type: ignore[no-any-return]


def heed_masks_(decoder: nn.Module) -> None:
    """Let a stack of BLIP's layers heed encoder_attention_mask. Weights and their names stay."""
    for layer in decoder.encoder.layer:  # type: ignore[union-attr]
        own = layer.crossattention.self  # type: ignore[union-attr]
        layer.crossattention.self = MaskedCrossAttention(own.config, True, layer_idx=own.layer_idx)  # type: ignore[union-attr,arg-type]
