"""CocktailSGD's hook in Hugging Face Accelerate and in the transformers Trainer; needs the extra `hf` or accelerate."""

from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from accelerate import DistributedDataParallelKwargs
from transformers import TrainerCallback

from ..errors import ConfigError
from .config import CocktailConfig
from .ddp import CocktailState, cocktail_hook


class CocktailKwargs(DistributedDataParallelKwargs):  # type: ignore[misc]
    """CocktailKwargs(config).attach(accelerator) before Accelerator.prepare: its DDP models then exchange compressed
    gradients. Accelerate takes no subclass in kwargs_handlers, and no hook of one's own in the class itself.

    config         how gradients are compressed
    state_options  of CocktailState, such as {"start_iteration": 100}

    The other options of DDP stay as the accelerator has them. After prepare(), `state` is the CocktailState, to be
    saved on every rank; None with a single process.
    """

    def __init__(self, config: CocktailConfig | None = None, state_options: dict[str, Any] | None = None) -> None:
        super().__init__()
        self._config, self._state_options = config, dict(state_options or {})
        self.state: CocktailState | None = None

    def attach(self, accelerator: Any) -> "CocktailKwargs":
        """Become the accelerator's options of DDP."""
        if accelerator.ddp_handler is not None:
            for name, value in accelerator.ddp_handler.to_dict().items():
                setattr(self, name, value)
        accelerator.ddp_handler = self

        def loss_scale() -> float:
            return 1.0 if accelerator.scaler is None else accelerator.scaler.get_scale()

        self._state_options.setdefault("loss_scale", loss_scale)
        return self

    def to_dict(self) -> dict[str, Any]:
        """The options of DDP alone."""
        hooks = ("comm_hook", "comm_wrapper", "comm_state_option")
        names = [field.name for field in fields(DistributedDataParallelKwargs) if field.name not in hooks]
        return {name: getattr(self, name) for name in names}

    def register_comm_hook(self, model: Any) -> None:
        """Called by Accelerator.prepare."""
        self.state = CocktailState(model.named_parameters(), self._config, **self._state_options)
        model.register_comm_hook(self.state, cocktail_hook)


class CocktailCallback(TrainerCallback):  # type: ignore[misc]
    """For the transformers Trainer: CocktailCallback(config).attach(trainer) before trainer.train().

    Every checkpoint gets cocktail-RANK.pt beside its other files, from which a training goes on that resumes from a
    checkpoint in its own output_dir. Arguments as for CocktailKwargs.
    """

    def __init__(self, config: CocktailConfig | None = None, state_options: dict[str, Any] | None = None) -> None:
        self._kwargs = CocktailKwargs(config, state_options)

    def attach(self, trainer: Any) -> "CocktailCallback":
        """Put the hook into the trainer's Accelerator. Raises ConfigError if the trainer does not use DDP."""
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            raise ConfigError(
                "trainer: uses FSDP or DeepSpeed, which have no DDP hook. Use CocktailAllReduce with FSDP2."
            )
        self._kwargs.attach(trainer.accelerator)
        trainer.add_callback(self)
        return self

    @property
    def state(self) -> CocktailState | None:
        """None before the training has begun, and where there is a single process."""
        return self._kwargs.state

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Take up what the checkpoint says was not sent."""
        if self.state is not None and state.global_step:
            file = _file(args, state, self.state)
            if not file.exists():
                raise ConfigError(f"{file}: is missing. Resume from a checkpoint that this callback has written.")
            self.state.load_state_dict(torch.load(file, weights_only=True))

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Every rank beside the trainer's own files."""
        if self.state is not None:
            file = _file(args, state, self.state)
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_suffix(".partial")
            torch.save(self.state.state_dict(), part)
            part.replace(file)


def _file(args: Any, state: Any, own: CocktailState) -> Path:
    return Path(args.output_dir) / f"checkpoint-{state.global_step}" / f"cocktail-{own.workers.rank}.pt"
