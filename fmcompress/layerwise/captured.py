"""Solves kept as CUDA graphs: from the third layer of a shape on a solve is one replay, without Python between."""

import contextlib
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterator
from contextvars import ContextVar
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from .core import Outcome, Recipe, solve_core

MOST_GRAPHS = 8  # kept at a time; each holds a copy of its inputs and of its results


class CapturedSolves:
    """Graphs of solve_core() by shape, dtype, device and recipe.

    The first layer of its kind runs as usual, which also loads and allocates what is loaded and allocated once; the
    second is captured; later ones are replayed. All graphs share one pool of memory per device, so they must run one
    after the other on one stream, as the solves of a run do. Where a capture fails, that kind runs as usual from then
    on, to the same result, and `note` says so once.

    note  is given one sentence where a capture fails; None warns
    most  graphs to keep; the least recently used one goes first
    """

    def __init__(self, note: Callable[[str], None] | None = None, most: int = MOST_GRAPHS) -> None:
        self._note, self._most = note or warnings.warn, most
        self._graphs: OrderedDict[Hashable, _Graph] = OrderedDict()
        self._seen: set[Hashable] = set()
        self._refused: set[Hashable] = set()
        self._pools: dict[torch.device, Any] = {}

    def __len__(self) -> int:
        """Graphs that are kept now."""
        return len(self._graphs)

    def run(self, weight: Tensor, hessian: Tensor, recipe: Recipe) -> Outcome:
        """What solve_core() gives for these, in memory that no later call changes."""
        key = (recipe, weight.shape, weight.dtype, hessian.shape, hessian.dtype, weight.device)
        if key not in self._graphs and not (key in self._seen and self._captured(key, weight, hessian, recipe)):
            self._seen.add(key)
            return solve_core(weight, hessian, recipe)
        self._graphs.move_to_end(key)
        return self._graphs[key].replay(weight, hessian)

    def _captured(self, key: Hashable, weight: Tensor, hessian: Tensor, recipe: Recipe) -> bool:
        """Whether there is a graph of this kind now."""
        if key in self._refused:
            return False
        while len(self._graphs) >= self._most:
            self._graphs.popitem(last=False)[1].free()
        device = weight.device
        try:
            if device not in self._pools:
                self._pools[device] = torch.cuda.graph_pool_handle()
            self._graphs[key] = _Graph(weight, hessian, recipe, self._pools[device])
        except Exception as error:  # whatever it is, the same layer can be solved as usual, and is
            if not self._refused:
                reason = " ".join(str(error).split())[:200]
                self._note(
                    f"CUDA graphs: a solve of {list(weight.shape)} could not be captured ({reason}). "
                    "Such layers are solved without, to the same result"
                )
            self._refused.add(key)
            return False
        return True

    def clear(self) -> None:
        """Free all graphs and their memory; what run() gave stays."""
        for graph in self._graphs.values():
            graph.free()
        self._graphs.clear()
        self._pools.clear()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()  # or the pool's memory would stay this process's


class _Graph:
    """One captured solve with its inputs and outputs in place."""

    def __init__(self, weight: Tensor, hessian: Tensor, recipe: Recipe, pool: Any) -> None:
        self.weight = weight.clone(memory_format=torch.contiguous_format)
        self.hessian = hessian.clone(memory_format=torch.contiguous_format)
        self.graph: Any = torch.cuda.CUDAGraph()
        here = torch.cuda.device(weight.device) if weight.device.type == "cuda" else contextlib.nullcontext()
        # what other threads do meanwhile, such as copying the next weights, is none of the capture's business
        with here, torch.cuda.graph(self.graph, pool=pool, capture_error_mode="thread_local"):
            self.outcome = solve_core(self.weight, self.hessian, recipe)

    def replay(self, weight: Tensor, hessian: Tensor) -> Outcome:
        """The outcome for these inputs, copied out."""
        self.weight.copy_(weight)
        self.hessian.copy_(hessian)
        self.graph.replay()
        made, quantized = self.outcome, self.outcome.quantized
        if quantized is not None:
            parts = {name: getattr(quantized, name).clone() for name in ("codes", "scale", "zero")}
            quantized = replace(quantized, **parts)
        return Outcome(made.weight.clone(), made.numbers.clone(), quantized)

    def free(self) -> None:
        """Give up the graph and all that it holds."""
        self.graph.reset()
        del self.weight, self.hessian, self.outcome, self.graph


_active: ContextVar[CapturedSolves | None] = ContextVar("captured_solves", default=None)


@contextlib.contextmanager
def captured_solves(note: Callable[[str], None] | None = None, most: int = MOST_GRAPHS) -> Iterator[CapturedSolves]:
    """Solves on GPUs inside the block go by CUDA graphs, see CapturedSolves; at its end their memory is freed."""
    cache = CapturedSolves(note, most)
    token = _active.set(cache)
    try:
        yield cache
    finally:
        _active.reset(token)
        cache.clear()


def run_core(weight: Tensor, hessian: Tensor, recipe: Recipe) -> Outcome:
    """solve_core(), by a graph where captured_solves() is entered and the layer is on a GPU."""
    cache = _active.get()
    if cache is None or weight.device.type != "cuda":
        return solve_core(weight, hessian, recipe)
    return cache.run(weight, hessian, recipe)
