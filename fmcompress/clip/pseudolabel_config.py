"""How a prompt is tuned by pseudo-labels: which labels are known, how images are picked, how long and how fast."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any, Literal, get_args

from ..errors import ConfigError
from .pseudolabels import Selection

Paradigm = Literal["ssl", "trzsl", "ul"]
Strategy = Literal["fpl", "ifpl", "grip", "labelled"]
Weighting = Literal["paper", "released"]
CHOICES: dict[str, Any] = {"paradigm": Paradigm, "strategy": Strategy, "select": Selection, "weighting": Weighting}
AT_LEAST: dict[str, int] = {"k": 1, "iterations": 1, "epochs": 1, "batch_size": 1, "warmup_epochs": 0, "seed": 0}


@dataclass(frozen=True)
class PseudolabelConfig:
    """Menghini et al.'s choices; the defaults are the settings of their released code, whatever the strategy.

    paradigm       "ssl": a few labelled images of every class; "trzsl": many of some classes, none of the others, and
                   it is known that the unlabelled ones are of the others; "ul": no labels
    strategy       "fpl": train once, on k pseudo-labels a class; "ifpl": relabel with the tuned prompt, the same k;
                   "grip": relabel, more images each time, up to nearly all; "labelled": the baseline without them
    k              pseudo-labels a class, for fpl and ifpl
    iterations     of ifpl and grip
    lr             the highest rate; None: what suits the prompt, 0.1, or 0.01 for multimodal ones
    warmup_epochs  over which the rate rises from 0: in epoch 0 nothing moves
    select         as of select_topk
    weighting      "paper": the smaller kind of label counts more; "released": as their ifpl and grip do it, where in
                   "ssl" the labelled images count less the fewer they are
    reinit         every iteration begins with the seed's prompt; else where the last one ended, and the first with the
                   prompt as it is
    validation     share of the pseudo-labels to measure on instead of training, from 10 a class on; they took 0.2
    seed           of the initial prompt and the order of images

    Raises ConfigError for values that do not fit.
    """

    paradigm: Paradigm = "ul"
    strategy: Strategy = "grip"
    k: int = 16
    iterations: int = 10
    epochs: int = 150
    batch_size: int = 16
    lr: float | None = None
    weight_decay: float = 0.1
    warmup_epochs: int = 5
    select: Selection = "column_topk"
    weighting: Weighting = "paper"
    reinit: bool = True
    validation: float = 0.0
    seed: int = 0

    def __post_init__(self) -> None:
        for name, kinds in CHOICES.items():
            if getattr(self, name) not in get_args(kinds):
                raise ConfigError(f"{name}: expected one of {', '.join(get_args(kinds))}, got {getattr(self, name)!r}.")
        for name, least in AT_LEAST.items():
            value = getattr(self, name)
            if type(value) is not int or value < least:
                raise ConfigError(f"{name}: expected a whole number from {least} on, got {value!r}.")
        if self.warmup_epochs >= self.epochs:
            raise ConfigError(
                f"warmup_epochs: expected fewer than {self.epochs} epochs, got {self.warmup_epochs}. Train longer, or "
                "warm up for less."
            )
        self._number("weight_decay", self.weight_decay, lambda value: 0 <= value < float("inf"), "from 0 on")
        self._number("validation", self.validation, lambda value: 0 <= value < 1, "from 0 to below 1")
        if self.lr is not None:
            self._number("lr", self.lr, lambda value: 0 < value < float("inf"), "above 0")
        if self.paradigm == "ul" and self.strategy == "labelled":
            raise ConfigError("strategy: labelled needs labels, and ul has none. Use ssl or trzsl.")

    def changed(self, **changes: Any) -> "PseudolabelConfig":
        """A copy with other values. Raises ConfigError for names that are no option, too."""
        known = {one.name: getattr(self, one.name) for one in fields(self)}
        unknown = sorted(set(changes) - set(known))
        if unknown:
            raise ConfigError(f"{unknown[0]}: no such option. Expected one of {', '.join(known)}.")
        return PseudolabelConfig(**{**known, **changes})

    def loss_weights(self, labelled: int, pseudo: int) -> tuple[float, float]:
        """What the mean losses of labelled and pseudo-labelled images are multiplied by, for so many of each."""
        if not pseudo or not labelled:
            return float(labelled > 0), float(pseudo > 0)
        if self.paradigm == "trzsl":
            return 1.0, labelled / pseudo
        inverted = self.weighting == "released" and self.strategy != "fpl"
        return (labelled / pseudo if inverted else pseudo / labelled), 1.0

    @staticmethod
    def _number(name: str, value: Any, fits: Callable[[float], bool], told: str) -> None:
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not fits(value):
            raise ConfigError(f"{name}: expected a number {told}, got {value!r}.")
