"""Text from a model. Sampling is transformers' own, and the key-value cache but for greedy
decoding on a GPU."""

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..errors import ConfigError
from .graph_decoding import StaticDecoder, why_not_greedy, why_not_static
from .packed_linear import PackedLinear

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


@dataclass(frozen=True)
class Continued:
    """What stream_text has done.

    new_tokens  one that ends the text counted
    by          what decoded, in words
    notes       what a person should know, such as why there is no CUDA graph
    """

    new_tokens: int
    by: str
    notes: tuple[str, ...] = ()


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
) -> Continued:
    """Continue a prompt, and hand on each piece of text as soon as it is certain, fewer tokens than asked for where the
    text or the model's context ends. On CUDA and at temperature 0 a StaticDecoder does it, where it knows the model.

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
    most = max_new_tokens if left is None else min(max_new_tokens, left)
    streamer = Shown(tokenizer, skip_prompt=True, skip_special_tokens=True)
    notes: tuple[str, ...] = ()
    if temperature == 0 and model.device.type == "cuda":
        decoder, notes = static_decoder(model, length + most)
        if decoder is not None:
            return _stream_greedily(decoder, input_ids, most, streamer)
    drawn = {"do_sample": True, "num_beams": 1, "temperature": temperature, "top_p": top_p, "top_k": top_k}
    devices = [model.device] if model.device.type == "cuda" else []
    with torch.random.fork_rng(devices):  # generate() draws from the global generator
        torch.manual_seed(seed)
        tokens = model.generate(
            input_ids.to(model.device),
            attention_mask=torch.ones_like(input_ids, device=model.device),
            max_new_tokens=most,
            streamer=streamer,
            **(drawn if temperature > 0 else GREEDY),
        )
    return Continued(int(tokens.shape[1]) - length, "transformers", notes)


def static_decoder(model: Any, longest: int) -> tuple[StaticDecoder | None, tuple[str, ...]]:
    """A decoder that takes the tokens which model.generate() would, if there can be one; else a note that says why."""
    reason = why_not_static(model, longest) or why_not_greedy(model)
    if reason is None:
        try:
            return StaticDecoder(model, longest), ()
        except torch.OutOfMemoryError:
            reason = f"a static cache of {longest} tokens takes more memory than there is."
    return None, (f"transformers decodes, without a CUDA graph: {reason}",)


def _stream_greedily(decoder: StaticDecoder, input_ids: Tensor, new_tokens: int, streamer: Any) -> Continued:
    ends = decoder.model.generation_config.eos_token_id
    streamer.put(input_ids)
    count = 0
    for token in decoder.stream(input_ids, new_tokens, {ends} if isinstance(ends, int) else set(ends or ())):
        streamer.put(torch.tensor([token]))
        count += 1
    streamer.end()
    return Continued(count, decoder.by, tuple(decoder.notes))


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
