"""Texts as tokens: the same for a model that is asked and for one that learns to answer."""

from typing import Any

from ..calibration import encode_prompt
from ..errors import ConfigError


def prompt_tokens(tokenizer: Any, text: str, *, answers: bool, chat: bool = False) -> list[int]:
    """Tokens of a prompt, with the special ones that begin a text; none if nothing is left of it.

    answers  the model has an encoder for the prompt, rather than going on with it
    """
    try:
        ids: list[int] = encode_prompt(tokenizer, text, chat=chat)[0].tolist()
    except ConfigError:
        begin = tokenizer.bos_token_id  # an empty text begins where every text does
        ids = [] if begin is None else [begin]
    if not answers and not chat and len(ids) > 1 and ids[-1] == tokenizer.eos_token_id:
        ids = ids[:-1]  # a text that is to go on has no end
    return ids


def continuation_tokens(
    tokenizer: Any, head: list[int], prefix: str, text: str, *, answers: bool, chat: bool = False
) -> list[int]:
    """Tokens of a text after the tokens `head` of its prefix; none if nothing is left of it.

    They are those that follow the prefix's in both texts tokenised together; where a token would lie across their
    boundary, and where the prefix goes elsewhere, both are tokenised apart.
    """
    if not answers and not chat:
        both = prompt_tokens(tokenizer, prefix + text, answers=answers)
        if both[: len(head)] == head and len(both) > len(head):
            return both[len(head) :]
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])
