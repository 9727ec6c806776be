"""A whole prune as a person runs it: `fmcompress prune` on a checkpoint of the shape of an 8-billion Llama.

Makes the checkpoint (random bfloat16 weights, the demo's tokenizer, a text of random tokens) in the folder of --work,
prunes it to 50 % and to 2:4 with 128 x 2048 tokens, and tells where the seconds went. The work folder needs twice the
checkpoint: 32 GB. --blocks N makes a shallower model: the seconds of 32 blocks are then computed from it, and the row
says so.
"""

import json
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch
from eager import eager_sparsegpt
from gpu import Row, Rows, arguments, seconds
from shards import write_shards
from torch import Tensor

from fmcompress.calibration import BATCH_TOKENS, accumulate_hessian_
from fmcompress.checkpoint.layout import MEASURED
from fmcompress.pruning import NM, Unstructured

DEMO = Path(__file__).parents[1] / "examples" / "demo" / "model"
CASES = {"50 %": (["--sparsity", "0.5"], Unstructured(0.5)), "2:4": (["--pattern", "2:4"], NM(2, 4))}
WHOLE = 32  # blocks
MOST_S = 90.0  # for a whole prune of 32 blocks


@dataclass(frozen=True)
class Shape:
    """The sizes of a Llama."""

    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    vocabulary: int
    samples: int
    length: int

    @property
    def layers(self) -> dict[str, tuple[int, int]]:
        """(rows, cols) of the linear layers of a block."""
        kv = self.hidden * self.kv_heads // self.heads
        attention = {f"self_attn.{n}_proj": (kv if n in "kv" else self.hidden, self.hidden) for n in "qkvo"}
        mlp = {f"mlp.{name}_proj": (self.intermediate, self.hidden) for name in ("gate", "up")}
        return {**attention, **mlp, "mlp.down_proj": (self.hidden, self.intermediate)}

    @property
    def block_weights(self) -> int:
        """Of the linear layers of a block."""
        return sum(rows * cols for rows, cols in self.layers.values())


EIGHT_BILLION = Shape(4096, 14336, 32, 8, 128256, 128, 2048)
MIDDLE = Shape(2048, 5632, 32, 8, 8192, 4, 512)
SMALL = Shape(64, 192, 4, 2, 2048, 8, 32)


def make_checkpoint(folder: Path, shape: Shape, blocks: int, device: torch.device) -> int:
    """A checkpoint of random weights, one shard a block. Returns its bytes."""
    folder.mkdir(parents=True)
    config = json.loads((DEMO / "config.json").read_text())
    config |= {"num_hidden_layers": blocks, "hidden_size": shape.hidden, "intermediate_size": shape.intermediate}
    config |= {"head_dim": shape.hidden // shape.heads, "num_attention_heads": shape.heads}
    config |= {"num_key_value_heads": shape.kv_heads, "vocab_size": shape.vocabulary, "tie_word_embeddings": False}
    config |= {"max_position_embeddings": 8192}
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(DEMO / name, folder)
    generator = torch.Generator(device).manual_seed(0)

    def matrix(rows: int, cols: int, scale: float = 1.0) -> Tensor:
        numbers = torch.randn(rows, cols, generator=generator, device=device, dtype=torch.bfloat16)
        return numbers.mul_(scale * cols**-0.5).cpu()

    def block(number: int) -> dict[str, Tensor]:
        names, prefix = ("input_layernorm", "post_attention_layernorm"), f"model.layers.{number}."
        norms = {f"{prefix}{name}.weight": torch.ones(shape.hidden, dtype=torch.bfloat16) for name in names}
        # what is added to the residual stream is smaller in deeper models, so that activations stay near one
        scales = dict.fromkeys(("self_attn.o_proj", "mlp.down_proj"), (2 * blocks) ** -0.5)
        return norms | {f"{prefix}{n}.weight": matrix(*size, scales.get(n, 1)) for n, size in shape.layers.items()}

    def outside() -> dict[str, Tensor]:
        tensors = {"model.embed_tokens.weight": matrix(shape.vocabulary, shape.hidden, shape.hidden**0.5)}
        tensors["lm_head.weight"] = matrix(shape.vocabulary, shape.hidden)
        return {**tensors, "model.norm.weight": torch.ones(shape.hidden, dtype=torch.bfloat16)}

    made = (block(number) if number < blocks else outside() for number in range(blocks + 1))
    return write_shards(folder, made, blocks + 1)


def make_text(path: Path, tokens: int) -> None:
    """Random words of the demo's vocabulary, of two tokens or so each."""
    vocabulary = json.loads((DEMO / "tokenizer.json").read_text())["model"]["vocab"]
    words = sorted(word.strip("Ġ") for word in vocabulary if word.strip("Ġ").isalpha() and word.isprintable())
    chosen = torch.randint(len(words), (max(4096, tokens),), generator=torch.Generator().manual_seed(0)).tolist()
    path.write_text(" ".join(words[number] for number in chosen))


def prune(work: Path, shape: Shape, device: torch.device, options: list[str]) -> dict[str, Any]:
    """One run of the command line. Returns its facts, what it measured last, and its seconds from start to end."""
    out, given = work / "out", ["--samples", str(shape.samples), "--sequence-length", str(shape.length), "--json"]
    command = [sys.executable, "-m", "fmcompress", "prune", str(work / "model"), str(out), *options, *given]
    command += ["--calibration", str(work / "text.txt"), "--device", device.type, "--dtype", "bfloat16", "--quiet"]
    begin = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.PIPE, check=False, text=True)
    passed = time.perf_counter() - begin
    if done.returncode:
        sys.exit(f"fmcompress prune ended with {done.returncode}: {' '.join(command)}")
    facts = json.loads(done.stdout)
    events = [json.loads(line) for line in (out / MEASURED).read_text().splitlines()]
    shutil.rmtree(out)
    return {"seconds": passed, "facts": facts, "last": events[-1], "events": events}


def of_all_blocks(found: dict[str, Any], blocks: int) -> float:
    """Seconds of a run of 32 blocks, as if all that a run of fewer does, but for starting up, grew with the blocks."""
    inside = found["last"]["at_s"]
    return float(found["seconds"] - inside + inside * WHOLE / blocks)


def floors(shape: Shape, blocks: int, size: int) -> dict[str, Any]:
    """Bytes and operations, as gpu_targets.py counts them: the checkpoint read and written; two runs of every block and
    half of every Hessian."""
    tokens, inputs = shape.samples * shape.length, 3 * shape.hidden**2 + shape.intermediate**2
    flops = float(blocks * tokens * (2 * 2 * shape.block_weights + inputs))
    return {"bytes": 2.0 * size, "flops": flops, "rate": "bfloat16"}


def eager_block_s(shape: Shape, device: torch.device, pattern: Any) -> float:
    """Seconds of the solves of one block by the loop that people run today, Hessians given; each layer once."""
    total, generator = 0.0, torch.Generator(device).manual_seed(0)
    timed = dict[tuple[int, int], float]()
    for rows, cols in shape.layers.values():
        if (rows, cols) not in timed:
            inputs = torch.randn(2 * cols, cols, generator=generator, device=device)
            weight = torch.randn(rows, cols, generator=generator, device=device)
            hessian = inputs.T @ inputs / (2 * cols)
            timed[rows, cols] = seconds(partial(eager_sparsegpt, weight, hessian, pattern), device, rounds=1)
        total += timed[rows, cols]
    return total


def hessian_alone_s(shape: Shape, device: torch.device, blocks: int) -> float:
    """Seconds of the sums of all Hessians, measured apart: in a run they are part of `calibrate`, beside a forward."""
    timed, tokens = 0.0, shape.samples * shape.length
    for cols, count in ((shape.hidden, 3), (shape.intermediate, 1)):  # q k v, o, gate up; down
        inputs = torch.ones(min(BATCH_TOKENS, tokens), cols, dtype=torch.bfloat16, device=device)
        hessian = torch.zeros(cols, cols, device=device)
        timed += count * seconds(partial(accumulate_hessian_, hessian, inputs), device, rounds=5)
    return timed * blocks * tokens / min(BATCH_TOKENS, tokens)


def facts_of(found: dict[str, Any], shape: Shape, blocks: int, size: int) -> dict[str, Any]:
    """Where the seconds went, what was held, and what was run."""
    last, phases = found["last"], found["last"]["phases"]
    layers = [event["seconds"] for event in found["events"] if event.get("layer")]
    solve = {name: sum(some.get(name, 0.0) for some in layers) for name in sorted({n for some in layers for n in some})}
    return {
        "phases_s": phases,
        "start_and_end_s": found["seconds"] - last["at_s"],  # Python, libraries, inputs read; publishing
        "rest_s": last["at_s"] - sum(phases.values()),
        "solve_s": solve,
        "checkpoint_bytes": size,
        "peak_bytes": last["peak_bytes"],
        "gpu_peak_bytes": last.get("gpu_peak_bytes"),
        "tokens": shape.samples * shape.length,
        "blocks": blocks,
        "sparsity": found["facts"]["sparsity"],
        "shape": asdict(shape),
    }


def main() -> None:
    parser = arguments(__doc__)
    parser.add_argument("--work", type=Path, help="where the checkpoint and what is made of it lie; a new folder in it")
    parser.add_argument("--blocks", type=int, default=WHOLE, help="of the model; fewer are faster")
    parser.add_argument("--middle", action="store_true", help="hidden size 2048, 2048 tokens: what a CPU can do")
    parser.add_argument("--no-eager", action="store_true", help="do not time the eager loop for an estimate of its run")
    parser.add_argument("--cases", nargs="+", choices=list(CASES), default=list(CASES))
    given = parser.parse_args()
    device, shape = torch.device(given.device), EIGHT_BILLION
    blocks = min(given.blocks, 2) if given.small else given.blocks
    shape = SMALL if given.small else MIDDLE if given.middle else EIGHT_BILLION
    rows = Rows(device, small=given.small, path=given.json)
    with tempfile.TemporaryDirectory(dir=given.work) as folder:
        work = Path(folder)
        size = make_checkpoint(work / "model", shape, blocks, device)
        make_text(work / "text.txt", shape.samples * shape.length)
        hessian_s = hessian_alone_s(shape, device, blocks)
        for name in given.cases:
            options, pattern = CASES[name]
            found = prune(work, shape, device, options)
            facts = facts_of(found, shape, blocks, size) | {"hessian_alone_s": hessian_s}
            case = f"Llama, hidden {shape.hidden}, {blocks} blocks, {size / 1e9:.3g} GB, {name}"
            target = MOST_S if shape == EIGHT_BILLION and blocks == WHOLE else None
            least = floors(shape, blocks, size)
            rows.add(Row("whole prune", case, found["seconds"], most_s=target, facts=facts, **least))
            if shape == EIGHT_BILLION and blocks != WHOLE:
                case += f", COMPUTED for {WHOLE} blocks"
                least = floors(shape, WHOLE, size * WHOLE // blocks)
                rows.add(Row("whole prune, computed", case, of_all_blocks(found, blocks), most_s=MOST_S, **least))
            if not given.no_eager:  # now that the run is on disk
                solves = eager_block_s(shape, device, pattern)
                facts |= {"eager_solves_s_estimate": solves * blocks, "eager_solves_s_a_block": solves}
            for phase, spent in sorted(facts["phases_s"].items(), key=lambda item: -item[1]):
                print(f"  {phase}: {spent:.3f} s, {spent / size * 1e9:.2f} s a GB", flush=True)
            print(
                f"  start and end: {facts['start_and_end_s']:.3f} s, rest: {facts['rest_s']:.3f} s, "
                f"Hessians alone: {hessian_s:.3f} s",
                flush=True,
            )
    rows.write(given.json)


if __name__ == "__main__":
    main()
