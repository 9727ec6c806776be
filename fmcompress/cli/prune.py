"""fmcompress prune."""

from pathlib import Path
from typing import Annotated

import typer

from . import app
from . import arguments as opt


@app.command()
def prune(
    model: opt.Model,
    out: opt.Out,
    sparsity: Annotated[float | None, typer.Option(help="Share of weights to prune, e.g. 0.5.")] = None,
    pattern: Annotated[str | None, typer.Option(help="N:M, e.g. 2:4 to keep 2 of every 4.")] = None,
    allocation: Annotated[
        Path | None, typer.Option(help="Sparsities of single layers: what fmcompress allocate wrote.")
    ] = None,
    bits: Annotated[int | None, typer.Option(help="Also quantize what is kept, in the same sweep: 2, 3, 4, 8.")] = None,
    calibration: opt.Calibration = None,
    images: opt.Images = None,
    method: Annotated[
        str | None,
        typer.Option(help="sparsegpt (default), admm (better, slower), wanda, or magnitude (without data)."),
    ] = None,
    quality: Annotated[
        str | None, typer.Option(help="fast, balanced or best: options that fit; what is given beside it wins.")
    ] = None,
    admm_steps: Annotated[int | None, typer.Option(help="Of the search of admm; default 48.")] = None,
    refit: Annotated[
        bool | None, typer.Option("--refit", help="Then fit the kept weights again by least squares.")
    ] = None,
    swap: Annotated[
        bool | None, typer.Option("--swap", help="Refit, exchange pruned for kept weights where it pays, refit.")
    ] = None,
    reconstruct: Annotated[
        int | None, typer.Option(help="Steps that then train the kept weights of each block together, e.g. 100.")
    ] = None,
    masks: Annotated[
        str | None, typer.Option(help="Folder of a pruned form of the model whose zeros to take over.")
    ] = None,
    group_size: opt.GroupSize = None,
    symmetric: opt.Symmetric = None,
    clip_search: opt.ClipSearch = None,
    activation_order: opt.ActivationOrder = None,
    format: opt.Format = None,
    samples: opt.Samples = None,
    sequence_length: opt.SequenceLength = None,
    seed: opt.Seed = None,
    damping: opt.Damping = None,
    block_size: Annotated[int | None, typer.Option(help="Columns whose mask is chosen together; default 128.")] = None,
    mask_scope: Annotated[str | None, typer.Option(help="Who shares a threshold: block (default), row, layer.")] = None,
    true_sequential: opt.TrueSequential = None,
    min_tokens: opt.MinTokens = None,
    few_tokens: opt.FewTokens = None,
    include: opt.Include = None,
    exclude: opt.Exclude = None,
    device: opt.Device = "auto",
    dtype: opt.Dtype = None,
    cuda_graphs: opt.CudaGraphs = None,
    products: opt.Products = None,
    config: opt.ConfigFile = None,
    resume: opt.Resume = False,
    force: opt.Force = False,
    dry_run: opt.DryRun = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Prune the linear layers of a checkpoint, layer by layer, so that its outputs change as little as possible."""
    from functools import partial

    from ..config import PruneConfig
    from ..options import resolve
    from .run import run

    choose = partial(
        resolve,
        PruneConfig, config, method=method, sparsity=sparsity, pattern=pattern, mask_scope=mask_scope, damping=damping,
        block_size=block_size, true_sequential=true_sequential, include=include, exclude=exclude, samples=samples,
        sequence_length=sequence_length, seed=seed, dtype=dtype, bits=bits, group_size=group_size, symmetric=symmetric,
        clip_search=clip_search, activation_order=activation_order, format=format, refit=refit,
        quality=quality, admm_steps=admm_steps, swap=swap, reconstruct=reconstruct, masks=masks,
        min_tokens=min_tokens, few_tokens=few_tokens, cuda_graphs=cuda_graphs, products=products, allocation=allocation,
    )  # fmt: skip
    run(
        model, out, choose, calibration, device, images,
        resume=resume, force=force, dry_run=dry_run, json=json, quiet=quiet,
    )  # fmt: skip
