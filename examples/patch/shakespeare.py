"""What a fine-tuned model costs as a patch over its base, and what that costs in perplexity.

A small model trained on children's stories is fine-tuned on Shakespeare in four ways: one block alone; all weights in
steps so small that bfloat16 does not see most of them; all weights in usual steps, stored as float32 and as bfloat16.
Each result becomes a lossless patch and lossy ones, each patch is applied, and the perplexity of what comes back is
measured on text that nobody trained on. A lossless patch must bring back every byte of the fine-tuned checkpoint.

    python examples/patch/shakespeare.py --data FOLDER [--model babyllama105] [--steps 60] [--output results.json]

needs the folder of small trained checkpoints and texts that CONTRIBUTING.md describes.
"""

import argparse
import json
import resource
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy
from transformers import AutoModelForCausalLM

from fmcompress.evaluation import evaluate, read_windows
from fmcompress.patches import PatchOptions, apply_patch, make_patch

CPU = torch.device("cpu")
LENGTH, BATCH = 256, 8
TEST_WINDOWS = 30
COMPANIONS = ("tokenizer.json", "tokenizer_config.json", "generation_config.json")


@dataclass(frozen=True)
class Training:
    """learned: only parameters whose names hold this; rate: AdamW's learning rate, warmed up over a tenth."""

    rate: float
    learned: str = ""


TRAININGS = {"one block": Training(1e-3, "layers.2."), "small steps": Training(3e-6), "all weights": Training(5e-4)}
CASES = (  # training, dtype that base and result are stored in
    ("one block", torch.float32),
    ("small steps", torch.bfloat16),
    ("all weights", torch.bfloat16),
    ("all weights", torch.float32),
)
PATCHES: dict[str, dict[str, Any]] = {
    "lossless": {}, "8 bits": {"bits": 8}, "4 bits": {"bits": 4}, "3 bits": {"bits": 3}, "2 bits": {"bits": 2},
    "density 0.1": {"density": 0.1}, "density 0.1, 4 bits": {"density": 0.1, "bits": 4}, "rank 4": {"rank": 4},
    "rank 16": {"rank": 16},
}  # fmt: skip


def texts(data: Path, scratch: Path) -> tuple[Path, Path]:
    """The first nine tenths of Shakespeare to train on, the rest to test on; the model's tokenizer has no line ends."""
    whole = (data / "tinyshakespeare" / "input.txt").read_text(encoding="utf-8").replace("\n", " ")
    cut = whole.index(" ", len(whole) * 9 // 10)
    paths = scratch / "train.txt", scratch / "test.txt"
    for path, content in zip(paths, (whole[:cut], whole[cut:]), strict=True):
        path.write_text(content, encoding="utf-8")
    return paths


def fine_tuned(base: Path, windows: Tensor, training: Training, steps: int, seed: int) -> nn.Module:
    """The model after so many steps of AdamW, in float32."""
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    learned = [each for name, each in model.named_parameters() if training.learned in name]
    optimizer = torch.optim.AdamW(learned, lr=training.rate, weight_decay=0.0)
    generator = torch.Generator().manual_seed(seed)
    for step in range(steps):
        for group in optimizer.param_groups:
            group["lr"] = training.rate * min(1.0, 10 * (step + 1) / steps)
        rows = windows[torch.randint(len(windows), (BATCH,), generator=generator)]
        logits = model(input_ids=rows).logits[:, :-1]
        loss = cross_entropy(logits.flatten(0, 1), rows[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def stored(model: nn.Module, base: Path, folder: Path, dtype: torch.dtype) -> Path:
    """The model as a checkpoint with the companions of its base."""
    model.to(dtype).save_pretrained(folder)
    for name in COMPANIONS:
        if (base / name).exists():
            shutil.copyfile(base / name, folder / name)
    return folder


def same_files(one: Path, other: Path) -> bool:
    """Whether two folders hold the same bytes."""
    names = [sorted(path.name for path in folder.iterdir()) for folder in (one, other)]
    return names[0] == names[1] and all((one / n).read_bytes() == (other / n).read_bytes() for n in names[0])


def measured(base: Path, tuned: Path, test: Path, scratch: Path, patches: Sequence[str]) -> list[dict[str, Any]]:
    """A row for each patch: its kinds, size, loss, and the perplexity of what it brings back."""
    rows = []
    for name in patches:
        patch, out = scratch / "patch", scratch / "out"
        facts = make_patch(base, tuned, patch, PatchOptions(**PATCHES[name]))
        apply_patch(base, patch, out)
        if name == "lossless" and not same_files(out, tuned):
            raise SystemExit(f"{tuned}: does not come back")
        rows.append({
            "patch": name, "kinds": {kind: each["tensors"] for kind, each in facts["kinds"].items()},
            "patch_bytes": facts["patch_bytes"], "dense_bytes": facts["dense_bytes"], "share": facts["share"],
            "lost_of_change": facts["loss"] and facts["loss"]["change"],
            "lost_of_weights": facts["loss"] and facts["loss"]["weights"],
            "perplexity": perplexity(out, test),
        })  # fmt: skip
        shutil.rmtree(patch)
        shutil.rmtree(out)
    return rows


def perplexity(folder: Path, text: Path) -> float:
    return evaluate(folder, text, LENGTH, CPU, "float32", TEST_WINDOWS).perplexity


def run(base: Path, train: Path, test: Path, scratch: Path, steps: int, seed: int, patches: Sequence[str]) -> Any:
    """All cases: what was trained, how good it is, and a row for each patch."""
    windows = read_windows(base, train, LENGTH, None)
    cases = []
    for training, dtype in CASES:
        label = f"{training}, {str(dtype).removeprefix('torch.')}"
        home = scratch / label.replace(" ", "-")
        home.mkdir()
        plain = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        before = stored(plain, base, home / "base", dtype)
        begun = time.process_time()
        model = fine_tuned(base, windows, TRAININGS[training], steps, seed)
        spent = time.process_time() - begun
        after = stored(model, base, home / "tuned", dtype)
        case = {
            "case": label, "training_cpu_s": round(spent, 1), "perplexity_base": perplexity(before, test),
            "perplexity_tuned": perplexity(after, test), "patches": measured(before, after, test, home, patches),
        }  # fmt: skip
        cases.append(case)
        print(table(case), flush=True)
    return cases


def table(case: dict[str, Any]) -> str:
    """A case as the table of a document."""
    lines = [
        f"{case['case']}: perplexity {case['perplexity_base']:.3f} before, {case['perplexity_tuned']:.3f} after", "",
        "| patch | kinds | bytes | of dense | lost of the change | of the weights | perplexity |", "|---" * 7 + "|",
    ]  # fmt: skip
    for row in case["patches"]:
        kinds = ", ".join(f"{count} {kind}" for kind, count in row["kinds"].items())
        lost = ["0", "0"] if row["lost_of_change"] is None else [
            f"{100 * row[f'lost_of_{what}']:.3g} %" for what in ("change", "weights")
        ]  # fmt: skip
        share = f"{100 * row['share']:.1f} %"
        cells = row["patch"], kinds, f"{row['patch_bytes']:,}", share, *lost, f"{row['perplexity']:.3f}"
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", default="babyllama105")
    parser.add_argument("--steps", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)  # equal bits whatever the machine
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        base = options.data / "checkpoints" / options.model
        cases = run(base, *texts(options.data, scratch), scratch, options.steps, options.seed, tuple(PATCHES))
    used = resource.getrusage(resource.RUSAGE_SELF)
    facts = {
        "model": options.model, "steps": options.steps, "seed": options.seed, "batch": BATCH, "length": LENGTH,
        "cpu_s": round(used.ru_utime + used.ru_stime, 1), "cases": cases,
    }  # fmt: skip
    if options.output:
        options.output.write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    main()
