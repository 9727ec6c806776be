"""What tests of visual clues share: an encoder of three colours, and a picture of two."""

import numpy as np

NAMES = ("red", "green", "blue")


class ColourEncoder:
    """An image is its mean colour, a text the colours that it names; remembers the sizes of the images."""

    dim, identity, logit_scale, logit_bias = 3, {"model": "colour"}, 1.0, 0.0

    def __init__(self):
        self.sizes = []

    def encode_images(self, images):
        self.sizes += [image.size for image in images]
        return unit([np.asarray(image, float).mean((0, 1)) + 1e-3 for image in images])

    def encode_text(self, texts):
        return unit([[text.count(name) + 1e-3 for name in NAMES] for text in texts])


def unit(rows):
    rows = np.asarray(rows, np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def picture():
    from PIL import Image

    image = Image.new("RGB", (40, 20), (250, 0, 0))
    image.paste((0, 0, 200), (20, 0, 40, 20))
    return image
