"""fmcompress eval."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from . import app


@app.command("eval")
def evaluate(
    model: Annotated[Path, typer.Argument(help="Folder of a Hugging Face checkpoint (safetensors).")],
    text: Annotated[Path, typer.Option(help="Text: .txt or .jsonl, also .gz or .xz.")],
    sequence_length: Annotated[int, typer.Option(min=2, help="Tokens in a window.")] = 2048,
    max_windows: Annotated[int | None, typer.Option(min=1, help="Only the first so many windows.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="To run the model in: auto, float32, bfloat16, float16.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False,
) -> None:
    """Perplexity on a text. Figures compare only at the same sequence length and text."""
    from ..config import pick_device
    from ..evaluation import evaluate as run
    from ..report import Steps, err, out, print_json

    with Steps("evaluating") as steps:
        result = run(
            model, text, sequence_length, pick_device(device), dtype, max_windows,
            lambda done, total: steps.at(done, total, f"block {done}/{total}"),
        )  # fmt: skip
    notes = []
    if result.sequence_length < sequence_length:
        notes.append(f"sequence length {sequence_length} lowered to {result.sequence_length}, the model's longest")
    for note in notes:
        err.print(note, soft_wrap=True, markup=False)
    if json:
        finite = result.perplexity if result.perplexity < float("inf") else None  # JSON has no infinity
        print_json({"model": str(model), "text": str(text), **asdict(result), "perplexity": finite, "notes": notes})
        return
    out.print(
        f"perplexity {result.perplexity:.4f} · sequence length {result.sequence_length} · "
        f"{result.predicted_tokens:,} predicted tokens in {result.windows} windows",
        soft_wrap=True,
    )
