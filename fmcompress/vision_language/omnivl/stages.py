"""The order of learning: images first, then images and videos by turns; who is drawn is a function of seed and step."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from ...errors import CalibrationError, ConfigError


@dataclass(frozen=True)
class Stage:
    """A part of decoupled joint pretraining (Wang et al. 2022).

    kind         "image": images alone, so that weights over time keep what they are; "joint": images and videos
    steps        batches
    video_share  of a joint stage's batches that are of videos, spread evenly. The paper does not say: 0.5
    """

    kind: Literal["image", "joint"]
    steps: int
    video_share: float = 0.5

    def __post_init__(self) -> None:
        if self.kind not in ("image", "joint"):
            raise ConfigError(f"stage: expected image or joint, got {self.kind!r}.")
        if self.steps < 1:
            raise ConfigError(f"{self.kind} stage: expected 1 step at least, got {self.steps}. Leave the stage out.")
        if not 0 < self.video_share <= 1:
            raise ConfigError(f"video share: expected more than 0 and at most 1, got {self.video_share}.")

    def videos_before(self, step: int) -> int:
        """How many of the stage's first `step` batches are of videos."""
        return int(step * self.video_share) if self.kind == "joint" else 0


class Turn(NamedTuple):
    """A step: its stage, its place in it, whether it is of videos, and how many batches of that kind were before."""

    stage: Stage
    place: int
    video: bool
    number: int


def turn(stages: Sequence[Stage], step: int) -> Turn:
    """What a step from 0 does."""
    images = videos = 0
    for stage in stages:
        if step < stage.steps:
            before = stage.videos_before(step)
            if stage.videos_before(step + 1) > before:
                return Turn(stage, step, True, videos + before)
            return Turn(stage, step, False, images + step - before)
        of_videos = stage.videos_before(stage.steps)
        step, images, videos = step - stage.steps, images + stage.steps - of_videos, videos + of_videos
    raise IndexError(f"step: {step} behind the last one.")


def require_items(stages: Sequence[Stage], videos: NDArray[np.bool_]) -> None:
    """Raise CalibrationError if a stage needs images or videos and there are none, ConfigError without a stage."""
    if not stages:
        raise ConfigError("stages: none, so that nothing is learned. Give steps of images or of both.")
    for stage in stages:
        of_videos = stage.videos_before(stage.steps)
        if of_videos and not videos.any():
            raise CalibrationError("joint stage: there are no videos among the pairs. Leave it out: --joint-steps 0.")
        if of_videos < stage.steps and videos.all():
            raise CalibrationError(
                f"{stage.kind} stage: there are no images among the pairs. Leave it out, or learn from videos alone: "
                "--image-steps 0 --video-share 1."
            )
