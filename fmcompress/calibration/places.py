"""Where a running model holds the weights that are solved: linear layers, GPT-2's Conv1D, slices of fused experts."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from torch import Tensor, nn

from ..errors import CheckpointError
from .sources import Piece, Sources

# modules of fused experts that do not tell themselves, as the others do, whether their slices lie as [cols, rows]
FUSED = {"Llama4TextExperts": True, "JetMoeParallelExperts": False}
ROUTERS = {"gate", "router", "shared_expert_gate"}


@dataclass(frozen=True)
class Place:
    """A weight [rows, cols] inside a parameter.

    expert      index along the first axis of a parameter of three
    rows        which of the rows, where several checkpoint tensors share the parameter
    transposed  whether it lies there as [cols, rows], as it does in the checkpoint then
    """

    module: nn.Module
    key: str = "weight"
    expert: int | None = None
    rows: slice = field(default_factory=lambda: slice(None))
    transposed: bool = False

    @property
    def weight(self) -> Tensor:
        """A view [rows, cols]."""
        whole = self.module._parameters[self.key]
        assert whole is not None
        return self.within(whole.detach())

    def name_in(self, block: nn.Module) -> str:
        """The parameter's name within a block."""
        path = next(path for path, module in block.named_modules() if module is self.module)
        return f"{path}.{self.key}" if path else self.key

    def within(self, whole: Tensor) -> Tensor:
        """The view of another tensor of the parameter's shape, such as its mask."""
        matrix = whole if self.expert is None else whole[self.expert]
        return (matrix.T if self.transposed else matrix)[self.rows]


def places(block: nn.Module, sources: Sources) -> Iterator[tuple[str, str, Place]]:
    """The weights of a block that can be solved: (name within the block, name in the checkpoint, place).

    A slice of a checkpoint tensor is named NAME[INDEX].
    """
    fused = any(isinstance(transposed_experts(module), bool) for module in block.modules())
    for name, module in block.named_modules():
        if fused and not ROUTERS.isdisjoint(name.split(".")):
            continue
        for key, transposed in _solvable(module).items():
            source = sources[id(module), key]
            for piece in source if len(source) > 1 else _slices(source[0].name, module, key):
                within = name if key == "weight" and not piece.index else f"{name}: {piece.name}"
                yield within, piece.name, _place(module, key, piece, transposed)


def transposed_experts(module: nn.Module) -> bool | None:
    """Whether the slices of a module of fused experts lie as [cols, rows]; None if it is no such module."""
    if not any(p is not None and p.dim() == 3 for p in module._parameters.values()):
        return None
    told = getattr(module, "is_transposed", None)
    return told if isinstance(told, bool) else FUSED.get(type(module).__name__)


def _solvable(module: nn.Module) -> dict[str, bool]:
    """The keys of a module's weights, and whether they lie as [cols, rows]."""
    from transformers.pytorch_utils import Conv1D

    if isinstance(module, nn.Linear):
        return {"weight": False}
    if isinstance(module, Conv1D):
        return {"weight": True}
    transposed = transposed_experts(module)
    if transposed is None:
        return {}
    return {key: transposed for key, p in module._parameters.items() if p is not None and p.dim() == 3}


def _slices(name: str, module: nn.Module, key: str) -> list[Piece]:
    parameter = module._parameters[key]
    assert parameter is not None
    if parameter.dim() == 2:
        return [Piece(name)]
    return [Piece(f"{name}[{number}]", (number,)) for number in range(len(parameter))]


def _place(module: nn.Module, key: str, piece: Piece, transposed: bool) -> Place:
    expert = next((number for number in piece.index if isinstance(number, int)), None)
    axes = [part for part in piece.index if isinstance(part, slice)]
    axes += [slice(None)] * (2 - len(axes))
    cols, rows = axes if transposed else axes[::-1]
    if cols != slice(None):
        raise CheckpointError(f"{piece.name}: unknown architecture: it holds some columns of a weight only.")
    return Place(module, key, expert, rows, transposed)
