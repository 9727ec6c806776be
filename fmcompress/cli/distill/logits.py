"""fmcompress distill logits."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import arguments as shared
from . import distill_app


@distill_app.command()
def logits(
    teacher: Annotated[Path, typer.Argument(help="Folder of a causal language model; may be larger than the memory.")],
    text: Annotated[Path, typer.Argument(help="Text: .txt or .jsonl, also .gz or .xz.")],
    out: Annotated[Path, typer.Argument(help="File to write, .safetensors; appears when all of it is there.")],
    top_k: Annotated[int, typer.Option(min=1, help="Likeliest tokens kept of each next one.")] = 64,
    sequence_length: Annotated[int, typer.Option(min=2, help="Tokens in a window.")] = 512,
    max_windows: Annotated[int | None, typer.Option(min=1, help="Only the first so many windows.")] = None,
    bits: Annotated[int, typer.Option(help="Of a log-probability: 8, or 4.")] = 8,
    temperature: Annotated[float, typer.Option(help="Of the logits; a student learns at the same one.")] = 1.0,
    device: shared.Device = "auto",
    dtype: shared.RunDtype = "auto",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Write the likeliest next tokens of a teacher over a text, in few bits, for recover --logits."""
    import math

    from ...distillation.teacher_logits import write_teacher_logits
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...report import Steps, print_json
    from ...report import out as console
    from ..watch import quiet_transformers

    refuse_existing(force, out, None)
    if not (temperature > 0 and math.isfinite(temperature)):
        raise ConfigError(f"--temperature: expected more than 0, got {temperature}.")
    quiet_transformers()
    with Steps("running the teacher", quiet) as steps:
        facts = write_teacher_logits(
            teacher, text, out, k=top_k, sequence_length=sequence_length, max_windows=max_windows, bits=bits,
            temperature=temperature, device=device, dtype=dtype,
            progress=lambda done, total: steps.at(done, total, f"block {done}/{total}"),
        )  # fmt: skip
    print_json(facts) if json else console.print(_summary(facts), soft_wrap=True, markup=False)


def _summary(facts: dict[str, Any]) -> str:
    """A line on what was written."""
    from ...report import human_bytes, printable

    dense = facts["dense_bytes_per_token"] / facts["bytes_per_token"]
    return printable(
        f"{facts['out']}: {facts['tokens']:,} tokens in {facts['windows']} windows of {facts['length']} · the "
        f"{facts['k']} likeliest of {facts['vocabulary']:,} hold {100 * facts['kept']:.2f} % · "
        f"{facts['bytes_per_token']} bytes a token, {human_bytes(facts['bytes'])}, 1/{dense:.1f} of all in float16 · "
        f"KL of the coding {facts['kl_mean']:.2g} nats a token"
    )
