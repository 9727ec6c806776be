"""Log probabilities of continuations: what comes before them is read once."""

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from .protocol import Score

Tokens = list[int]


@torch.inference_mode()
def score_causal(model: Any, head: Tokens, tails: list[Tokens], batch: int) -> list[Score]:
    """Scores of tails after one head.

    head   tokens, at least one
    tails  tokens, each at least one; up to `batch` run at once, over a copy of the head's keys and values
    """
    first = model(input_ids=_row(model, head), use_cache=True)
    if not _repeats(getattr(first, "past_key_values", None)):  # such a model reads all of it for each
        return [_score(model(input_ids=_row(model, head + t)).logits[0, len(head) - 1 : -1], t) for t in tails]
    return _after(first, tails, batch, lambda some, cache: model(input_ids=some, past_key_values=cache, use_cache=True))


@torch.inference_mode()
def score_decoder(model: Any, head: Tokens, tails: list[Tokens], batch: int) -> list[Score]:
    """Scores of tails that the decoder writes when the encoder has read the head, once.

    What the decoder makes of the encoder's states are keys and values, too, and shared as score_causal's are.
    """
    from transformers.modeling_outputs import BaseModelOutput

    read = model.get_encoder()(input_ids=_row(model, head)).last_hidden_state
    start = _row(model, [model.generation_config.decoder_start_token_id])

    def run(inputs: Tensor, **cached: Any) -> Any:
        encoded = BaseModelOutput(last_hidden_state=read.expand(len(inputs), -1, -1))
        return model(encoder_outputs=encoded, decoder_input_ids=inputs, use_cache=True, **cached)

    first = run(start)
    cache = getattr(first, "past_key_values", None)
    if not hasattr(cache, "batch_repeat_interleave"):  # the decoder begins anew for each
        rows = [torch.cat([start, _row(model, tail[:-1]).long()], 1) for tail in tails]
        return [_score(run(row).logits[0], tail) for row, tail in zip(rows, tails, strict=True)]
    return _after(first, tails, batch, lambda some, cache: run(some, past_key_values=cache))


def _after(first: Any, tails: list[Tokens], batch: int, run: Callable[[Tensor, Any], Any]) -> list[Score]:
    """Scores of tails after what `first` has read; run(tokens, cache) reads on."""
    scores = []
    for begin in range(0, len(tails), batch):
        some = tails[begin : begin + batch]
        logits = first.logits[:, -1:].expand(len(some), -1, -1)
        if max(map(len, some)) > 1:
            cache = copy.deepcopy(first.past_key_values)
            cache.batch_repeat_interleave(len(some))
            inputs = _right_padded([tail[:-1] for tail in some], logits.device)
            logits = torch.cat([logits, run(inputs, cache).logits], 1)
        scores += [_score(row, tail) for row, tail in zip(logits, some, strict=True)]
    return scores


def _repeats(cache: Any) -> bool:
    """Whether there is a cache, of keys and values alone: transformers repeats no states of recurrent layers."""
    layers = getattr(cache, "layers", None)
    return bool(layers) and not any(hasattr(layer, "conv_states") for layer in layers or ())


def _row(model: Any, tokens: Tokens) -> Tensor:
    return torch.tensor([tokens], device=model.device)


def _right_padded(rows: list[Tokens], device: torch.device) -> Tensor:
    """[rows, longest]; what fills them up comes after all that counts, where a causal model does not see it."""
    longest = max(map(len, rows))
    return torch.tensor([row + [0] * (longest - len(row)) for row in rows], device=device)


def _score(logits: Tensor, tail: Tokens) -> Score:
    """logits  [at least len(tail), vocabulary]: the row before each token, and padding after them"""
    chances = torch.log_softmax(logits[: len(tail)].double(), -1)
    wanted = torch.tensor(tail, device=logits.device)[:, None]
    return Score(float(chances.gather(-1, wanted).sum()), len(tail))
