"""What transformers knows of an architecture: the module tree without weights, its blocks and its tensor names."""

from typing import Any

import torch
from torch import Tensor, nn

from ..checkpoint import Checkpoint
from ..errors import CheckpointError, in_one_line


def own_tensors(module: nn.Module) -> list[tuple[str, Tensor]]:
    """A module's own parameters and saved buffers, without those of its children."""
    saved = [(key, buffer) for key, buffer in module._buffers.items() if key not in module._non_persistent_buffers_set]
    return [(key, tensor) for key, tensor in [*module._parameters.items(), *saved] if tensor is not None]


def build_on_meta(checkpoint: Checkpoint, dtype: torch.dtype) -> Any:
    """The causal language model of config.json, without weights. Raises CheckpointError if there is none."""
    import transformers

    _ = checkpoint.config  # its errors are clearer than those of transformers
    try:
        config = transformers.AutoConfig.from_pretrained(
            checkpoint.folder, local_files_only=True, trust_remote_code=False
        )
        with torch.device("meta"):
            model = transformers.AutoModelForCausalLM.from_config(config, dtype=dtype, trust_remote_code=False)
    except Exception as error:
        raise CheckpointError(
            f"{checkpoint.folder}: unknown architecture: transformers {transformers.__version__} builds no causal "
            f"language model from its config.json ({in_one_line(error)})."
        ) from None
    return model.eval()


def tensor_names(model: Any, checkpoint: Checkpoint) -> dict[tuple[int, str], str]:
    """(id of module, its tensor's key) -> name in the checkpoint. Tied tensors lead to the one that is stored."""
    prefix = f"{model.base_model_prefix}."
    stored = _renamed(model, checkpoint)
    tied = {f"{key}": f"{value}" for key, value in (getattr(model, "all_tied_weights_keys", None) or {}).items()}
    names: dict[tuple[int, str], str] = {}
    missing: list[str] = []
    for path, module in model.named_modules():
        for key, _ in own_tensors(module):
            full = f"{path}.{key}" if path else key
            candidates = [form for name in (full, tied.get(full)) if name for form in (name, name.removeprefix(prefix))]
            found = next((stored[name] for name in candidates if name in stored), None)
            if found is None:
                missing.append(full)
            else:
                names[id(module), key] = found
    if missing:
        raise CheckpointError(
            f"{checkpoint.folder}: unknown architecture: {type(model).__name__} wants {len(missing)} tensor(s) that "
            f"the checkpoint does not hold under that name, first {missing[0]!r}."
        )
    return names


def _renamed(model: Any, checkpoint: Checkpoint) -> dict[str, str]:
    """The model's name of a tensor -> the checkpoint's, where transformers only renames it on loading."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming

    renamings = [rule for rule in get_model_conversion_mapping(model) if type(rule) is WeightRenaming]
    names = {name: name for name in checkpoint.tensors}
    for name in checkpoint.tensors:
        renamed = name
        for rule in renamings:
            renamed = rule.rename_source_key(renamed)[0]
        names.setdefault(renamed, name)
    return names


def find_blocks(model: Any, checkpoint: Checkpoint) -> list[tuple[str, nn.Module]]:
    """The longest ModuleList whose members are of the classes that transformers never splits over devices."""
    classes = set(model._no_split_modules or ())
    lists = [
        [(f"{path}.{index}", block) for index, block in enumerate(module)]
        for path, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and any(type(block).__name__ in classes for block in module)
    ]
    if not lists:
        raise CheckpointError(
            f"{checkpoint.folder}: unknown architecture: {type(model).__name__} has no list of blocks."
        )
    return max(lists, key=len)


def materialise_buffers(model: Any, device: torch.device) -> None:
    """Compute the buffers that no checkpoint stores, such as rotary frequencies, as transformers does on loading."""
    for path, module in model.named_modules():
        keys = [key for key in module._non_persistent_buffers_set if module._buffers.get(key) is not None]
        for key in keys:
            empty = torch.empty_like(module._buffers[key], device=device)
            module._buffers[key] = empty.fill_(torch.nan) if empty.is_floating_point() else empty.fill_(0)
        if keys:
            model._init_weights(module)
        for key in keys:
            if module._buffers[key].is_floating_point() and module._buffers[key].isnan().any():
                raise CheckpointError(
                    f"unknown architecture: buffer {path}.{key} cannot be computed without its weights."
                )
