"""fmcompress report."""

import os
from pathlib import Path
from typing import Annotated

import typer

from . import app


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(metavar="RUN...", help="Folders of runs: OUT, or OUT.partial.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The page to write.")] = Path("report.html"),
    dense: Annotated[Path | None, typer.Option(help="The model before; with --text.")] = None,
    text: Annotated[Path | None, typer.Option(help="Evaluate on this text: .txt or .jsonl, also .gz or .xz.")] = None,
    evaluated: Annotated[
        Path | None, typer.Option("--eval", help="Or what eval --compare --json printed, in a file.")
    ] = None,
    sequence_length: Annotated[int, typer.Option(min=2, help="Tokens in a window of --text.")] = 2048,
    max_windows: Annotated[int | None, typer.Option(min=1, help="Only the first so many windows.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[str, typer.Option(help="To run the models in: auto, float32, bfloat16, float16.")] = "auto",
    json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False,
) -> None:
    """One self-contained HTML page about runs: errors, zeros, time and memory, and perplexity against size."""
    from ..checkpoint import read_error, write_error
    from ..devices import pick_device
    from ..divergence import compare
    from ..errors import ConfigError
    from ..page import is_page, page_of, read_comparison, read_run
    from ..report import Steps, out, print_json

    if (dense is None) != (text is None):
        raise ConfigError("--dense and --text go together: the model before and a text to compare on. Give both.")
    if evaluated is not None and text is not None:
        raise ConfigError("--eval holds results, and --text measures them. Give one of them.")
    if output.is_dir() or not output.parent.is_dir():
        raise ConfigError(f"--output: {output} cannot be written. Give a file in a folder that exists.")
    try:
        if output.exists() and not is_page(output):
            raise ConfigError(f"--output: {output} is there and is no page of fmcompress. Choose another name.")
    except OSError as error:
        raise read_error(output, error) from None
    found = [read_run(folder) for folder in runs]
    comparison = None if evaluated is None else read_comparison(evaluated)
    if text is not None and dense is not None:
        unfinished = [str(run.folder) for run in found if not run.finished]
        if unfinished:
            raise ConfigError(f"{unfinished[0]}: has not finished and cannot be evaluated. Leave --text out.")
        with Steps("evaluating") as steps:
            comparison = compare(
                [dense, *runs], text, sequence_length, pick_device(device), dtype, max_windows,
                lambda done, total: steps.at(done, total, f"block {done}/{total}"),
            )  # fmt: skip
    page = page_of(found, comparison).encode()
    part = output.with_name(f"{output.name}.partial")
    try:
        part.write_bytes(page)
        os.replace(part, output)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise write_error(output, error) from None
    if json:
        print_json({"report": str(output), "runs": [str(run.folder) for run in found], "bytes": len(page)})
        return
    out.print(
        f"{output}: {len(found)} run{'s' * (len(found) > 1)}. Open it in a browser.", soft_wrap=True, markup=False
    )
