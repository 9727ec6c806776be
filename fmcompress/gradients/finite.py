"""Whether tensors hold numbers that can be compressed, found out before anything is changed."""

import torch
from torch import Tensor

LARGEST = 2.0**100


def finite(tensors: list[Tensor], scale: float = 1.0) -> Tensor:
    """Whether every element times scale is a number, and of no greater magnitude than 2^100.

    tensors  at least one, of one float dtype on one device, none of them empty
    returns  [] bool, on that device

    What the ops would refuse is never finite here. The bound is stricter than theirs: the largest float32 plus 2^100
    is rounded to the largest float32, so that a residual that is finite stays so, whatever it held before.
    """
    ends = torch.stack([end for tensor in tensors for end in tensor.aminmax()])  # NaN where there is one
    return ends.float().abs().amax() * scale <= LARGEST
