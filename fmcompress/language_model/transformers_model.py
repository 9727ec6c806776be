"""A language model from a folder: dense, packed and compressed-tensors checkpoints run as they are."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..calibration import load_tokenizer, longest_sequence
from ..errors import ConfigError, LanguageModelError
from ..runtime import load
from .protocol import Score
from .sampling import Draw, Stop, generator_of
from .scoring import score_causal, score_decoder
from .settings import Settings
from .tokens import continuation_tokens, prompt_tokens


class TransformersLanguageModel:
    """A checkpoint of transformers that continues text, or an encoder-decoder that answers it.

    folder  of a dense, packed or compressed-tensors checkpoint, with its tokenizer
    device  "auto" is a GPU if torch sees one
    dtype   "auto" is the checkpoint's own, but on a CPU float32 in the place of float16
    batch   texts that run at once; what they become does not depend on it but for rounding
    chat    put every prompt into the tokenizer's chat template

    Raises CheckpointError as runtime.load does, ConfigError if the model writes no text or has no chat template.
    """

    def __init__(
        self,
        folder: str | Path,
        device: str = "auto",
        dtype: str = "auto",
        *,
        batch: int = 16,
        chat: bool = False,
        verify: bool = True,
    ) -> None:
        self._take(load(folder, device=device, dtype=dtype, verify=verify), load_tokenizer(Path(folder)), str(folder))
        self.batch, self.chat = batch, chat
        if batch < 1:
            raise ConfigError(f"batch: expected at least 1, got {batch}.")
        if not hasattr(self.model, "generate") or not self.model.can_generate():
            raise ConfigError(f"{folder}: {type(self.model).__name__} writes no text. Give a causal language model.")
        if chat and not getattr(self.tokenizer, "chat_template", None):
            raise ConfigError(f"{folder}: its tokenizer has no chat template. Leave #chat out.")

    @classmethod
    def of(cls, model: Any, tokenizer: Any, *, name: str = "in memory", batch: int = 16) -> "TransformersLanguageModel":
        """A model that is in memory already, as it is whenever it is asked; it should be in eval mode then."""
        self = cls.__new__(cls)
        self._take(model, tokenizer, name)
        self.batch, self.chat = batch, False
        return self

    def _take(self, model: Any, tokenizer: Any, name: str) -> None:
        self.model, self.tokenizer, self.name = model, tokenizer, name
        self.answers = bool(model.config.is_encoder_decoder)  # rather than continues
        self.longest = longest_sequence(model)  # of an encoder and a decoder each

    def generate(self, prompts: Sequence[str], **settings: Any) -> list[list[str]]:
        """See LanguageModel.generate. Equal seeds give equal texts, whatever other prompts there are.

        Raises LanguageModelError for a prompt that has no tokens or fills the model's context.
        """
        wanted = Settings(**settings)
        tokens = [self.encode(prompt) for prompt in prompts]
        rows = [(number, sample) for number in range(len(prompts)) for sample in range(wanted.different)]
        texts: dict[tuple[int, int], str] = {}
        for some, room in self._batches(rows, tokens, wanted.max_tokens):
            generators = [generator_of(prompts[number], sample, wanted.seed) for number, sample in some]
            written = self._write([tokens[number] for number, _ in some], generators, room, wanted)
            texts.update(zip(some, written, strict=True))
        return [
            wanted.repeated([texts[number, sample] for sample in range(wanted.different)])
            for number in range(len(prompts))
        ]

    def score(self, prefix: str, continuations: Sequence[str]) -> list[Score]:
        """See LanguageModel.score: the prefix runs once, and its keys and values serve all continuations.

        Tokens of a continuation are those that follow the prefix's in both texts tokenised together; where a token
        would lie across their boundary, both are tokenised apart. Nothing is counted for the text's end.

        Raises LanguageModelError for an empty continuation, or if a text is longer than the model's context.
        """
        head = self.encode(prefix)
        tails = [self._tail(head, prefix, text) for text in continuations]
        tail = max(map(len, tails), default=0)
        longest = max(tail, len(head)) if self.answers else tail + len(head)
        if self.longest is not None and longest > self.longest:
            raise LanguageModelError(
                f"{self.name}: prefix and continuation have {longest} tokens, and the model takes {self.longest}. "
                "Shorten them."
            )
        if not tails:
            return []
        run = score_decoder if self.answers else score_causal
        return run(self.model, head, tails, self.batch)

    def encode(self, text: str) -> list[int]:
        """Tokens of a prompt, with the special ones that begin a text.

        Raises LanguageModelError if there are none.
        """
        ids = prompt_tokens(self.tokenizer, text, answers=self.answers, chat=self.chat)
        if not ids:
            raise LanguageModelError(f"{self.name}: the prompt holds no tokens. Give some text.")
        return ids

    def _tail(self, head: list[int], prefix: str, text: str) -> list[int]:
        tail = continuation_tokens(self.tokenizer, head, prefix, text, answers=self.answers, chat=self.chat)
        if not tail:
            raise LanguageModelError(
                f"{self.name}: a continuation of {prefix[-40:]!r} holds no tokens. Give some text."
            )
        return tail

    def _batches(
        self, rows: list[tuple[int, int]], tokens: list[list[int]], max_tokens: int
    ) -> Iterator[tuple[list[tuple[int, int]], int]]:
        """Rows of similar lengths, with the tokens that each may write; one whose context ends before is alone."""
        together: list[tuple[int, int]] = []
        for row in sorted(rows, key=lambda row: len(tokens[row[0]])):
            room = self._room(tokens[row[0]], max_tokens)
            if room < 1:
                raise LanguageModelError(
                    f"{self.name}: a prompt has {len(tokens[row[0]])} tokens, and the model takes {self.longest}. "
                    "Shorten it."
                )
            if room < max_tokens:
                yield [row], room
            else:
                together.append(row)
        for begin in range(0, len(together), self.batch):
            yield together[begin : begin + self.batch], max_tokens

    def _room(self, prompt: list[int], wanted: int) -> int:
        """Tokens that may be written: as many as wanted, or more, where there is room."""
        if self.longest is None:
            return wanted
        if not self.answers:
            return self.longest - len(prompt)
        return self.longest - 1 if len(prompt) <= self.longest else 0

    @torch.inference_mode()
    def _write(self, heads: list[list[int]], generators: list[Any], room: int, wanted: Settings) -> list[str]:
        from transformers import GenerationConfig

        input_ids, mask = _padded(heads, self._pad, self.model.device, left=not self.answers)
        begin = 1 if self.answers else input_ids.shape[1]
        known = [[] if self.answers else head for head in heads]

        def text_of(row: int, tokens: Tensor) -> str:
            return self._new_text(known[row], tokens[begin:].tolist())

        drawn = [Draw(generators, wanted.temperature, wanted.top_p)] if wanted.temperature > 0 else []
        own = self.model.generation_config
        written = self.model.generate(
            input_ids,
            attention_mask=mask,
            logits_processor=drawn,
            stopping_criteria=[Stop(wanted.stop, text_of)] if wanted.stop else [],
            generation_config=GenerationConfig(
                do_sample=False, num_beams=1, temperature=1.0, top_p=1.0, top_k=50, repetition_penalty=1.0,
                no_repeat_ngram_size=0, max_new_tokens=room, min_new_tokens=0, pad_token_id=self._pad,
                eos_token_id=own.eos_token_id, bos_token_id=own.bos_token_id,
                decoder_start_token_id=own.decoder_start_token_id,
            ),  # the settings of the call, not those that the checkpoint's author liked; greedy, so top_k is not used
        )  # fmt: skip
        return [wanted.cut(text_of(row, tokens)) for row, tokens in enumerate(written)]

    @property
    def _pad(self) -> int:
        tokenizer = self.tokenizer
        return next((t for t in (tokenizer.pad_token_id, tokenizer.eos_token_id) if t is not None), 0)

    def _new_text(self, head: list[int], tokens: list[int]) -> str:
        """What the tokens add to the text before them: alone, many would lose the space that they begin with."""
        before, whole = (self.tokenizer.decode(ids, skip_special_tokens=True) for ids in (head, head + tokens))
        if whole.startswith(before):
            return str(whole[len(before) :])
        return str(self.tokenizer.decode(tokens, skip_special_tokens=True))


def _padded(heads: list[list[int]], pad: int, device: torch.device, *, left: bool) -> tuple[Tensor, Tensor]:
    """Tokens and mask, both [rows, longest] int64.

    left  every text ends at the last column, where it goes on; an encoder's texts begin at the first, as alone
    """
    longest = max(map(len, heads))

    def padded(row: list[int], value: int) -> list[int]:
        fill = [value] * (longest - len(row))
        return fill + row if left else row + fill

    ids, mask = [padded(head, pad) for head in heads], [padded([1] * len(head), 0) for head in heads]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
