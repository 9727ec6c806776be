"""What tests of the machinery share: tiny checkpoints, short texts, raw safetensors bytes, the command line."""

import json
import lzma
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from fmcompress.calibration import StreamedModel
from fmcompress.checkpoint import Checkpoint
from fmcompress.checkpoint.layout import MEASURED

ROOT = Path(__file__).resolve().parent.parent
DEMO = ROOT / "examples" / "demo"
CPU = torch.device("cuda:0" if os.environ.get("FMCOMPRESS_PRETEND_CUDA") else "cpu")


def make_checkpoint(
    folder: Path, blocks: int = 2, hidden: int = 32, dtype: torch.dtype = torch.float32, shards: int = 1, **options: Any
) -> Path:
    """A random Llama in about so many shards, with the demo's tokenizer."""
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=2048,
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=blocks,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=128,
        **options,
    )
    torch.manual_seed(0)
    model = LlamaForCausalLM(config).to(dtype)
    size = sum(p.numel() * p.itemsize for p in model.parameters())
    model.save_pretrained(folder, max_shard_size=size // shards + 1)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(DEMO / "model" / name, folder / name)
    return folder


def make_text(path: Path, characters: int = 20_000, source: str = "calibration") -> Path:
    """The beginning of one of the demo's texts."""
    with lzma.open(DEMO / f"{source}.txt.xz", "rt", encoding="utf-8") as file:
        path.write_text(file.read(characters), encoding="utf-8")
    return path


def write_raw(path: Path, header: Any, data: bytes = b"") -> Path:
    """A safetensors file with any header (JSON value or bytes) and any data after it."""
    encoded = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(len(encoded).to_bytes(8, "little") + encoded + data)
    return path


def folder_bytes(folder: Path) -> dict[str, bytes]:
    """Every file below a folder: relative name -> content. Without what a run measured, which is never the same."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != MEASURED)
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def streamed(folder: Path, dtype: torch.dtype = torch.float32) -> StreamedModel:
    return StreamedModel(Checkpoint(folder), CPU, dtype)


class Silent:
    """An observer that only remembers the notes."""

    def __init__(self) -> None:
        self.notes: list[str] = []

    def start(self, blocks: int, done: int) -> None:
        self.done = done

    def layer(self, block: int, record: dict[str, Any]) -> None: ...

    def training(self, block: int, done: int, steps: int) -> None: ...

    def block(self, block: int) -> None: ...

    def note(self, text: str) -> None:
        self.notes.append(text)


def run_prune(model: Path, out: Path, text: Path | None, *, resume: bool = False, **options: Any) -> dict[str, Any]:
    """prepare() and compress_checkpoint() with options of PruneConfig; short sequences unless told."""
    from fmcompress.config import PruneConfig
    from fmcompress.pipeline import compress_checkpoint, prepare

    config = PruneConfig(**{"sequence_length": 64, "samples": 16, **options})
    return compress_checkpoint(prepare(model, config, text, CPU), out, Silent(), resume=resume)


@dataclass
class Outcome:
    code: int
    stdout: str
    stderr: str


def invoke(capsys: pytest.CaptureFixture[str], *args: object) -> Outcome:
    """Run the command line in this process."""
    from fmcompress.cli import main

    capsys.readouterr()
    before, code = sys.argv, 0
    sys.argv = ["fmcompress", *map(str, args)]
    try:
        main()
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    captured = capsys.readouterr()
    return Outcome(code, captured.out, captured.err)


def start_cli(*args: object) -> subprocess.Popen[str]:
    """Start the command line in a process of its own, which heeds Ctrl-C also where tests run in the background."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "fmcompress", *map(str, args)]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def run_cli(*args: object, timeout: float = 120) -> subprocess.CompletedProcess[str]:
    """Run the command line in a process of its own."""
    process = start_cli(*args)
    stdout, stderr = process.communicate(timeout=timeout)
    return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)


def linears(block: nn.Module) -> dict[str, nn.Linear]:
    return {name: module for name, module in block.named_modules() if isinstance(module, nn.Linear)}
