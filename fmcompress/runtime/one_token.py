"""A token's pass through a Llama-like decoder in as few kernels as its products leave: a dozen a layer instead of 42.

Replayed from a graph a kernel of a few thousand numbers still takes some microseconds, and transformers' modules make
four of five launches such: an 8B model would spend longer on them than on reading its packed weights.
"""

import importlib.util
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

# what transformers has of this very form: RMSNorm, rotary halves, no norm inside of attention, a gated MLP
KNOWN = ("LlamaForCausalLM", "MistralForCausalLM", "Qwen2ForCausalLM")


def why_not_one_token(model: Any) -> str | None:
    """What keeps OneToken from running a model, in one line; None where nothing does."""
    name = type(model).__name__
    if name not in KNOWN:
        return f"{name}: expected one of {', '.join(KNOWN)}."
    if model.config.hidden_act != "silu":
        return f"hidden_act: expected silu, got {model.config.hidden_act}."
    return None


class Kernels(Protocol):
    """What is left of a layer beside its products; each of them one kernel where there is Triton."""

    def add_norm(self, added: Tensor | None, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """[1, hidden] residual + added, rounded, and the RMSNorm of that."""

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cos: Tensor,
        sin: Tensor,
        keys: Tensor,
        values: Tensor,
        position: Tensor,
        scaling: float,
    ) -> Tensor:
        """Attention of one token, [1, heads * head_dim]; its key and value go into the cache first.

        q         [1, heads * head_dim], before the rotary embedding
        k, v      [1, key heads * head_dim], likewise
        cos, sin  [1, 1, head_dim]
        keys, values  [1, key heads, width, head_dim], written at `position`, [1, 1] int64, and read up to there
        """

    def gated(self, gate: Tensor, up: Tensor) -> Tensor:
        """silu(gate) * up."""


class TorchKernels:
    """The definition of Kernels in torch; rounds where transformers rounds."""

    def add_norm(self, added: Tensor | None, residual: Tensor, weight: Tensor, eps: float) -> tuple[Tensor, Tensor]:
        """See Kernels."""
        if added is not None:
            residual = residual + added
        wide = residual.float()
        normed = wide * torch.rsqrt(wide.pow(2).mean(-1, keepdim=True) + eps)
        return residual, weight * normed.to(residual.dtype)

    def attend(
        self,
        q: Tensor,
        k: Tensor,
        v: Tensor,
        cos: Tensor,
        sin: Tensor,
        keys: Tensor,
        values: Tensor,
        position: Tensor,
        scaling: float,
    ) -> Tensor:
        """See Kernels."""
        _, key_heads, width, head_dim = keys.shape
        heads = [part.view(1, -1, 1, head_dim) for part in (q, k, v)]
        rotated = [part * cos + _half_turned(part) * sin for part in heads[:2]]
        keys.index_copy_(2, position[0], rotated[1])
        values.index_copy_(2, position[0], heads[2])
        seen = torch.arange(width, device=q.device)[None] <= position
        queries = rotated[0].view(1, key_heads, -1, head_dim)  # those of one key head like tokens that see the same
        out = scaled_dot_product_attention(queries, keys, values, attn_mask=seen[None, None], scale=scaling)
        return out.reshape(1, -1)

    def gated(self, gate: Tensor, up: Tensor) -> Tensor:
        """See Kernels."""
        return torch.nn.functional.silu(gate) * up


def _half_turned(x: Tensor) -> Tensor:
    first, second = x.chunk(2, dim=-1)
    return torch.cat((-second, first), dim=-1)


def kernels_for(device: torch.device) -> Kernels:
    """Triton's on a GPU, where it is installed; torch's elsewhere."""
    if device.type == "cuda" and importlib.util.find_spec("triton") is not None:
        from fmcompress_triton.one_token import TritonKernels

        return TritonKernels()
    return TorchKernels()


class OneToken:
    """Logits of the token after one, over a static cache: the model's modules for embedding, positions and products,
    dense or packed, and `Kernels` for the rest.

    model    one that why_not_one_token does not refuse
    cache    transformers' Cache of StaticLayers that have their memory; keys and values are written at the position
    kernels  None: those for the model's device
    """

    def __init__(self, model: Any, cache: Any, kernels: Kernels | None = None) -> None:
        self.model, self.cache = model, cache
        self.kernels = kernels_for(model.device) if kernels is None else kernels

    def __call__(self, token: Tensor, position: Tensor) -> Tensor:
        """token, position [1, 1] int64 -> [1, vocabulary]; no value is looked at on the host."""
        base, kernels = self.model.model, self.kernels
        residual, added = base.embed_tokens(token)[0], None
        angles = base.rotary_emb(residual[None], position_ids=position)
        for layer, held in zip(base.layers, self.cache.layers, strict=True):
            norm = layer.input_layernorm
            residual, x = kernels.add_norm(added, residual, norm.weight, norm.variance_epsilon)
            added = self._attention(layer.self_attn, x, angles, held, position)
            norm = layer.post_attention_layernorm
            residual, x = kernels.add_norm(added, residual, norm.weight, norm.variance_epsilon)
            mlp = layer.mlp
            added = mlp.down_proj(kernels.gated(mlp.gate_proj(x), mlp.up_proj(x)))
        _, x = kernels.add_norm(added, residual, base.norm.weight, base.norm.variance_epsilon)
        return self.model.lm_head(x)  # type: ignore[no-any-return]

    def _attention(
        self, attention: Any, x: Tensor, angles: tuple[Tensor, Tensor], held: Any, position: Tensor
    ) -> Tensor:
        q, k, v = attention.q_proj(x), attention.k_proj(x), attention.v_proj(x)
        out = self.kernels.attend(q, k, v, *angles, held.keys, held.values, position, attention.scaling)
        return attention.o_proj(out)  # type: ignore[no-any-return]
