"""The language model that a training begins with: a checkpoint, dense or packed, or a new small one."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from ..calibration import load_tokenizer
from ..errors import ConfigError, in_one_line
from ..runtime import load

Kind = Literal["t5", "llama"]
SPECIAL = {"pad_token": "<pad>", "eos_token": "</s>", "unk_token": "<unk>"}


def load_trainable(folder: Path, device: str = "cpu") -> tuple[Any, Any]:
    """A checkpoint's model in float32 with parameters of its own that learn, and its tokenizer.

    folder  dense, packed or compressed-tensors; quantized weights are taken as the numbers that they stand for

    Raises CheckpointError as runtime.load does, ConfigError for a model that writes no text.
    """
    model = load(folder, device=device, dtype="float32", dense=True)
    if not hasattr(model, "generate") or not model.can_generate():
        raise ConfigError(f"{folder}: {type(model).__name__} writes no text. Give a language model.")
    _tie_again(model)
    vars(model.config).pop("quantization_config", None)  # weights are numbers from here on, also where they are saved
    return model, load_tokenizer(folder)


def _tie_again(model: Any) -> None:
    """Let tied weights that a checkpoint holds twice be one parameter, as they are once transformers has loaded it."""
    for name, other in (getattr(model, "all_tied_weights_keys", None) or {}).items():
        own, shared = model.get_parameter(name), model.get_parameter(other)
        if own is not shared and torch.equal(own, shared):
            path, _, key = name.rpartition(".")
            model.get_submodule(path).register_parameter(key, shared)


def zeros_of(model: nn.Module) -> dict[str, Tensor]:
    """Where matrices, experts stacked into one tensor among them, are 0, by name: bool of their shape.

    Those without a zero are left out, and so are embeddings and output layers that share their weight: nobody prunes
    them.
    """
    embeddings = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    matrices = {n: one for n, one in model.named_parameters() if one.dim() >= 2 and id(one) not in embeddings}
    found = {name: one.detach() == 0 for name, one in matrices.items()}
    return {name: zero for name, zero in found.items() if bool(zero.any())}


def new_tokenizer(texts: Iterable[str], vocabulary: int = 2000, kind: Literal["bpe", "words"] = "bpe") -> Any:
    """A tokenizer made for texts.

    vocabulary  tokens at most, of which three are special: padding, end, unknown
    kind        "bpe": byte-level, so that no text is unknown; "words": whole words and single marks, for languages of
                few words. Both put a space before a word into it
    """
    import tokenizers
    from tokenizers import decoders, models, pre_tokenizers, trainers
    from transformers import PreTrainedTokenizerFast

    special = list(SPECIAL.values())
    if kind == "bpe":
        core = tokenizers.Tokenizer(models.BPE())
        core.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
        core.decoder = decoders.ByteLevel()
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        trainer: Any = trainers.BpeTrainer(
            vocab_size=vocabulary, special_tokens=special, initial_alphabet=alphabet, show_progress=False
        )
    else:
        core = tokenizers.Tokenizer(models.WordLevel(unk_token=SPECIAL["unk_token"]))
        core.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Metaspace(prepend_scheme="first"), pre_tokenizers.Punctuation("isolated")]
        )
        core.decoder = decoders.Metaspace(prepend_scheme="first")
        trainer = trainers.WordLevelTrainer(vocab_size=vocabulary, special_tokens=special, show_progress=False)
    core.train_from_iterator(_sorted_once(texts), trainer)
    return PreTrainedTokenizerFast(tokenizer_object=core, **SPECIAL, clean_up_tokenization_spaces=False)


def new_model(kind: Kind, tokenizer: Any, *, seed: int = 0, width: int = 64, layers: int = 2, heads: int = 4,
              dropout: float = 0.0, longest: int = 512, **options: Any) -> Any:  # fmt: skip
    """A random model of transformers with the vocabulary of a tokenizer, drawn by the seed alone.

    kind     "t5": encoder and decoder of so many layers each; "llama": a decoder
    longest  tokens that a llama takes at once; a T5 has no bound
    options  further fields of T5Config or LlamaConfig

    Weights are of 1 / sqrt(width): with transformers' own narrow models learn several times more slowly. Raises
    ConfigError for sizes that do not fit each other.
    """
    from transformers import LlamaConfig, LlamaForCausalLM, T5Config, T5ForConditionalGeneration

    tokens = {"pad_token_id": tokenizer.pad_token_id, "eos_token_id": tokenizer.eos_token_id}
    try:
        if kind == "t5":
            if width % heads:
                raise ValueError(f"width {width} is no multiple of {heads} heads")
            given = {
                "d_model": width, "d_kv": width // heads, "d_ff": 4 * width, "num_layers": layers, "num_heads": heads,
                "dropout_rate": dropout, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": True,
                "decoder_start_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer), **tokens,
            }  # fmt: skip
            build: Any = T5ForConditionalGeneration
            config: Any = T5Config(**{**given, **options})
        else:
            given = {
                "hidden_size": width, "intermediate_size": 3 * width, "num_hidden_layers": layers,
                "num_attention_heads": heads, "num_key_value_heads": heads, "max_position_embeddings": longest,
                "attention_dropout": dropout, "initializer_range": width**-0.5, "tie_word_embeddings": True,
                "vocab_size": len(tokenizer), "bos_token_id": None, **tokens,
            }  # fmt: skip
            build, config = LlamaForCausalLM, LlamaConfig(**{**given, **options})
        unknown = sorted(options.keys() - type(config)().to_dict().keys())
        if unknown:
            raise ValueError(f"{unknown[0]} is no field of {type(config).__name__}")
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            return build(config)
    except Exception as error:  # of transformers' strict configs, in many classes
        raise ConfigError(f"sizes of the model: {in_one_line(error)}") from None


def _sorted_once(texts: Iterable[str]) -> Iterator[str]:
    """Each text once, in an order of its own: what is learned must not depend on theirs."""
    yield from sorted(set(texts))
