"""The truth of low_rank_rows_: row by row, in float64."""

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
