"""Statements scored after one prompt that is read once, beside a whole pass for each: python bench/score_statements.py.

The model is random, the statements are those of a made-up problem; their scores are asserted to be equal to 1e-4. All
times are of one run, in turns; medians. `ratio` is the naive seconds over ours.
"""

import argparse
import json
import random
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast, T5Config, T5ForConditionalGeneration
from transformers.utils.logging import disable_progress_bar

from fmcompress.language_model import TransformersLanguageModel
from fmcompress.reasoning import TrainedPrompts

NAMES = ("Anne", "Bob", "Carla", "Dave", "Erin", "Fred", "Gary", "Hana")
WORDS = ("kind", "round", "quiet", "green", "young", "smart", "rough", "blue", "cold", "big", "nice", "tall")


def statements(count: int, seed: int = 0) -> list[str]:
    """Different facts and rules, some ten tokens each."""
    drawn, found = random.Random(seed), dict[str, None]()
    while len(found) < count:
        rule = f"If someone is {drawn.choice(WORDS)} and {drawn.choice(WORDS)} then they are {drawn.choice(WORDS)}."
        found[rule if drawn.random() < 0.6 else f"{drawn.choice(NAMES)} is {drawn.choice(WORDS)}."] = None
    return list(found)


def make_model(kind: str, width: int, layers: int, folder: Path) -> TransformersLanguageModel:
    """A random model of that width, with a tokenizer of the words above."""
    texts = " ".join(
        [*statements(400), *TrainedPrompts().direct(["select infer nothing more We know that"], "?").split()]
    )
    split = pre_tokenizers.Split(Regex(r" ?\w+|[^\w\s]"), "isolated")
    pieces = {
        piece for piece, _ in split.pre_tokenize_str(f"{texts} select: Is Anne kind? We know that a and nothing more")
    }
    vocabulary = {piece: number for number, piece in enumerate(["<pad>", "</s>", "<unk>", *sorted(pieces)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, "<unk>"))
    tokenizer.pre_tokenizer, tokenizer.normalizer = split, normalizers.NFC()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<pad>", eos_token="</s>", unk_token="<unk>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    size: dict[str, Any] = {"vocab_size": 4096}
    if kind == "t5":
        config = T5Config(
            d_model=width,
            d_ff=4 * width,
            d_kv=64,
            num_heads=width // 64,
            num_layers=layers,
            decoder_start_token_id=0,
            **size,
        )
        T5ForConditionalGeneration(config).save_pretrained(folder)
    else:
        heads = {"num_attention_heads": width // 64, "num_key_value_heads": width // 64}
        config = LlamaConfig(
            hidden_size=width, intermediate_size=4 * width, num_hidden_layers=layers, max_position_embeddings=4096,
            pad_token_id=0, eos_token_id=1, bos_token_id=None, **heads, **size,
        )  # fmt: skip
        LlamaForCausalLM(config).save_pretrained(folder)
    return TransformersLanguageModel(folder, device=DEVICE, batch=32)


@torch.inference_mode()
def naive(ready: TransformersLanguageModel, prefix: str, texts: list[str], batch: int) -> list[float]:
    """Every statement with the whole prompt before it, `batch` at once."""
    head, tails = ready.encode(prefix), [ready.tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    found: list[float] = []
    for begin in range(0, len(tails), batch):
        some = tails[begin : begin + batch]
        longest = max(map(len, some))
        rows = [tail + [0] * (longest - len(tail)) for tail in some]
        if ready.answers:
            start = ready.model.generation_config.decoder_start_token_id
            inputs = torch.tensor([[start, *row[:-1]] for row in rows], device=ready.model.device)
            whole = torch.tensor([head] * len(some), device=ready.model.device)
            logits = ready.model(input_ids=whole, decoder_input_ids=inputs).logits
        else:
            whole = torch.tensor([head + row for row in rows], device=ready.model.device)
            logits = ready.model(input_ids=whole).logits[:, len(head) - 1 : -1]
        for row, tail in zip(torch.log_softmax(logits.double(), -1), some, strict=True):
            found.append(sum(float(row[place, token]) for place, token in enumerate(tail)))
    return found


def timed(ready: TransformersLanguageModel, count: int, repeats: int) -> dict[str, Any]:
    """Both ways, their scores held against each other."""
    prompts, known = TrainedPrompts(), statements(count)
    prefix, texts = prompts.selection(known, "Is Anne kind?", []), [prompts.chosen(one) for one in known]
    works: dict[str, Callable[[], list[float]]] = {
        "ours": lambda: [score.log_probability for score in ready.score(prefix, texts)],
        "a pass each": lambda: naive(ready, prefix, texts, 1),
        "whole passes, batched": lambda: naive(ready, prefix, texts, 32),
    }
    times: dict[str, list[float]] = {name: [] for name in works}
    for turn in range(repeats + 1):
        found = {}
        for name, work in works.items():
            begin = time.perf_counter()
            found[name] = work()
            times[name] += [time.perf_counter() - begin] if turn else []  # the first one warms up
    for name, scores in found.items():
        worst = max(abs(a - b) for a, b in zip(scores, found["ours"], strict=True))
        assert worst < 1e-4, f"{name}: scores differ by {worst}"
    seconds = {name: median(some) for name, some in times.items()}
    head, tails = len(ready.encode(prefix)), [len(ready.encode(text)) for text in texts]
    return {
        "statements": count, "prefix_tokens": head, "statement_tokens": sum(tails) / count, "seconds": seconds,
        "ratio": {name: s / seconds["ours"] for name, s in seconds.items()},
    }  # fmt: skip


def main() -> None:
    global DEVICE
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--statements", type=int, nargs="+", default=[10, 30, 100])
    parser.add_argument("--width", type=int, default=256)
    parser.add_argument("--layers", type=int, default=4)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    DEVICE = options.device
    disable_progress_bar()
    rows = []
    for kind in ("llama", "t5"):
        with tempfile.TemporaryDirectory() as folder:
            ready = make_model(kind, options.width, options.layers, Path(folder))
            rows += [{"model": kind, **timed(ready, count, options.repeats)} for count in options.statements]
    if options.json:
        print(json.dumps(rows, indent=1))
        return
    print(f"width {options.width}, {options.layers} layers, {torch.get_num_threads()} threads, {options.device}")
    for row in rows:
        sizes = (
            f"{row['statements']:4} statements of {row['statement_tokens']:.1f} tokens after {row['prefix_tokens']:5}"
        )
        ways = "   ".join(f"{name} {1e3 * s:8.1f} ms ({row['ratio'][name]:.2f})" for name, s in row["seconds"].items())
        print(f"{row['model']:6} {sizes}   {ways}")


DEVICE = "cpu"
if __name__ == "__main__":
    main()
