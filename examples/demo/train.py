"""Train the demo's tokenizer and language model on the corpus, on a CPU and from scratch."""

from __future__ import annotations

import argparse
import copy
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import torch
from corpus import build_documents, is_heldout, join, read_text
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

HERE = Path(__file__).parent
VOCABULARY = 2048
WINDOW = 256
FINAL_LEARNING_RATE = 0.02
EVALUATION_BATCH = 16
REPORT_EVERY = 50


@dataclass(frozen=True)
class Options:
    """What the command line decides."""

    steps: int
    seed: int
    batch: int
    learning_rate: float
    warmup: int
    weight_decay: float
    dropout: float
    threads: int
    out: Path
    heldout: Path


def parse_options() -> Options:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=2300, help="optimizer steps")
    parser.add_argument("--seed", type=int, default=0, help="seed of the initial weights and of the batch order")
    parser.add_argument("--batch", type=int, default=16, help="windows of 256 tokens in a step")
    parser.add_argument("--learning-rate", type=float, default=2e-3, help="peak learning rate")
    parser.add_argument("--warmup", type=int, default=100, help="steps of linear warm-up")
    parser.add_argument("--weight-decay", type=float, default=0.1, help="decay of the weight matrices")
    parser.add_argument("--dropout", type=float, default=0.1, help="dropout on what each block adds to the stream")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--out", type=Path, required=True, help="folder of the finished model; overwritten")
    parser.add_argument("--heldout", type=Path, default=HERE / "heldout.txt.xz", help="text that measures the model")
    return Options(**vars(parser.parse_args()))


def train_tokenizer(texts: list[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE tokenizer which restores every text exactly."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=["<s>", "</s>"],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token="<s>",
        eos_token="</s>",
        clean_up_tokenization_spaces=False,
        model_max_length=512,
    )


def encode(tokenizer: PreTrainedTokenizerFast, text: str) -> Tensor:
    """Turn a text into one stream of token ids."""
    # The backend is called directly: a whole corpus is no input whose length deserves a warning.
    return torch.tensor(tokenizer.backend_tokenizer.encode(text).ids)


def windows_of(stream: Tensor, offset: int = 0) -> Tensor:
    """Cut a token stream into non-overlapping windows, dropping the incomplete last one."""
    count = (len(stream) - offset) // WINDOW
    return stream[offset : offset + count * WINDOW].view(count, WINDOW)


def training_batches(stream: Tensor, batch: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Yield shuffled batches for ever; each epoch cuts the stream at a new random offset."""
    while True:
        offset = int(torch.randint(WINDOW, (), generator=generator))
        windows = windows_of(stream, offset)
        order = torch.randperm(len(windows), generator=generator)
        for chosen in order[: len(order) // batch * batch].view(-1, batch):
            yield windows[chosen]


def build_model(seed: int) -> LlamaForCausalLM:
    """Build the untrained model from a seed, leaving the global random state as it was."""
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=256,
        intermediate_size=704,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=32,
        max_position_embeddings=512,
        rms_norm_eps=1e-5,
        tie_word_embeddings=True,
        bos_token_id=0,
        eos_token_id=1,
    )
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return LlamaForCausalLM(config)


def add_dropout(model: LlamaForCausalLM, rate: float) -> None:
    """Drop shares of what the attention and MLP blocks add; Llama has no such option, and a small corpus needs it."""

    def drop(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        return F.dropout(output, rate, module.training)

    for layer in model.model.layers:
        layer.self_attn.o_proj.register_forward_hook(drop)
        layer.mlp.register_forward_hook(drop)


def build_optimizer(model: nn.Module, options: Options) -> torch.optim.AdamW:
    """Build AdamW with decay on the matrices only."""
    matrices = [weight for weight in model.parameters() if weight.ndim >= 2]
    vectors = [weight for weight in model.parameters() if weight.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": options.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=options.learning_rate, betas=(0.9, 0.95), fused=True)


def learning_rate_at(step: int, options: Options) -> float:
    """Warm up linearly, then follow a cosine down to a small share of the peak."""
    if step < options.warmup:
        return options.learning_rate * (step + 1) / options.warmup
    progress = (step - options.warmup) / max(1, options.steps - options.warmup)
    cosine = 0.5 * (1 + math.cos(math.pi * progress))
    return options.learning_rate * (FINAL_LEARNING_RATE + (1 - FINAL_LEARNING_RATE) * cosine)


def window_loss(model: nn.Module, windows: Tensor) -> Tensor:
    """Mean cross-entropy over the 255 predicted tokens of every window."""
    logits = model(input_ids=windows, use_cache=False).logits[:, :-1]
    return F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten())


@torch.no_grad()
def mean_loss(model: nn.Module, windows: Tensor) -> float:
    """Mean loss over all windows, weighing each predicted token the same."""
    model.eval()
    total = sum(float(window_loss(model, part)) * len(part) for part in windows.split(EVALUATION_BATCH))
    return total / len(windows)


def train_step(model: nn.Module, optimizer: torch.optim.Optimizer, windows: Tensor, learning_rate: float) -> float:
    """Make one optimizer step and return the loss before it."""
    model.train()
    for group in optimizer.param_groups:
        group["lr"] = learning_rate
    loss = window_loss(model, windows)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    return float(loss.detach())


def train(model: LlamaForCausalLM, stream: Tensor, validation: Tensor, options: Options) -> None:
    """Train the model in place and leave it with the weights that did best on the validation windows."""
    optimizer = build_optimizer(model, options)
    batches = training_batches(stream, options.batch, torch.Generator().manual_seed(options.seed))
    best, best_weights, losses, start = math.inf, None, [], time.perf_counter()
    for step in range(options.steps):
        losses.append(train_step(model, optimizer, next(batches), learning_rate_at(step, options)))
        if (step + 1) % REPORT_EVERY and step + 1 < options.steps:
            continue
        loss = mean_loss(model, validation)
        if loss < best:
            best, best_weights = loss, copy.deepcopy(model.state_dict())
        elapsed = time.perf_counter() - start
        recent = sum(losses) / len(losses)
        print(f"step {step + 1}: train {recent:.4f}, held-out {loss:.4f}, best {best:.4f}, {elapsed:.0f} s", flush=True)
        losses.clear()
    if best_weights is not None:
        model.load_state_dict(best_weights)


def save(model: LlamaForCausalLM, tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Write the model as bfloat16 in two shards, with its tokenizer."""
    # Padding is only for generation: a pad id in the config would stop </s> from being learnt.
    model.generation_config.pad_token_id = model.config.eos_token_id
    model.to(torch.bfloat16).save_pretrained(folder, max_shard_size="4MB")
    tokenizer.save_pretrained(folder)


def report(folder: Path, heldout: str) -> None:
    """Load the saved model as a reader would and print its perplexity on the held-out text."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    stream = encode(tokenizer, heldout)
    windows = windows_of(stream)
    loss = mean_loss(model, windows)
    print(f"saved model: {len(stream)} held-out tokens, {len(windows)} windows, loss {loss:.4f}")
    print(f"saved model: held-out perplexity {math.exp(loss):.3f}")


def main() -> None:
    """Train, save and measure."""
    options = parse_options()
    torch.set_num_threads(options.threads)
    documents = [document for document in build_documents() if not is_heldout(document)]
    heldout = read_text(options.heldout)
    tokenizer = train_tokenizer([document.text for document in documents])
    stream = encode(tokenizer, join(documents))
    validation = windows_of(encode(tokenizer, heldout))[::4]
    model = build_model(options.seed)
    print(f"{len(stream)} training tokens in {len(documents)} documents, {model.num_parameters()} parameters")
    add_dropout(model, options.dropout)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(options.seed)
        train(model, stream, validation, options)
    save(model, tokenizer, options.out)
    report(options.out, heldout)


if __name__ == "__main__":
    main()
