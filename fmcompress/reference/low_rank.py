"""Many rows and few directions, in plain PyTorch."""

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


def nearest_rows(rows: Tensor, targets: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """See fmcompress.ops.nearest_rows."""
    index = rows.new_empty(rows.shape[0], dtype=torch.int64)
    product, length = rows.new_empty(rows.shape[0]), rows.new_empty(rows.shape[0])
    step = max(1, CHUNK // max(1, rows.shape[1]))
    for begin in range(0, rows.shape[0], step):
        part = slice(begin, begin + step)
        products = rows[part] @ targets.T
        index[part] = torch.where(products.isnan().any(dim=1), 0, products.argmax(dim=1))
        product[part] = products.gather(1, index[part, None])[:, 0]
        length[part] = torch.linalg.vector_norm(rows[part], dim=1)
    return index, product, length
