"""fmcompress eval."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from . import app


@app.command("eval")
def evaluate(
    models: Annotated[
        list[Path],
        typer.Argument(metavar="MODEL...", help="Folder of a checkpoint; with --compare the dense one first."),
    ],
    text: Annotated[Path, typer.Option(help="Text: .txt or .jsonl, also .gz or .xz.")],
    compare: Annotated[bool, typer.Option("--compare", help="Hold the other models against the first.")] = False,
    sequence_length: Annotated[int, typer.Option(min=2, help="Tokens in a window.")] = 2048,
    max_windows: Annotated[int | None, typer.Option(min=1, help="Only the first so many windows.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="To run the model in: auto, float32, bfloat16, float16.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False,
) -> None:
    """Perplexity on a text; with --compare also KL divergence to the first model, agreement and size.

    Figures compare only at the same sequence length and text.
    """
    from ..devices import pick_device
    from ..divergence import Comparison
    from ..divergence import compare as run_comparison
    from ..errors import ConfigError
    from ..evaluation import Perplexity
    from ..evaluation import evaluate as run
    from ..report import Steps, err, finite, out, print_json
    from ..tables import comparison_table

    if len(models) > 1 and not compare:
        raise ConfigError(
            f"MODEL: expected one folder, got {len(models)}. Add --compare to hold them against the first."
        )
    with Steps("evaluating") as steps:
        shared = (
            text, sequence_length, pick_device(device), dtype, max_windows,
            lambda done, total: steps.at(done, total, f"block {done}/{total}"),
        )  # fmt: skip
        result: Perplexity | Comparison = run_comparison(models, *shared) if compare else run(models[0], *shared)
    notes = []
    if result.sequence_length < sequence_length:
        notes.append(f"sequence length {sequence_length} lowered to {result.sequence_length}, the model's longest")
    for note in notes:
        err.print(note, soft_wrap=True, markup=False)
    if json:
        model = {} if compare else {"model": str(models[0])}
        print_json(finite({**model, "text": str(text), **asdict(result), "notes": notes}))
        return
    tokens = f"{result.predicted_tokens:,} predicted tokens in {result.windows} windows"
    read = f"sequence length {result.sequence_length} · {tokens}"
    if isinstance(result, Comparison):
        out.print(comparison_table(result))
        out.print(read, soft_wrap=True)
    else:
        out.print(f"perplexity {result.perplexity:.4f} · {read}", soft_wrap=True)
