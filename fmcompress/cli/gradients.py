"""fmcompress gradients."""

from typing import Annotated

import typer

from . import app
from . import arguments as opt

gradients = typer.Typer(help="Compressed gradients for slow networks.", no_args_is_help=True)
app.add_typer(gradients, name="gradients")


Workers = Annotated[int, typer.Option(min=2, help="Workers that train together.")]
RandomFraction = Annotated[float, typer.Option(help="Of the blocks, sampled in a step.")]
TopkFraction = Annotated[float, typer.Option(help="Of a sampled block, kept.")]
Bits = Annotated[int, typer.Option(help="Of a kept value: 1 to 8, or 32.")]
Block = Annotated[int, typer.Option(help="Elements of a block: a power of two, 128 to 8192.")]
Versus = Annotated[str, typer.Option(help="Dense gradients to compare with: fp16, bf16 or fp32.")]


@gradients.callback()
def options() -> None:
    """Compressed gradients for slow networks."""


@gradients.command()
def ratio(
    model: Annotated[
        str, typer.Argument(help="Folder of a safetensors checkpoint, or a number of parameters such as 1.3B.")
    ],
    workers: Workers = 4,
    bandwidth: Annotated[
        list[str] | None, typer.Option(help="Of each worker's link, such as 500M or 10G bits a second; repeat it.")
    ] = None,
    random_fraction: RandomFraction = 0.1,
    topk_fraction: TopkFraction = 0.2,
    bits: Bits = 4,
    block: Block = 4096,
    vs: Versus = "fp16",
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


@gradients.command()
def bench(
    numel: Annotated[
        str, typer.Option(help="Elements to run the ops on, such as 25M; 20 bytes of memory each.")
    ] = "25M",
    model: Annotated[
        str | None, typer.Option(help="As for ratio, to tell what its step costs; as large as --numel by default.")
    ] = None,
    workers: Workers = 4,
    random_fraction: RandomFraction = 0.1,
    topk_fraction: TopkFraction = 0.2,
    bits: Bits = 4,
    block: Block = 4096,
    vs: Versus = "fp16",
    threads: Annotated[int | None, typer.Option(help="Of PyTorch; as many as it takes by default.")] = None,
    runs: Annotated[int, typer.Option(help="Of each op, in turn, after one to warm up.")] = 15,
    device: opt.Device = "cpu",
    json: opt.Json = False,
) -> None:
    """Time of CocktailSGD's ops on this machine beside a copy, and the links on which they pay. Keep it idle."""
    from .._backends import explain
    from ..devices import pick_device
    from ..gradients import CocktailConfig
    from ..gradients.op_speeds import STEPS, measure_ops
    from ..gradients.traffic import parameters_of, parse_number, traffic
    from ..report import break_even_table, err, op_speed_table, out, print_json

    config, elements = CocktailConfig(random_fraction, topk_fraction, bits, block), int(parse_number(numel))
    place = pick_device(device)
    facts = traffic([elements] if model is None else parameters_of(model), config, workers, vs=vs)
    with err.status("measuring") as status:
        speeds = measure_ops(
            elements, config, workers, runs=runs, threads=threads, device=place,
            progress=lambda done, total: status.update(f"measuring: round {done}/{total}"),
        )  # fmt: skip
    costs = {name: speeds.step(name, facts.parameters) for name in STEPS}
    steps = [(name, seconds, facts.break_even(seconds)) for name, seconds in costs.items()]
    if json:
        print_json(
            {
                "numel": elements,
                "device": str(place),
                "threads": speeds.threads,
                "native": explain()["native"],
                "ops": {
                    name: {
                        "seconds": seconds,
                        "bytes": speeds.moved[name],
                        "bytes_per_second": speeds.rate(name),
                        "share_of_copy": speeds.share(name),
                    }
                    for name, seconds in speeds.seconds.items()
                },
                "parameters": facts.parameters,
                "workers": workers,
                "versus": vs,
                "dense_bytes": facts.dense_bytes,
                "compressed_bytes": facts.compressed_bytes,
                "steps": {name: {"seconds": s, "break_even_bits_per_second": speed} for name, s, speed in steps},
            }
        )
    else:
        where = (
            f"{speeds.threads} threads, native kernels: {explain()['native']}" if place.type == "cpu" else str(place)
        )
        out.print(f"{elements:,} float32 elements on {where}", soft_wrap=True, markup=False)
        out.print(op_speed_table(speeds))
        out.print()
        out.print(break_even_table(facts, vs, steps))
