"""Greedy decoding of one sequence into a cache of fixed size: on CUDA a token is one replay of a graph."""

import inspect
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor

from ..errors import ConfigError
from .one_token import OneToken, TorchKernels, why_not_one_token

ROOM = 64  # the cache holds a multiple of it: attention pads a mask of odd width anew in every layer
BLOCK = 16  # tokens that are decoded between two looks at them
# settings of a generation_config that leave the likeliest token what it is
HARMLESS = {
    "bos_token_id", "eos_token_id", "pad_token_id", "decoder_start_token_id", "do_sample", "temperature", "top_p",
    "top_k", "min_p", "typical_p", "epsilon_cutoff", "eta_cutoff", "num_beams", "max_length", "max_new_tokens",
    "use_cache", "transformers_version", "renormalize_logits", "_from_model_config",
}  # fmt: skip
# and values of others that change nothing; transformers 5 takes none of them for its default
NEUTRAL = {"repetition_penalty", "encoder_repetition_penalty", "length_penalty", "num_return_sequences"}


def why_not_static(model: Any, longest: int) -> str | None:
    """What keeps a model from decoding into a static cache of so many tokens, in one line; None where nothing does."""
    name = type(model).__name__
    if longest < 2:
        return f"length: expected at least 2 tokens, one of a prompt and one more, got {longest}. Ask for more."
    config = model.config.get_text_config()
    if model.config.is_encoder_decoder or not model.can_generate():
        return f"{name}: continues no text by itself. Give a decoder-only language model."
    # without them a model reads its positions off the mask, which is as long as the cache here
    if not model._can_compile_fullgraph or "position_ids" not in inspect.signature(model.forward).parameters:
        return f"{name}: transformers has no static cache for it."
    if config._attn_implementation not in ("sdpa", "eager"):
        return f"attention: expected sdpa or eager, got {config._attn_implementation}. Load the model with one of them."
    if len({parameter.device for parameter in model.parameters()}) > 1:
        return f"{name}: lies on several devices. Put it on one."
    most = getattr(config, "max_position_embeddings", None)
    if most is not None and longest > most:
        return f"length: expected at most {most} tokens, which the model takes, got {longest}. Ask for fewer."
    try:
        _static_cache(config, longest)
    except ConfigError as error:
        return str(error)
    return None


def why_not_greedy(model: Any) -> str | None:
    """What a model's generation_config does to its logits, in one line; None where the likeliest token is taken as it
    is."""
    changed = model.generation_config.to_diff_dict()
    told = {name: value for name, value in changed.items() if not (name in NEUTRAL and value == 1)}
    unknown = sorted(name for name, value in told.items() if name not in HARMLESS and value not in (None, False))
    return f"generation_config sets {', '.join(unknown)}, which transformers alone does." if unknown else None


def _static_cache(config: Any, longest: int) -> Any:
    """Of full attention in every layer: a sliding window that nothing slides out of is one."""
    from transformers.cache_utils import Cache, StaticCache, StaticLayer, StaticSlidingWindowLayer

    width = -(-longest // ROOM) * ROOM
    layers: list[Any] = []
    given: list[Any] = StaticCache(config=config, max_cache_len=width).layers
    for layer in given:
        if type(layer) not in (StaticLayer, StaticSlidingWindowLayer):
            raise ConfigError(f"cache: expected layers of attention alone, got {type(layer).__name__}.")
        if layer.max_cache_len < longest:
            most = f"at most {layer.max_cache_len} tokens, the sliding window"
            raise ConfigError(f"length: expected {most}, got {longest}. Ask for fewer.")
        layers.append(StaticLayer(width))
    return Cache(layers=layers)


class StaticDecoder:
    """A causal language model, dense or packed, that decodes greedily without a word to the host.

    Everything that a token needs lies at fixed places on the device: the tokens, their number, and the keys and values.
    On CUDA the step of a token is captured once as a graph. Elsewhere, or where the capture fails, the same step is
    called. The tokens are those of model.generate() but for near ties: sums may be taken in another order.

    model    a transformers model that continues text; it must not change or move while this lives
    longest  tokens, prompt and new ones together
    graph    whether to capture a graph; None: where the model is on CUDA
    fused    whether the step may be that of OneToken where it knows the model; None: where the model is on CUDA

    Raises ConfigError for a model or length that a static cache is not for. Decoders of one model do not share a cache.
    """

    def __init__(self, model: Any, longest: int, *, graph: bool | None = None, fused: bool | None = None) -> None:
        refused = why_not_static(model, longest)
        if refused is not None:
            raise ConfigError(refused)
        on_gpu = model.device.type == "cuda"
        self.model, self.device, self.longest = model, model.device, longest
        self.notes: list[str] = []  # what a person should know, a line each
        self.cache = _static_cache(model.config.get_text_config(), longest)
        self.width: int = self.cache.layers[0].max_cache_len
        self.all_tokens = torch.zeros(1, longest + 1, dtype=torch.int64, device=self.device)
        self.token = torch.zeros(1, 1, dtype=torch.int64, device=self.device)
        self.position = torch.zeros(1, 1, dtype=torch.int64, device=self.device)  # of that token
        self.filled = torch.ones(1, self.width, dtype=torch.int64, device=self.device)
        self.length = 0  # tokens that are known, the prompt's and new ones
        self._last = {"logits_to_keep": 1} if "logits_to_keep" in inspect.signature(model.forward).parameters else {}
        self._replay: Callable[[], None] | None = None
        with torch.no_grad():
            self._forward(self.all_tokens[:, :1])  # the cache takes its memory
            self._choose(on_gpu if fused is None else fused)
            if on_gpu if graph is None else graph:
                self._capture()

    @property
    def by(self) -> str:
        """What decodes, in words."""
        step = "a fused step" if isinstance(self._logits, OneToken) else "the model's own step"
        return f"{'a CUDA graph of ' if self._replay else ''}{step} over a static cache"

    def prefill(self, input_ids: Tensor) -> None:
        """Begin anew with a prompt, [1, length] int64, by the model's own forward, and find the first token after it.

        Raises ConfigError for a prompt that is empty or leaves no room, or for several.
        """
        if input_ids.dim() != 2 or len(input_ids) != 1:
            raise ConfigError(f"prompt: expected one sequence [1, length], got {list(input_ids.shape)}. Give one.")
        length = input_ids.shape[1]
        if not 0 < length < self.longest:
            raise ConfigError(
                f"prompt: expected 1 to {self.longest - 1} tokens, got {length}. Give another, or more room."
            )
        with torch.no_grad():
            self.cache.reset()
            self.all_tokens[:, :length] = input_ids
            self.token.copy_(self._forward(self.all_tokens[:, :length]).argmax(-1)[None])
            self.position.fill_(length)
            self.all_tokens[:, length : length + 1] = self.token
        self.length = length + 1

    def run(self, steps: int) -> None:
        """Decode so many more tokens; returns before the device has. Raises ConfigError where there is no room."""
        if self.length == 0:
            raise ConfigError("steps: there is no prompt yet. Call prefill() first.")
        if not 0 <= steps <= self.longest - self.length:
            raise ConfigError(
                f"steps: expected 0 to {self.longest - self.length}, for which there is room, got {steps}."
            )
        with torch.no_grad():
            for _ in range(steps):
                self._step() if self._replay is None else self._replay()
        self.length += steps

    def tokens(self, first: int) -> list[int]:
        """The known tokens from that one on; waits for the device."""
        return self.all_tokens[0, first : self.length].tolist()  # type: ignore[no-any-return]

    def stream(self, input_ids: Tensor, new_tokens: int, ends: set[int]) -> Iterator[int]:
        """New tokens of a prompt as they come, some at a time, up to one that ends the text; that one comes, too."""
        self.prefill(input_ids)
        known, last = input_ids.shape[1], input_ids.shape[1] + new_tokens
        while True:
            for token in self.tokens(known):
                known += 1
                yield token
                if token in ends:
                    return
            if known == last:
                return
            self.run(min(BLOCK, last - known))

    def _forward(self, input_ids: Tensor) -> Tensor:
        """Logits [1, vocabulary] of the last token of a prompt."""
        seen, positions = self.filled[:, : input_ids.shape[1]], torch.arange(input_ids.shape[1], device=self.device)
        return self._call(input_ids, seen, positions[None], **self._last)

    def _call(self, input_ids: Tensor, mask: Tensor, positions: Tensor, **options: int) -> Tensor:
        out = self.model(
            input_ids,
            attention_mask=mask,
            position_ids=positions,
            past_key_values=self.cache,
            use_cache=True,
            **options,
        )
        return out.logits[:, -1]  # type: ignore[no-any-return]

    def _own_logits(self, token: Tensor, position: Tensor) -> Tensor:
        return self._call(token, self.filled, position)

    def _choose(self, fused: bool) -> None:
        """The function of a token and its position that gives logits."""
        self._logits: Callable[[Tensor, Tensor], Tensor] = self._own_logits
        if fused and why_not_one_token(self.model) is None:
            try:
                self._logits = OneToken(self.model, self.cache)
                if self.device.type == "cuda" and isinstance(self._logits.kernels, TorchKernels):
                    self.notes.append(
                        "no Triton, so the fused step is of PyTorch's ops, which is slower. Install triton"
                    )
            except (ImportError, AttributeError, OSError) as error:  # of Triton, or of the twins, where one is broken
                self.notes.append(f"no fused step, so that of the model runs, which is slower: {error}")

    def _step(self) -> None:
        """From the token at `position` to the next one; no value is looked at."""
        self.token.copy_(self._logits(self.token, self.position).argmax(-1)[None])
        self.position.add_(1)
        self.all_tokens.index_copy_(1, self.position[0], self.token)

    def _capture(self) -> None:
        """A graph of the step. Where it fails there is a note, and a plainer step is taken."""
        try:
            self._warm_up()
            graph = torch.cuda.CUDAGraph()
            with torch.cuda.graph(graph):
                self._step()
            self._replay = graph.replay
        except Exception as error:  # whatever a kernel, its compiler or the capture raises
            first = error
            while isinstance(first.__context__, Exception):  # a capture that is ended early hides what ended it
                first = first.__context__
            reason = (str(first).strip() or type(first).__name__).splitlines()[0]
            if isinstance(self._logits, OneToken):
                self.notes.append(f"the fused step failed, so that of the model runs, which is slower: {reason}")
                self._logits = self._own_logits
                self._capture()
            else:
                self.notes.append(f"no CUDA graph, so that decoding is slower: {reason}")

    def _warm_up(self) -> None:
        """What is compiled, loaded or allocated once, on a stream of its own, as a capture needs it."""
        side = torch.cuda.Stream(self.device)
        side.wait_stream(torch.cuda.current_stream(self.device))
        with torch.cuda.stream(side):
            for _ in range(2):
                self.position.zero_()
                self.cache.reset()
                self._step()
        torch.cuda.current_stream(self.device).wait_stream(side)
