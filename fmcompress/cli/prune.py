"""fmcompress prune."""

from pathlib import Path
from typing import Annotated

import typer

from . import app


@app.command()
def prune(
    model: Annotated[Path, typer.Argument(help="Folder of a Hugging Face checkpoint (safetensors).")],
    out: Annotated[Path, typer.Argument(help="Folder to write; appears when all of it was checked.")],
    sparsity: Annotated[float | None, typer.Option(help="Share of weights to prune, e.g. 0.5.")] = None,
    pattern: Annotated[str | None, typer.Option(help="N:M, e.g. 2:4 to keep 2 of every 4.")] = None,
    calibration: Annotated[Path | None, typer.Option(help="Text: .txt or .jsonl, also .gz or .xz.")] = None,
    method: Annotated[str | None, typer.Option(help="sparsegpt (default) or magnitude.")] = None,
    samples: Annotated[
        int | None, typer.Option(help="Calibration sequences; default 32k tokens (CPU), 262k (GPU).")
    ] = None,
    sequence_length: Annotated[int | None, typer.Option(help="Tokens in a sequence; default 2048.")] = None,
    seed: Annotated[int | None, typer.Option(help="Which sequences are drawn; default 0.")] = None,
    damping: Annotated[float | None, typer.Option(help="Share of the mean Hessian diagonal; default 0.01.")] = None,
    block_size: Annotated[int | None, typer.Option(help="Columns whose mask is chosen together; default 128.")] = None,
    mask_scope: Annotated[str | None, typer.Option(help="Who shares a threshold: block (default), row, layer.")] = None,
    true_sequential: Annotated[
        bool | None, typer.Option("--true-sequential", help="Calibrate anew inside a block.")
    ] = None,
    include: Annotated[str | None, typer.Option(help="Only tensors whose name matches this regex.")] = None,
    exclude: Annotated[str | None, typer.Option(help="No tensors whose name matches this regex.")] = None,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, cuda:1, ...")] = "auto",
    dtype: Annotated[str | None, typer.Option(help="To run the model in: auto, float32, bfloat16, float16.")] = None,
    config: Annotated[Path | None, typer.Option(help="YAML file with these options; flags win.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Replace OUT, forget an interrupted run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and stop.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Facts as JSON on standard output.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", help="No progress.")] = False,
) -> None:
    """Prune the linear layers of a checkpoint, layer by layer, so that its outputs change as little as possible."""
    from ..checkpoint import Checkpoint
    from ..config import PruneConfig, pick_device, resolve
    from ..memory import return_freed_memory
    from ..pipeline import prepare, prune_checkpoint
    from ..report import PruneProgress, plan_table, print_json, summary
    from ..report import out as console
    from ..workspace import Workspace

    return_freed_memory()
    options = resolve(
        PruneConfig, config, method=method, sparsity=sparsity, pattern=pattern, mask_scope=mask_scope, damping=damping,
        block_size=block_size, true_sequential=true_sequential, include=include, exclude=exclude, samples=samples,
        sequence_length=sequence_length, seed=seed, dtype=dtype,
    )  # fmt: skip
    if not dry_run:
        Workspace(Checkpoint(model), out, resume=resume, force=force)  # refuse a bad OUT before minutes of reading
    job = prepare(model, options, calibration, pick_device(device))
    if dry_run:
        print_json(job.plan.as_dict()) if json else console.print(plan_table(job.plan))
        return
    with PruneProgress(job.plan.layers, quiet, options.damping) as progress:
        facts = prune_checkpoint(job, out, progress, resume=resume, force=force)
    print_json(facts) if json else console.print(summary(facts), soft_wrap=True, markup=False)
