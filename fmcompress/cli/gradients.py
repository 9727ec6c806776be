"""fmcompress gradients."""

from typing import Annotated

import typer

from . import app
from . import arguments as opt

gradients = typer.Typer(help="Compressed gradients for slow networks.", no_args_is_help=True)
app.add_typer(gradients, name="gradients")


@gradients.callback()
def options() -> None:
    """Compressed gradients for slow networks."""


@gradients.command()
def ratio(
    model: Annotated[
        str, typer.Argument(help="Folder of a safetensors checkpoint, or a number of parameters such as 1.3B.")
    ],
    workers: Annotated[int, typer.Option(min=2, help="Workers that train together.")] = 4,
    bandwidth: Annotated[
        list[str] | None, typer.Option(help="Of each worker's link, such as 500M or 10G bits a second; repeat it.")
    ] = None,
    random_fraction: Annotated[float, typer.Option(help="Of the blocks, sampled in a step.")] = 0.1,
    topk_fraction: Annotated[float, typer.Option(help="Of a sampled block, kept.")] = 0.2,
    bits: Annotated[int, typer.Option(help="Of a kept value: 1 to 8, or 32.")] = 4,
    block: Annotated[int, typer.Option(help="Elements of a block: a power of two, 128 to 8192.")] = 4096,
    vs: Annotated[str, typer.Option(help="Dense gradients to compare with: fp16, bf16 or fp32.")] = "fp16",
    json: opt.Json = False,
) -> None:
    """Bytes of a training step, dense and compressed, and what a network takes for them. Nothing is measured."""
    from ..gradients import CocktailConfig
    from ..gradients.traffic import parameters_of, parse_number, traffic
    from ..report import out, print_json, traffic_table

    config = CocktailConfig(random_fraction, topk_fraction, bits, block)
    facts = traffic(parameters_of(model), config, workers, vs=vs)
    speeds = [parse_number(text) for text in bandwidth or ["100M", "500M", "1G", "10G"]]
    times = [(speed, *facts.seconds(speed)) for speed in speeds]
    if json:
        print_json(
            {
                "parameters": facts.parameters,
                "workers": workers,
                "versus": vs,
                "bits_per_parameter": config.bits_per_parameter,
                "dense_bytes": facts.dense_bytes,
                "compressed_bytes": facts.compressed_bytes,
                "ratio": facts.ratio,
                "seconds": [{"bits_per_second": s, "dense": d, "compressed": c} for s, d, c in times],
            }
        )
    else:
        out.print(traffic_table(facts, vs, times))
