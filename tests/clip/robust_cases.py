"""Two classes on two backgrounds, in the numbers of Waterbirds: most of a class has one background."""

import numpy as np

from fmcompress.clip import normalised
from fmcompress.clip.robust import Part

TRAIN = (3498, 184, 56, 1057)  # class 0 on 0, 0 on 1, 1 on 0, 1 on 1
EVEN = (150, 150, 150, 150)
DIM = 32


def waterbirds(draw: np.random.Generator) -> tuple[Part, Part, Part, np.ndarray]:
    """train, val, test and text: what text sees is a mixture of thing and background."""
    z = np.linalg.qr(draw.standard_normal((DIM, DIM)))[0].T

    def part(counts: tuple[int, ...]) -> Part:
        groups = np.repeat(np.arange(4), counts)
        thing, place = 2 * (groups // 2) - 1, 2 * (groups % 2) - 1
        rows = 0.9 * np.outer(thing, z[0]) + 1.6 * np.outer(place, z[1]) + 1.5 * z[2]
        rows += 0.45 * draw.standard_normal(rows.shape)
        return Part(normalised(rows).astype(np.float32), groups // 2, groups)

    text = np.stack([z[2] - 0.5 * z[0] - 0.5 * z[1], z[2] + 0.5 * z[0] + 0.5 * z[1]])
    return part(TRAIN), part(EVEN), part((400,) * 4), normalised(text).astype(np.float32)
