"""How fast text comes from a model: greedy decoding, batch 1."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from .generation import GREEDY, static_decoder
from .graph_decoding import StaticDecoder

COPY_BYTES = 1 << 28


@dataclass(frozen=True)
class DecodeSpeed:
    """How fast one model continues one sequence, medians over the runs.

    tokens_per_second    of decoding, one after the other, the prompt not counted
    prefill_per_second   tokens of the prompt
    bytes_per_token      of weights that a token's pass reads
    by                   what decoded, in words, with a note where that is not the fastest there is
    """

    name: str
    tokens_per_second: float
    prefill_per_second: float
    bytes_per_token: int
    by: str = "transformers"

    @property
    def bytes_per_second(self) -> float:
        """Of weights, while decoding."""
        return self.bytes_per_token * self.tokens_per_second


def weight_bytes(model: nn.Module) -> int:
    """Bytes of the weights that a token's pass through a model reads: all but the rows of an embedding it skips."""
    tensors = {
        tensor.data_ptr(): tensor.nbytes
        for module in model.modules()
        if not isinstance(module, nn.Embedding)
        for tensor in [*module.parameters(recurse=False), *module.buffers(recurse=False)]
    }
    return sum(tensors.values())


def measure_decoding(
    models: Mapping[str, Any],
    input_ids: Tensor,
    new_tokens: int,
    runs: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[DecodeSpeed]:
    """Time greedy decoding of several models, in turn, so that what disturbs one disturbs all. On CUDA a StaticDecoder
    decodes, where it knows the model: the same way for dense and packed ones.

    models      name -> model
    input_ids   [1, length] int64, the prompt
    new_tokens  decoded in each run, at least 2
    progress    called with (runs done, runs in all)
    """
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    static: dict[str, tuple[StaticDecoder | None, tuple[str, ...]]] = {
        name: static_decoder(model, input_ids.shape[1] + new_tokens) if model.device.type == "cuda" else (None, ())
        for name, model in models.items()
    }
    for run in range(runs + 1):
        for number, (name, model) in enumerate(models.items()):
            decoder, ids = static[name][0], input_ids.to(model.device)
            rate = _one_run(model, ids, new_tokens) if decoder is None else one_static_run(decoder, ids, new_tokens)
            if run > 0:  # the first one warms up
                rates[name].append(rate)
            progress(run * len(models) + number + 1, (runs + 1) * len(models))
    speeds = []
    for name, model in models.items():
        decoder, notes = static[name]
        by = ("transformers", *notes) if decoder is None else (decoder.by, *decoder.notes)
        rate = median(r[0] for r in rates[name]), median(r[1] for r in rates[name])
        speeds.append(DecodeSpeed(name, *rate, weight_bytes(model), "; ".join(by)))
    return speeds


def one_static_run(decoder: StaticDecoder, input_ids: Tensor, new_tokens: int) -> tuple[float, float]:
    """Tokens a second of decoding and of the prompt; new_tokens is at least 2, of which the prompt's pass gives one."""
    times = [_now(decoder.device)]
    decoder.prefill(input_ids)
    times.append(_now(decoder.device))
    decoder.run(new_tokens - 1)
    times.append(_now(decoder.device))
    return (new_tokens - 1) / (times[2] - times[1]), input_ids.shape[1] / (times[1] - times[0])


def _now(device: torch.device) -> float:
    """Seconds, when the device has done all that it was told."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()


class _Clock:
    """A streamer of transformers: generate() hands it the prompt, then every token."""

    def __init__(self, take: Callable[[Tensor], None]) -> None:
        self.put = take

    def end(self) -> None:
        """Nothing is kept back."""


def _one_run(model: Any, input_ids: Tensor, new_tokens: int) -> tuple[float, float]:
    """Tokens a second of decoding and of the prompt."""
    times: list[float] = []

    def take(_: Tensor) -> None:
        times.append(_now(model.device))

    model.generate(
        input_ids,
        attention_mask=torch.ones_like(input_ids),
        max_new_tokens=new_tokens,
        min_new_tokens=new_tokens,
        streamer=_Clock(take),
        **GREEDY,
    )
    prompt, first, last = times[0], times[1], times[-1]
    return (len(times) - 2) / (last - first), input_ids.shape[1] / (first - prompt)


def copy_rate(device: torch.device, runs: int = 9) -> float:
    """Bytes a second that a copy of 256 MiB reads, which it also writes: what to hold bytes_per_second against."""
    source = torch.ones(COPY_BYTES, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    times = []
    for _ in range(runs):
        begin = _now(device)
        target.copy_(source)
        times.append(_now(device) - begin)
    return COPY_BYTES / median(times[1:])
