"""What tests of CLIP share: rows of length 1, and an encoder that needs no model."""

import hashlib
from pathlib import Path

import numpy as np

from fmcompress.clip import normalised


def unit_rows(rows, dim=8, seed=0, dtype=np.float32):
    return normalised(np.random.default_rng(seed).standard_normal((rows, dim))).astype(dtype)


class HashEncoder:
    """For each text or file's bytes a row of its own, the same one always; counts what it is asked for."""

    dim, logit_scale, logit_bias = 8, 100.0, 0.0

    def __init__(self, model="hash", fail_after=None):
        self.identity = {"model": model, "version": 1}
        self.asked, self.fail_after = [], fail_after

    def encode_text(self, texts):
        return self._rows([text.encode() for text in texts])

    def encode_images(self, images):
        return self._rows([Path(image).read_bytes() for image in images])

    def _rows(self, items):
        if self.fail_after is not None and len(self.asked) + len(items) > self.fail_after:
            raise KeyboardInterrupt
        self.asked += items
        return np.concatenate([unit_rows(1, self.dim, int(hashlib.sha256(item).hexdigest()[:8], 16)) for item in items])
