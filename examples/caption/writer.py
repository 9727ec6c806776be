"""A small causal language model that learns to turn clues into paragraphs, of made-up scenes, mistakes included."""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from encoder import VOCABULARY, make_tokenizer
from scenes import Scene, Thing, a, clues_of, related, sentence, vocabulary

from fmcompress.vision_language.visual_clues import VisualClues
from fmcompress.vision_language.visual_clues.position import position_of
from fmcompress.vision_language.visual_clues.prompt import to_prompt

TASK = "Describe the image."
LONGEST, STEPS, BATCH = 288, 900, 24
KINDS = ("tags", "+ captions", "+ objects", "+ positions")  # which clues a prompt holds, each with those before


def prompt_of(clues: VisualClues, kind: str) -> str:
    """The prompt of the clues of a kind."""
    number = KINDS.index(kind)
    some = VisualClues(clues.tags, clues.objects if number >= 2 else (), clues.captions if number >= 1 else ())
    return to_prompt(some, locate=number >= 3, instruction=TASK)


def made_up(words: Any, generator: np.random.Generator) -> tuple[VisualClues, str, str]:
    """(clues, kind, paragraph) of a scene that nobody saw: names, attributes and boxes by chance.

    The paragraph leaves out a quarter of the objects, in a third of all scenes names one that is not there, and gets an
    attribute in eight wrong: the writer is to make the mistakes that selection and filter are for.
    """
    names, attributes, relations = words
    chosen = [names[at] for at in generator.permutation(len(names))[: int(generator.integers(2, 6))]]
    things = []
    for name in chosen:
        left, top = generator.uniform(0, 0.7, 2).tolist()
        width, height = generator.uniform(0.1, 1, 2).tolist()
        box = (left, top, min(left + width, 1), min(top + height, 1))
        own = [attributes[at] for at in generator.permutation(len(attributes))[: int(generator.integers(1, 4))]]
        things.append(Thing(name, tuple(own), box))
    pair = [chosen[at] for at in generator.permutation(len(chosen))[:2]]
    relation = relations[generator.integers(len(relations))]
    kind = KINDS[generator.choice(4, p=[0.15, 0.15, 0.3, 0.4])]
    told = [thing for thing in things if generator.random() > 0.25] or things[:1]
    sentences = []
    for thing in told:
        own = [
            attributes[generator.integers(len(attributes))] if generator.random() < 0.12 else w
            for w in thing.attributes
        ]
        place = position_of(thing.box) if kind == "+ positions" and thing.box else None
        sentences.append(sentence(thing.name, own if kind in KINDS[2:] else own[:1], place, generator))
    if kind != "tags" and generator.random() > 0.25:
        sentences.append(related(pair[0], relation, pair[1]))
    if generator.random() < 1 / 3:
        more, word = names[generator.integers(len(names))], attributes[generator.integers(len(attributes))]
        sentences.insert(int(generator.integers(len(sentences) + 1)), sentence(more, [word], None, generator))
    tags = [chosen[at] for at in generator.permutation(len(chosen))[:5]]
    clues = clues_of(things, [f"{a(pair[0])} {relation} {a(pair[1])}"], tags)
    return clues, kind, " ".join(sentences)


def repeated(words: Any, generator: np.random.Generator) -> str:
    """A list of words, three times."""
    every = [*words[0], *words[1]]
    return 3 * "".join(f" {every[at]}" for at in generator.permutation(len(every))[: int(generator.integers(4, 13))])


def train(scenes: dict[str, Scene], folder: Path, *, seed: int, steps: int = STEPS, layers: int = 4) -> None:
    """Train and save the writer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    generator, words = np.random.default_rng(seed), vocabulary(scenes)

    def drawn() -> tuple[str, str]:
        clues, kind, paragraph = made_up(words, generator)
        return prompt_of(clues, kind), " " + paragraph

    known = [t for scene in scenes.values() for t in (scene.caption, *(f" {w}" for w in scene.caption.split()))]
    tokenizer = make_tokenizer([text for _ in range(600) for text in drawn()] + known, LONGEST, VOCABULARY, space=False)
    end = tokenizer.eos_token_id
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=128, intermediate_size=352, num_hidden_layers=layers,
        num_attention_heads=4, num_key_value_heads=4, max_position_embeddings=LONGEST, tie_word_embeddings=True,
        bos_token_id=tokenizer.bos_token_id, eos_token_id=end, pad_token_id=end,
    )  # fmt: skip
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config).train()
    optimizer = torch.optim.AdamW(model.parameters(), 3e-3, weight_decay=0.05)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=steps, pct_start=0.1)
    begin = time.perf_counter()
    for step in range(1, steps + 1):
        # first lists of words that come again: to copy is what is hard to learn, and here there is little else
        if step <= steps // 3:
            texts = [repeated(words, generator) for _ in range(2 * BATCH)]
        else:
            texts = ["".join(drawn()) for _ in range(BATCH)]
        rows = [tokenizer(text)["input_ids"][:LONGEST] for text in texts]
        width = max(map(len, rows))
        ids = torch.tensor([row + [end] * (width - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (width - len(row)) for row in rows])
        wanted = ids.masked_fill(mask == 0, -100)
        loss = model(input_ids=ids, attention_mask=mask, labels=wanted).loss
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0:
            print(f"writer, step {step}: loss {loss.item():.3f}, {time.perf_counter() - begin:.0f} s", flush=True)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
