"""2:4 weights on a GPU's sparse tensor cores, by way of torch."""

from typing import Any

import torch
from torch import nn

from ..errors import ConfigError
from .packed_linear import PackedLinear, PackedWeight


def to_semi_structured(model: nn.Module) -> list[str]:
    """Turn 2:4 layers of a model on a GPU into nn.Linear with torch's semi-structured weights, in place.

    For prompts and batches, where sparse tensor cores multiply faster than a dense product; a single token is read in
    fewer bytes by PackedLinear, which these layers are until then. Only bfloat16 and float16 values without a grid have
    that form; other layers stay as they are. Returns the names of those that changed.

    Raises ConfigError if the model holds such layers elsewhere than on a GPU.
    """
    layers = {name: module for name, module in model.named_modules() if _is_2_of_4(module)}
    for name, layer in layers.items():
        if layer.weight.device.type != "cuda":
            raise ConfigError(f"{name}: semi-structured weights need a GPU, this one is on {layer.weight.device}.")
    for name, layer in layers.items():
        parent, _, key = name.rpartition(".")
        setattr(model.get_submodule(parent), key, _semi_structured(layer))
    return list(layers)


def _is_2_of_4(module: nn.Module) -> bool:
    if not isinstance(module, PackedLinear):
        return False
    described, half = module.weight.described, module.weight.dtype in (torch.bfloat16, torch.float16)
    pattern = described.pattern
    return half and described.grid is None and pattern is not None and (pattern.keep, pattern.group) == (2, 4)


def _semi_structured(layer: Any) -> nn.Linear:
    weight: PackedWeight = layer.weight
    with torch.device("meta"):
        linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias is not None)
    sparse = torch.sparse.to_sparse_semi_structured(weight.dense())
    linear.weight = nn.Parameter(sparse, requires_grad=False)
    linear.bias = layer.bias
    return linear
