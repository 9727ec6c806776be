"""Trains a small CLIP on coloured digits from nothing, in two minutes of two cores, and saves it for transformers.

python examples/clip/train.py OUT --data ../shared/data/mnist-test --seed 0
"""

import argparse
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from digits import DIGITS, SIZE, Digits, captions, read, split
from torch import Tensor

TOKENS = 24  # of a text at the most
STEPS = 1400


def make_tokenizer(texts: list[str], longest: int = TOKENS, vocabulary: int = 400, space: bool = True) -> Any:
    """A byte-level BPE tokenizer of the texts' words, which can spell any other.

    space  whether the first word of a text is that word anywhere
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
    from transformers import PreTrainedTokenizerFast

    start, end = "<|startoftext|>", "<|endoftext|>"
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=space)
    bpe.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    bpe.train_from_iterator(
        texts, trainers.BpeTrainer(vocab_size=vocabulary, special_tokens=[end, start], initial_alphabet=alphabet)
    )
    ids = [(token, bpe.token_to_id(token)) for token in (start, end)]
    bpe.post_processor = processors.TemplateProcessing(single=f"{start} $A {end}", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=bpe, bos_token=start, eos_token=end, pad_token=end, model_max_length=longest
    )


def make_model(vocabulary: int, start: int, end: int, seed: int) -> Any:
    """A random CLIPModel: both towers 64 wide, of three and two blocks, patches of 7 x 7 pixels."""
    from transformers import CLIPConfig, CLIPModel

    shared = {"hidden_size": 64, "intermediate_size": 192, "num_attention_heads": 4}
    config = CLIPConfig(
        text_config={
            **shared, "num_hidden_layers": 2, "vocab_size": vocabulary, "max_position_embeddings": TOKENS,
            "bos_token_id": start, "eos_token_id": end, "pad_token_id": end,
        },
        vision_config={**shared, "num_hidden_layers": 3, "image_size": SIZE, "patch_size": 7},
        projection_dim=64,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return CLIPModel(config)


def pixels_of(digits: Digits) -> Tensor:
    """[rows, 3, 28, 28] float32, as the saved image processor prepares them."""
    return torch.from_numpy(digits.pixels).permute(0, 3, 1, 2).float() / 127.5 - 1


def train(
    digits: Digits, *, seed: int, steps: int = STEPS, batch: int = 256, learning_rate: float = 2e-3
) -> tuple[Any, Any]:
    """A CLIP model of the images and captions drawn for them anew whenever they come again, and its tokenizer."""
    generator = np.random.default_rng(seed)
    tokenizer = make_tokenizer([text for _ in range(4) for text in captions(digits, generator)])
    model = make_model(len(tokenizer), tokenizer.bos_token_id, tokenizer.eos_token_id, seed).train()
    optimizer = torch.optim.AdamW(model.parameters(), learning_rate, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, learning_rate, total_steps=steps, pct_start=0.1)
    pixels, begin = pixels_of(digits), time.perf_counter()
    for step, (rows, texts) in enumerate(_batches(digits, batch, steps, generator), 1):
        different, said = np.unique(texts, return_inverse=True)
        tokens = tokenizer(different.tolist(), padding=True, return_tensors="pt")
        out = model(input_ids=tokens.input_ids, attention_mask=tokens.attention_mask, pixel_values=pixels[rows])
        loss = contrastive_loss(out.logits_per_image, torch.from_numpy(said))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 200 == 0:
            print(f"step {step} of {steps}: loss {loss.item():.3f}, {time.perf_counter() - begin:.0f} s", flush=True)
    return model.eval().requires_grad_(False), tokenizer


def contrastive_loss(logits: Tensor, said: Tensor) -> Tensor:
    """CLIP's loss over the different captions of a batch: several images may have one (Yang et al. 2022, UniCL).

    logits  [images, captions]
    said    [images] int64: which caption an image has
    """
    of_images = torch.nn.functional.cross_entropy(logits, said)
    among_images = logits.log_softmax(dim=0)[torch.arange(len(said)), said]
    shares = 1 / torch.bincount(said, minlength=logits.shape[1])[said]
    return (of_images - (among_images * shares).sum() / logits.shape[1]) / 2


def _batches(
    digits: Digits, batch: int, steps: int, generator: np.random.Generator
) -> Iterator[tuple[Tensor, list[str]]]:
    """Rows and their captions, every image once before any comes again."""
    order = np.empty(0, np.int64)
    for _ in range(steps):
        if len(order) < batch:
            order, texts = generator.permutation(len(digits)), captions(digits, generator)
        rows, order = np.split(order, [min(batch, len(digits))])
        yield torch.from_numpy(rows), [texts[row] for row in rows]


def save(model: Any, tokenizer: Any, folder: Path) -> None:
    """A checkpoint that transformers and fmcompress load, with its tokenizer and how images are prepared."""
    from transformers import CLIPImageProcessorPil

    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    CLIPImageProcessorPil(
        do_resize=True, size={"shortest_edge": SIZE}, do_center_crop=True, crop_size=SIZE, do_rescale=True,
        do_normalize=True, image_mean=[0.5] * 3, image_std=[0.5] * 3,
    ).save_pretrained(folder)  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, help="folder of MNIST's test files; without it scikit-learn's digits")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, default=STEPS)
    given = parser.parse_args()
    digits = split(*read(given.data), given.seed).encoder
    model, tokenizer = train(digits, seed=given.seed, steps=given.steps)
    save(model, tokenizer, given.out)
    print(f"{given.out}: knows {', '.join(DIGITS)}")


if __name__ == "__main__":
    main()
