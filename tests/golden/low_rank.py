"""The truth of low_rank_rows_ and nearest_rows: row by row, in float64."""

import numpy as np


def low_rank_rows(rows, read, write, least=0.0):
    """(rows after the change, lengths before and after it)."""
    out, lengths = [], []
    for x in rows.astype(np.float64):
        y = x.copy()
        for along, direction in zip(read, write, strict=True):
            y = y + (along @ x) * direction
        lengths.append([np.sqrt(x @ x), np.sqrt(y @ y)])
        out.append(y / lengths[-1][1] if lengths[-1][1] > least else x)
    return np.array(out).reshape(rows.shape), np.array(lengths).reshape(-1, 2).T.copy()


def nearest_rows(rows, targets):
    """(target, its product, the row's length) of each row."""
    found = []
    for x in rows.astype(np.float64):
        products = [float(x @ target) for target in targets.astype(np.float64)]
        best = products.index(max(products))
        found.append((best, products[best], np.sqrt(x @ x)))
    index, product, length = np.array(found).reshape(-1, 3).T
    return index.astype(np.int64), product, length
