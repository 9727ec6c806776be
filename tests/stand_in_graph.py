"""A stand-in for CUDA graphs on a CPU: it records the ops of a capture and runs them again, into the same memory."""

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode


class _Recorder(TorchDispatchMode):
    """Runs ops and notes them."""

    def __init__(self, calls: list[Any]) -> None:
        super().__init__()
        self.calls = calls

    def __torch_dispatch__(self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        self.calls.append((func, args, kwargs or {}, result))
        return result


def _fresh(func: Any, result: Any) -> list[tuple[int, Tensor]]:
    """What an op has made that is neither a view nor an argument, with its place."""
    results = result if isinstance(result, tuple | list) else (result,)
    returns = func._schema.returns
    return [
        (index, part)
        for index, part in enumerate(results)
        if isinstance(part, Tensor) and (index >= len(returns) or returns[index].alias_info is None)
    ]


class StandInGraph:
    """torch.cuda.CUDAGraph, as far as it is used."""

    alive = 0

    def __init__(self) -> None:
        self.calls: list[Any] = []
        self.replays = 0
        StandInGraph.alive += 1

    def replay(self) -> None:
        assert self.calls, "replayed before it was captured, or after it was reset"
        self.replays += 1
        for func, args, kwargs, before in self.calls:
            again = func(*args, **kwargs)
            parts = dict(_fresh(func, again))
            for index, part in _fresh(func, before):
                part.copy_(parts[index])

    def reset(self) -> None:
        self.calls = []
        StandInGraph.alive -= 1


class StandIn:
    """All of torch.cuda that a capture touches.

    captures  the pools that captures were given
    fails     what the next captures raise, or None
    """

    def __init__(self) -> None:
        self.captures: list[Any] = []
        self.fails: Exception | None = None
        self.graphs: list[StandInGraph] = []

    @contextlib.contextmanager
    def graph(self, graph: StandInGraph, pool: Any = None, capture_error_mode: str = "global") -> Iterator[None]:
        self.captures.append(pool)
        self.graphs.append(graph)
        with _Recorder(graph.calls):
            yield
            if self.fails is not None:
                raise self.fails

    def install(self, monkeypatch: Any) -> None:
        monkeypatch.setattr(torch.cuda, "CUDAGraph", StandInGraph)
        monkeypatch.setattr(torch.cuda, "graph", self.graph)
        monkeypatch.setattr(torch.cuda, "graph_pool_handle", lambda: (0, len(self.captures)))
        StandInGraph.alive = 0
