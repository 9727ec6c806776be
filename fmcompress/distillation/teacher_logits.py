"""From a teacher and a text to a file of the likeliest tokens, one block of the teacher in memory at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..calibration import load_tokenizer, longest_sequence
from ..devices import pick_device
from ..errors import CheckpointError
from ..evaluation import final_hidden, open_streamed, part_of, predictions, read_windows, windows_at_once
from .top_k_code import Code, TopK, top_k
from .top_k_logits import About, LogitsWriter, tokenizer_digest


def write_teacher_logits(
    teacher: Path, text: Path, out: Path, *, k: int = 64, sequence_length: int = 512, max_windows: int | None = None,
    bits: int = 8, temperature: float = 1.0, device: str = "auto", dtype: str = "auto",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> dict[str, Any]:  # fmt: skip
    """Write what a teacher says of the windows of a text: of each next token the k likeliest, and what is left over.

    teacher          folder of a dense, packed or compressed-tensors checkpoint; it may be larger than the memory
    out              the file, which appears when all of it is there
    k                tokens kept, all of a smaller vocabulary
    sequence_length  tokens in a window; capped at what the model was made for
    bits             of a value: 4 or 8
    progress         called with (blocks run, blocks in all)

    Returns out, k, vocabulary, windows, length, tokens (predicted), bytes, bytes_per_token, dense_bytes_per_token (in
    float16), kept (mean probability of what is kept), and kl_mean and kl_max: KL(as it was || as it is read again) over
    the k tokens and the rest, in nats a token. Raises an error if the model or the text will not do, or out cannot be
    written.
    """
    streamed = open_streamed(teacher, pick_device(device), dtype)
    length = min(sequence_length, longest_sequence(streamed.model) or sequence_length)
    vocabulary = int(streamed.model.config.get_text_config().vocab_size)
    code = Code(min(k, vocabulary), vocabulary, bits)
    windows = read_windows(teacher, text, length, max_windows)
    about = About(
        k=code.k, vocabulary=vocabulary, bits=code.bits, temperature=temperature, windows=len(windows), length=length,
        teacher=streamed.checkpoint.digest(), tokenizer=tokenizer_digest(load_tokenizer(teacher)),
    )  # fmt: skip
    parts, blocks = windows.split(windows_at_once([streamed], length)), len(streamed.text_blocks)
    error, highest, kept = 0.0, 0.0, 0.0
    with LogitsWriter(out, about, windows) as writer, torch.no_grad():
        for number, part in enumerate(parts):
            hidden = final_hidden(streamed, part, part_of(progress, number * blocks, len(parts) * blocks))
            with streamed.outside_kept():
                for tokens, states, _ in predictions(streamed, hidden):
                    known = top_k(streamed.logits(tokens, states).flatten(0, 1), code.k, temperature)
                    if not bool(known.log_p.isfinite().any(-1).all()) or bool(known.log_p.isnan().any()):
                        raise CheckpointError(
                            f"{teacher}: its outputs hold NaN. The checkpoint is damaged, or try --dtype float32."
                        )
                    known = TopK(known.ids.cpu(), known.log_p.cpu(), known.rest.cpu())
                    kl = coding_error(known, code)
                    error, highest = error + float(kl.sum(dtype=torch.float64)), max(highest, float(kl.max()))
                    kept += float(known.log_p.exp().sum(dtype=torch.float64))
                    writer.add(known)
    return {
        "out": str(out), "k": code.k, "vocabulary": vocabulary, "windows": len(windows), "length": length,
        "tokens": about.rows, "bytes": out.stat().st_size, "bytes_per_token": code.row_bytes,
        "dense_bytes_per_token": 2 * vocabulary, "kept": kept / about.rows, "kl_mean": error / about.rows,
        "kl_max": highest,
    }  # fmt: skip


def coding_error(known: TopK, code: Code) -> Tensor:
    """KL(as it is || as it is read again) over the k tokens and the rest: [n] float32, nats."""
    again = code.decode(code.encode(known))
    before = torch.cat([known.log_p, known.rest.unsqueeze(1)], 1)
    after = torch.cat([again.log_p, again.rest.unsqueeze(1)], 1)
    p = before.exp()
    return torch.where(p > 0, p * (before - after), 0.0).sum(1).clamp_min(0)
