"""From a checkpoint on disk, or a model in memory, to a transformers model that computes with packed weights."""

import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..calibration.architecture import build_on_meta, materialise_buffers, own_tensors
from ..calibration.sources import Source, assemble, tensor_sources
from ..checkpoint import Checkpoint
from ..devices import pick_device, pick_dtype
from ..errors import CheckpointError, ConfigError
from ..formats import open_checkpoint
from ..layerwise import Grid, LayerResult, Pattern
from ..quantization import round_to_nearest
from .mapped import MappedTensors
from .packed_linear import PackedLinear, PackedWeight
from .reader import WeightReader


def load(
    path: str | Path,
    *,
    device: str = "cpu",
    dtype: str | torch.dtype = "auto",
    verify: bool = True,
    dense: bool = False,
) -> Any:
    """A checkpoint as the transformers model that wrote it: of a language model, ready for generate().

    Linear layers whose weights are packed, or quantized as compressed-tensors has it, become PackedLinear modules that
    read the mapped files where they lie. The other tensors are mapped as well; a dense checkpoint has only such.

    path    folder of a dense, packed or compressed-tensors checkpoint; its files must not change while they are mapped
    device  "cpu", "cuda", "cuda:1", ... or "auto"
    dtype   "auto", "float32", "bfloat16", "float16" or torch's: of activations and of tensors not packed;
            auto is the checkpoint's own, but on a CPU float32 in the place of float16, which is slow there
    verify  read everything once: checksums, masks, places and scales. Without it the first token comes sooner, and
            damage shows when a layer is first used or, where only numbers changed, not at all; memory is safe anyway
    dense   make everything dense instead, with parameters in memory of their own, which learn

    Raises CheckpointError or PayloadError if the checkpoint is damaged or transformers does not know it, ConfigError
    for a device or dtype that is not there.
    """
    checkpoint, target = open_checkpoint(path), pick_device(device)
    dtype = str(dtype).removeprefix("torch.")
    own = _stored_dtype(checkpoint)
    compute = pick_dtype(dtype, target, own) if dtype != "auto" else own
    if dtype == "auto" and (own, target.type) == (torch.float16, "cpu"):
        compute = torch.float32
    loader = _Loader(checkpoint, build_on_meta(checkpoint, compute), compute, target, verify, dense)
    loader.fill()
    return loader.model


def _stored_dtype(checkpoint: Checkpoint) -> torch.dtype:
    """Of float32, bfloat16 and float16 the one that most weights of a checkpoint have."""
    weights = dict.fromkeys((torch.float32, torch.bfloat16, torch.float16), 0)
    for entry in checkpoint.tensors.values():
        if entry.dtype in weights:
            weights[entry.dtype] += math.prod(entry.shape)
    return max(weights, key=weights.__getitem__)


def _refuse_to_save(*_: Any, **__: Any) -> None:
    raise ConfigError(
        "save_pretrained: transformers reads no packed weights and would take random ones. "
        "Copy the checkpoint's folder, or write it dense with fmcompress unpack."
    )


class _Loader:
    """Fills a model on the meta device from a checkpoint."""

    def __init__(
        self, checkpoint: Checkpoint, model: Any, dtype: torch.dtype, device: torch.device, verify: bool, as_dense: bool
    ) -> None:
        self.as_dense = as_dense
        self.checkpoint, self.model, self.dtype, self.device = checkpoint, model, dtype, device
        self.mapped = MappedTensors()
        self.reader = WeightReader(checkpoint, self.mapped, verify)
        self.sources = tensor_sources(model, checkpoint)
        self._parameters: dict[str, nn.Parameter] = {}  # by name: tied weights are one parameter

    def fill(self) -> None:
        materialise_buffers(self.model, self.device)  # of the model's own modules, so first
        done: dict[int, PackedLinear | None] = {}  # a layer may have several names
        for path, module in list(self.model.named_modules(remove_duplicate=False)):
            if type(module) is nn.Linear and id(module) not in done:
                done[id(module)] = self._packed(module)
            packed = done.get(id(module))
            if packed is not None:
                _replace(self.model, path, packed)
                self.model.save_pretrained = _refuse_to_save
                continue
            for key, tensor in own_tensors(module):
                self._put(module, key, tensor.shape)
        self._put_generation_config()
        self.model.eval()

    def _packed(self, linear: nn.Linear) -> PackedLinear | None:
        if self.as_dense:
            return None
        source = self.sources[id(linear), "weight"]
        name = source[0].name
        weight = self.reader.read(name) if len(source) == 1 else None
        if weight is None:
            return None
        self._check_shape(name, weight.shape, linear.weight.shape)
        bias = None if linear.bias is None else self._dense(self.sources[id(linear), "bias"], linear.bias.shape)
        return PackedLinear(weight, bias).to(self.device)

    def _put(self, module: nn.Module, key: str, shape: torch.Size) -> None:
        source = self.sources[id(module), key]
        name = source[0].name
        if key not in module._parameters:
            module._buffers[key] = self._dense(source, shape)
            return
        if name not in self._parameters:
            self._parameters[name] = nn.Parameter(self._dense(source, shape), requires_grad=self.as_dense)
        module._parameters[key] = self._parameters[name]

    def _dense(self, source: Source, shape: torch.Size) -> Tensor:
        """A tensor that is not packed, or not for a linear layer: a view of the file where nothing has to change."""
        tensor = assemble(source, shape, self.checkpoint.read if self.as_dense else self._mapped_or_read)
        return tensor.to(self.device, self.dtype if tensor.is_floating_point() else tensor.dtype)

    def _mapped_or_read(self, name: str) -> Tensor:
        stored = self.checkpoint.stored.get(name)
        return self.checkpoint.read(name) if stored is None else self.mapped.tensor(stored)

    def _check_shape(self, name: str, got: tuple[int, ...], expected: tuple[int, ...]) -> None:
        if tuple(got) != tuple(expected):
            raise CheckpointError(f"{name}: expected shape {list(expected)} by config.json, got {list(got)}.")

    def _put_generation_config(self) -> None:
        import transformers

        if not (self.checkpoint.folder / "generation_config.json").exists():
            return
        try:
            config = transformers.GenerationConfig.from_pretrained(self.checkpoint.folder, local_files_only=True)
        except (OSError, ValueError, TypeError) as error:
            raise CheckpointError(
                f"{self.checkpoint.folder / 'generation_config.json'}: cannot be read ({error}). Fetch it again."
            ) from None
        self.model.generation_config = config


def replace_linears(
    model: nn.Module,
    results: Mapping[str, LayerResult] | None = None,
    *,
    pattern: Pattern | None = None,
    grid: Grid | None = None,
    include: str | None = None,
    exclude: str | None = r"(^|\.)(lm_head|output|embed_out)$",
) -> list[str]:
    """Give the linear layers of a model in memory packed weights, in place. Returns their names.

    model     any module; its nn.Linear become PackedLinear
    results   name of a layer -> what a solver made of its weight; only these layers are replaced. None: all, as they
              are, with zeros left out where that is smaller
    pattern   the N:M pattern that the weights follow, which may be stored in fewer bytes than a bitmask
    grid      without results: round the weights to it, zeros stay
    include, exclude  regular expressions over the layers' names; the output layer is left alone by default

    A layer that no packed form makes smaller stays as it is, as do subclasses of nn.Linear. Raises ConfigError for a
    name that is no linear layer, a weight of another shape than its result, or a regular expression that is none.
    """
    if isinstance(model, nn.Linear):
        raise ConfigError("model: is a linear layer itself. Put it into a module, or make a PackedLinear of it.")
    # subclasses are left alone: who made them reads their weight, as nn.MultiheadAttention does
    linears = {n: module for n, module in model.named_modules(remove_duplicate=False) if type(module) is nn.Linear}
    unknown = sorted((results or {}).keys() - linears.keys())
    if unknown:
        raise ConfigError(
            f"{unknown[0]}: the model has no nn.Linear of that name. Give names of modules, without .weight."
        )
    replaced, done = [], dict[int, PackedLinear]()
    for name, linear in linears.items():
        if not _wanted(name, results, include, exclude):
            continue
        if id(linear) in done:  # one layer of several names
            _replace(model, name, done[id(linear)])
            continue
        result = results[name] if results is not None else _as_it_is(linear.weight.detach(), grid)
        if result.weight.shape != linear.weight.shape:
            raise ConfigError(f"{name}: expected {list(linear.weight.shape)}, got {list(result.weight.shape)}.")
        weight = PackedWeight.of(result, pattern)
        if weight.size_bytes < linear.weight.nbytes:
            bias = None if linear.bias is None else linear.bias.detach()
            done[id(linear)] = PackedLinear(weight, bias)
            _replace(model, name, done[id(linear)])
            replaced.append(name)
    if replaced and hasattr(model, "save_pretrained"):
        model.save_pretrained = _refuse_to_save  # type: ignore[assignment]
    return replaced


def _wanted(name: str, results: Any, include: str | None, exclude: str | None) -> bool:
    try:
        excluded = exclude is not None and re.search(exclude, name) is not None
        return (
            (results is None or name in results)
            and (include is None or re.search(include, name) is not None)
            and not (excluded and results is None)
        )
    except re.error as error:
        raise ConfigError(f"include, exclude: no regular expression ({error}).") from None


def _as_it_is(weight: Tensor, grid: Grid | None) -> LayerResult:
    if grid is not None:
        return round_to_nearest(weight, grid)
    weight = weight + 0.0  # -0.0 becomes 0.0, of which packed forms know one
    return LayerResult(weight, loss=0.0, relative_error=0.0, zeros=int((weight == 0).sum()))


def _replace(model: nn.Module, path: str, module: nn.Module) -> None:
    parent, _, name = path.rpartition(".")
    setattr(model.get_submodule(parent), name, module)
