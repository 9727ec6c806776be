"""Pruning methods: functions from a weight and its Hessian to a LayerResult."""

from ..layerwise import NM, LayerResult, Pattern, Unstructured, parse_pattern
from .admm import ADMM_STEPS, FINAL_STEPS, LEVEL, admm
from .magnitude import magnitude
from .refit import REFIT_STEPS, refit
from .sparsegpt import sparsegpt
from .swap import swap
from .wanda import wanda

__all__ = [
    "ADMM_STEPS",
    "FINAL_STEPS",
    "LEVEL",
    "NM",
    "REFIT_STEPS",
    "LayerResult",
    "Pattern",
    "Unstructured",
    "admm",
    "magnitude",
    "parse_pattern",
    "refit",
    "sparsegpt",
    "swap",
    "wanda",
]
