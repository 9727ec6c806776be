"""fmcompress bench."""

from pathlib import Path
from typing import Annotated

import typer

from . import app
from . import arguments as opt

bench = typer.Typer(help="Measure on this machine.", no_args_is_help=True)
app.add_typer(bench, name="bench")


@bench.callback()
def options() -> None:
    """Measure on this machine."""


@bench.command()
def decode(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a dense, packed or compressed-tensors checkpoint.")],
    tokens: Annotated[int, typer.Option(min=2, help="Tokens to decode in each run.")] = 32,
    prompt_length: Annotated[int, typer.Option(min=1, help="Tokens before them.")] = 32,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each model, in turn, after one to warm up.")] = 5,
    dtype: Annotated[str, typer.Option(help="Of the dense twins: both, or as for generate.")] = "both",
    device: opt.Device = "auto",
    json: opt.Json = False,
) -> None:
    """Tokens a second and bytes read for each, of a checkpoint beside its dense twin, in one run."""
    from dataclasses import asdict

    from ..report import decode_table, err, out, print_json
    from ..runtime.comparison import compare_decoding

    with err.status("loading") as status:
        speeds, rate = compare_decoding(
            checkpoint, tokens, prompt_length, runs, dtype, device,
            lambda done, total: status.update(f"decoding: run {done}/{total}"),
        )  # fmt: skip
    if json:
        rows = [{**asdict(speed), "bytes_per_second": speed.bytes_per_second} for speed in speeds]
        print_json({"checkpoint": str(checkpoint), "copy_bytes_per_second": rate, "models": rows})
    else:
        out.print(decode_table(speeds, rate))
        for by in dict.fromkeys(speed.by for speed in speeds if speed.by != "transformers"):
            err.print(f"decoded by {by}", soft_wrap=True, markup=False)
