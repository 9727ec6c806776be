"""How tokens are drawn, and when a text ends: handed to transformers' generate(), free of any global generator."""

import hashlib
from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor


def generator_of(prompt: str, sample: int, seed: int) -> np.random.Generator:
    """The random numbers of one sample of one prompt: the same ones whatever else is in the batch."""
    digest = hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).digest()
    return np.random.default_rng([seed & (2**64 - 1), sample, int.from_bytes(digest[:8], "little")])


def draw(logits: Tensor, uniform: Tensor, temperature: float, top_p: float) -> Tensor:
    """Tokens [rows] int64: of the likeliest ones that have a mass of top_p together, in float64.

    logits   [rows, vocabulary]
    uniform  [rows] float64 in [0, 1): which token it becomes
    """
    chances, tokens = torch.softmax(logits.double() / temperature, -1).sort(dim=-1, descending=True, stable=True)
    mass = chances.cumsum(-1)
    kept = (mass - chances < top_p).sum(-1, keepdim=True)  # a token counts if those before it have less
    target = uniform.to(mass)[:, None] * mass.gather(-1, kept - 1)
    places = torch.searchsorted(mass, target, right=True).minimum(kept - 1)
    return tokens.gather(-1, places).squeeze(-1)


class Draw:
    """A logits processor that leaves one token of each row: the one that its generator draws."""

    def __init__(self, generators: Sequence[np.random.Generator], temperature: float, top_p: float) -> None:
        self.generators, self.temperature, self.top_p = generators, temperature, top_p

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[rows, vocabulary]: 0 for the token drawn, minus infinity elsewhere."""
        uniform = torch.tensor([one.random() for one in self.generators], dtype=torch.float64)
        chosen = draw(scores, uniform, self.temperature, self.top_p)
        return torch.full_like(scores, -torch.inf).scatter_(-1, chosen[:, None], 0.0)


class Stop:
    """A stopping criterion: a row ends where its new text holds one of the texts.

    text_of  (row, tokens) -> the new text of a row
    """

    def __init__(self, stop: Sequence[str], text_of: Callable[[int, Tensor], str]) -> None:
        self.stop, self.text_of = stop, text_of

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        """[rows] bool."""
        texts = [self.text_of(row, tokens) for row, tokens in enumerate(input_ids)]
        ended = [any(stop in text for stop in self.stop) for text in texts]
        return torch.tensor(ended, dtype=torch.bool, device=input_ids.device)
