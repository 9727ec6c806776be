"""A tokenizer of whole words, for small models of controlled English."""

from itertools import chain
from typing import Any

from .words import ANIMALS, ATTRIBUTES, COLOURS, FICTIONAL, NAMES

SPECIAL = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}
# of prompts, statements, questions and answers, beside the words that problems are made of
_COMMON = (
    "select infer halt judge answer explain we know that and nothing more therefore the this is correct incorrect not "
    "yet true false unknown it what color where was before afraid of are a an if someone something then they things "
    "people each every all in . , : ? mice wolves"
)


def new_word_tokenizer() -> Any:
    """Words of generated problems and of TrainedPrompts, in lower case; a kind's plural is the kind and its ending.

    So "Wumpuses" is "wumpus" and "##es", which a model finds to be the same kind without having learned so; what it
    writes is in lower case. Other words are unknown.
    """
    import tokenizers
    from tokenizers import decoders, models, normalizers, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    words = [*SPECIAL.values(), *_COMMON.split(), *chain(NAMES, FICTIONAL, ANIMALS, COLOURS, ATTRIBUTES), "##es", "##s"]
    numbers = {word: number for number, word in enumerate(dict.fromkeys(words))}
    core = tokenizers.Tokenizer(models.WordPiece(numbers, unk_token=SPECIAL["unk_token"]))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    core.decoder = decoders.WordPiece()
    return PreTrainedTokenizerFast(tokenizer_object=core, **SPECIAL, clean_up_tokenization_spaces=False)
