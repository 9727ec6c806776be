"""Text from a model, and how fast it comes. Key-value cache and sampling are transformers' own."""

import copy
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import median
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .packed_linear import PackedLinear

COPY_BYTES = 1 << 28
GREEDY: dict[str, Any] = {"do_sample": False, "num_beams": 1, "temperature": None, "top_p": None, "top_k": None}


def context_left(model: Any, length: int) -> int | None:
    """Tokens that a model's context holds after a prompt of so many; None where there is no limit.

    Raises ConfigError if the prompt leaves no room, or if the model is not one that continues text.
    """
    if not model.can_generate():
        raise ConfigError(f"{type(model).__name__}: continues no text. Give a causal language model.")
    longest = getattr(model.config.get_text_config(), "max_position_embeddings", None)
    if longest is not None and length >= longest:
        raise ConfigError(f"prompt: has {length} tokens, and the model takes at most {longest}. Shorten it.")
    return None if longest is None else longest - length


def stream_text(
    model: Any,
    tokenizer: Any,
    input_ids: Tensor,
    show: Callable[[str], None],
    *,
    max_new_tokens: int,
    temperature: float = 0.0,
    top_p: float = 1.0,
    top_k: int = 0,
    seed: int = 0,
) -> int:
    """Continue a prompt, and hand on each piece of text as soon as it is certain. Returns the number of new tokens,
    fewer than asked for where the text or the model's context ends.

    input_ids    [1, length] int64
    temperature  0 takes the likeliest token every time; otherwise tokens are drawn, the same ones for the same seed
    top_p, top_k draw from the likeliest tokens of that mass, from so many; 1 and 0: from all

    Raises ConfigError if the prompt leaves no room in the model's context.
    """
    from transformers import TextStreamer

    class Shown(TextStreamer):
        def on_finalized_text(self, text: str, stream_end: bool = False) -> None:
            show(text)

    length = input_ids.shape[1]
    left = context_left(model, length)
    drawn = {"do_sample": True, "num_beams": 1, "temperature": temperature, "top_p": top_p, "top_k": top_k}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # generate() draws from the global generator
        torch.manual_seed(seed)
        tokens = model.generate(
            input_ids.to(model.device),
            attention_mask=torch.ones_like(input_ids, device=model.device),
            max_new_tokens=max_new_tokens if left is None else min(max_new_tokens, left),
            streamer=Shown(tokenizer, skip_prompt=True, skip_special_tokens=True),
            **(drawn if temperature > 0 else GREEDY),
        )
    return int(tokens.shape[1]) - length


@dataclass(frozen=True)
class DecodeSpeed:
    """How fast one model continues one sequence, medians over the runs.

    tokens_per_second    of decoding, one after the other, the prompt not counted
    prefill_per_second   tokens of the prompt
    bytes_per_token      of weights that a token's pass reads
    """

    name: str
    tokens_per_second: float
    prefill_per_second: float
    bytes_per_token: int

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


def dense_twin(model: nn.Module, dtype: torch.dtype) -> Any:
    """A copy of a model in which packed layers are dense ones again, all of it in one dtype."""
    memo = {id(packed): _dense_linear(packed, dtype) for packed in model.modules() if isinstance(packed, PackedLinear)}
    twin = copy.deepcopy(model, memo).to(dtype)  # type: ignore[arg-type]
    twin.__dict__.pop("save_pretrained", None)  # what is dense can be saved
    return twin


def _dense_linear(packed: PackedLinear, dtype: torch.dtype) -> nn.Linear:
    with torch.device("meta"):
        linear = nn.Linear(packed.in_features, packed.out_features, bias=packed.bias is not None)
    linear.weight = nn.Parameter(packed.weight.dense().to(dtype), requires_grad=False)
    if packed.bias is not None:
        linear.bias = nn.Parameter(packed.bias.to(dtype), requires_grad=False)
    return linear


def measure_decoding(
    models: Mapping[str, Any],
    input_ids: Tensor,
    new_tokens: int,
    runs: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[DecodeSpeed]:
    """Time greedy decoding of several models, in turn, so that what disturbs one disturbs all.

    models      name -> model
    input_ids   [1, length] int64, the prompt
    new_tokens  decoded in each run, at least 2
    progress    called with (runs done, runs in all)
    """
    rates: dict[str, list[tuple[float, float]]] = {name: [] for name in models}
    for run in range(runs + 1):
        for number, (name, model) in enumerate(models.items()):
            rate = _one_run(model, input_ids.to(model.device), new_tokens)
            if run > 0:  # the first one warms up
                rates[name].append(rate)
            progress(run * len(models) + number + 1, (runs + 1) * len(models))
    return [
        DecodeSpeed(name, median(r[0] for r in rates[name]), median(r[1] for r in rates[name]), weight_bytes(model))
        for name, model in models.items()
    ]


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
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        times.append(time.perf_counter())

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
        begin = time.perf_counter()
        target.copy_(source)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - begin)
    return COPY_BYTES / median(times[1:])
