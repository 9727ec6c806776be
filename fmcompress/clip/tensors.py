"""NumPy's memory as torch's, also where it may not be written, as that of mapped files."""

import warnings
from typing import Any

import torch
from torch import Tensor


def borrowed(matrix: Any) -> Tensor:
    """A tensor in the memory of an array; whoever asks for one does not write to it."""
    if any(stride < 0 for stride in matrix.strides):  # which torch does not have
        matrix = matrix.copy()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        return torch.from_numpy(matrix)
