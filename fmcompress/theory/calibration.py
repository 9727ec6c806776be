"""Raw similarities mapped to [0, 1], where 1/2 parts yes from no."""

import numpy as np
from numpy.typing import NDArray

from ..errors import ConfigError
from .score_files import Matrix

Mask = NDArray[np.bool_]
CALIBRATIONS = ("prompt", "range", "none")
RESOLUTION = 1e-6  # of the largest score: about what a sum of float32 products is off


def resolution_of(values: Matrix, share: float = RESOLUTION) -> float:
    """By how much two scores may differ and still be the same number."""
    return share * float(abs(values).max())


def calibrated(values: Matrix, positive: Mask, how: str, resolution: float) -> Matrix:
    """[objects, prompts] in [0, 1], of similarities and of whether each object is of the task.

    how  prompt  each prompt by a bent line of its own: least score to 0, threshold to 1/2, greatest to 1. The threshold
                 is the middle of the gap between the best object that is not of the task and the next one that is and
                 lies above it by more than `resolution`, so that no prompt says yes to what is not. It is fitted to
                 these labels. Without such a gap no value is above 1/2.
         range   one line for all prompts: least score to 0, greatest to 1
         none    as they are

    Raises ConfigError for another `how`, and for values outside [0, 1] with none.
    """
    if how == "prompt":
        return _by_prompt(values, positive, resolution)
    if how == "range":
        return in_unit_range(values)
    if how != "none":
        raise ConfigError(f"calibration: expected one of {', '.join(CALIBRATIONS)}, got {how!r}.")
    if not is_unit(values):
        raise ConfigError(
            f"calibration: with none expected scores in [0, 1], got {values.min():g} to {values.max():g}. "
            "Take prompt or range."
        )
    return values


def is_unit(values: Matrix) -> bool:
    """Whether all values lie in [0, 1]."""
    return bool(values.min() >= 0 and values.max() <= 1)


def in_unit_range(values: Matrix) -> Matrix:
    """The least value to 0, the greatest to 1; all 0 if they are equal."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low if high > low else 1.0)


def thresholds(values: Matrix, positive: Mask, resolution: float) -> Matrix:
    """[prompts]: what a score must be above for a prompt to say yes; infinite where it can say it to nothing."""
    worst = values[~positive].max(axis=0)
    above = np.where(values[positive] > worst + resolution, values[positive], np.inf).min(axis=0)
    return (worst + above) / 2


def _by_prompt(values: Matrix, positive: Mask, resolution: float) -> Matrix:
    low, high = values.min(axis=0), values.max(axis=0)
    bend = np.minimum(thresholds(values, positive, resolution), high)
    below = (values - low) / np.where(bend > low, bend - low, 1) / 2
    above = (values - bend) / np.where(high > bend, high - bend, 1) / 2 + 0.5
    return np.where(values <= bend, below, above)
