"""A change of many rows along few directions, in plain PyTorch."""

import torch
from torch import Tensor

CHUNK = 1 << 20  # values that are in the cache from one product to the next


def low_rank_rows_(out: Tensor, rows: Tensor, read: Tensor, write: Tensor, least: float) -> Tensor:
    """See fmcompress.ops.low_rank_rows_."""
    lengths = rows.new_empty((2, rows.shape[0]))
    step = max(1, CHUNK // max(1, rows.shape[1]))
    for begin in range(0, rows.shape[0], step):
        part = rows[begin : begin + step]
        changed = part + (part @ read.T) @ write
        found = torch.stack([torch.linalg.vector_norm(each, dim=1) for each in (part, changed)])
        lengths[:, begin : begin + step] = found
        after = found[1, :, None]
        out[begin : begin + step] = torch.where(after > least, changed / after, part)
    return lengths
