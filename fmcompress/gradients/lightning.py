"""CocktailSGD's hook in Lightning, on CPUs and GPUs; needs the package lightning."""

import os
from typing import Any

from lightning.pytorch.strategies import DDPStrategy

from ..errors import ConfigError
from .config import CocktailConfig
from .ddp import CocktailState, cocktail_hook


class CocktailStrategy(DDPStrategy):  # type: ignore[misc]
    """Trainer(strategy=CocktailStrategy(config), …): Lightning's DDP, exchanging compressed gradients.

    config         how gradients are compressed
    state_options  of CocktailState, such as {"start_iteration": 100}
    options        of DDPStrategy, such as process_group_backend; of DistributedDataParallel, such as bucket_cap_mb

    `state` is the CocktailState of the last fit(), None before; each fit() begins a new one. DDPStrategy's own
    ddp_comm_hook needs its state before there is a model, and is registered for CUDA devices only
    (DDPStrategy._register_ddp_hooks); this one is registered wherever the model is wrapped. Not yet run on a GPU.

    Next to every checkpoint that holds the optimizer's state, each rank writes CHECKPOINT.cocktail-RANK through the
    trainer's CheckpointIO, and fit(ckpt_path=…) reads it: as many ranks go on bit for bit. They are removed together.
    Raises ConfigError for a second hook, and where a checkpoint to go on from has no such files. For `import
    lightning`; the older package pytorch_lightning takes no strategy of it.
    """

    def __init__(
        self, config: CocktailConfig | None = None, state_options: dict[str, Any] | None = None, **options: Any
    ) -> None:
        if options.get("ddp_comm_hook") is not None or options.get("ddp_comm_wrapper") is not None:
            raise ConfigError("ddp_comm_hook: DDP takes one hook, and this strategy is one. Use DDPStrategy for yours.")
        super().__init__(**options)
        self._config, self._state_options = config, dict(state_options or {})
        self._state_options.setdefault("loss_scale", self._loss_scale)
        self._loaded_from = ""
        self.state: CocktailState | None = None

    def _loss_scale(self) -> float:
        scaler = getattr(self.precision_plugin, "scaler", None)  # of MixedPrecision in float16
        return 1.0 if scaler is None else float(scaler.get_scale())

    def configure_ddp(self) -> None:
        """Called by Lightning before training: wrap the model, and register the hook."""
        if self.state is not None:  # of a fit() before
            self.state.close()
        self.state = CocktailState(self.model.named_parameters(), self._config, **self._state_options)
        super().configure_ddp()
        self.model.register_comm_hook(self.state, cocktail_hook)

    def save_checkpoint(self, checkpoint: dict[str, Any], filepath: Any, storage_options: Any = None) -> None:
        """Called by Lightning on every rank."""
        super().save_checkpoint(checkpoint, filepath, storage_options)
        if self.state is not None and "optimizer_states" in checkpoint:  # training can go on from it
            self.checkpoint_io.save_checkpoint(self.state.state_dict(), self._own(filepath), storage_options)

    def remove_checkpoint(self, filepath: Any) -> None:
        """Called by Lightning on every rank."""
        super().remove_checkpoint(filepath)
        own = f"{filepath}.cocktail-{self.global_rank}"  # of this very name: what a link points to stays
        self.checkpoint_io.remove_checkpoint(own)

    def load_checkpoint(self, checkpoint_path: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Called by Lightning on every rank, before there is a hook."""
        self._loaded_from = str(checkpoint_path)
        return super().load_checkpoint(checkpoint_path, *args, **kwargs)  # type: ignore[no-any-return]

    def load_optimizer_state_dict(self, checkpoint: Any) -> None:
        """Called by Lightning where training goes on from a checkpoint: take up what was not sent, too."""
        super().load_optimizer_state_dict(checkpoint)
        if self.state is None:
            return
        file = self._own(self._loaded_from)
        try:
            held = self.checkpoint_io.load_checkpoint(file, weights_only=True)
        except FileNotFoundError:
            raise ConfigError(f"{file}: is missing. Go on from a checkpoint that CocktailStrategy wrote.") from None
        self.state.load_state_dict(held)

    def _own(self, checkpoint: Any) -> str:
        """This rank's file of a checkpoint; ModelCheckpoint's last.ckpt may be a link to another one."""
        path = os.path.realpath(checkpoint) if os.path.islink(checkpoint) else checkpoint
        return f"{path}.cocktail-{self.global_rank}"
