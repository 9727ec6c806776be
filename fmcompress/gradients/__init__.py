"""Compressed gradients and model deltas for training over slow networks."""

from .all_reduce import CocktailAllReduce
from .cocktail_sgd import CocktailSGD
from .compressor import Compressor
from .config import CocktailConfig
from .ddp import CocktailState, cocktail_hook
from .payload import PayloadHeader

__all__ = [
    "CocktailAllReduce",
    "CocktailConfig",
    "CocktailSGD",
    "CocktailState",
    "Compressor",
    "PayloadHeader",
    "cocktail_hook",
]
