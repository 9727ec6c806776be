"""fmcompress quantize."""

from typing import Annotated

import typer

from . import app
from . import arguments as opt


@app.command()
def quantize(
    model: opt.Model,
    out: opt.Out,
    bits: Annotated[int | None, typer.Option(help="2, 3, 4 (default) or 8.")] = None,
    calibration: opt.Calibration = None,
    images: opt.Images = None,
    method: Annotated[str | None, typer.Option(help="gptq (default) or rtn, which needs no data.")] = None,
    group_size: opt.GroupSize = None,
    symmetric: opt.Symmetric = None,
    clip_search: opt.ClipSearch = None,
    activation_order: opt.ActivationOrder = None,
    keep_zeros: opt.KeepZeros = None,
    format: opt.Format = None,
    samples: opt.Samples = None,
    sequence_length: opt.SequenceLength = None,
    seed: opt.Seed = None,
    damping: opt.Damping = None,
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
    """Quantize the linear layers of a checkpoint to 2, 3, 4 or 8 bits a weight, by GPTQ or by rounding."""
    from functools import partial

    from ..config import QuantizeConfig
    from ..options import resolve
    from .run import run

    choose = partial(
        resolve,
        QuantizeConfig, config, method=method, damping=damping, true_sequential=true_sequential, include=include,
        exclude=exclude, samples=samples, sequence_length=sequence_length, seed=seed, dtype=dtype, bits=bits,
        group_size=group_size, symmetric=symmetric, clip_search=clip_search, activation_order=activation_order,
        format=format, keep_zeros=keep_zeros,
        min_tokens=min_tokens, few_tokens=few_tokens, cuda_graphs=cuda_graphs, products=products,
    )  # fmt: skip
    run(
        model, out, choose, calibration, device, images,
        resume=resume, force=force, dry_run=dry_run, json=json, quiet=quiet,
    )  # fmt: skip
