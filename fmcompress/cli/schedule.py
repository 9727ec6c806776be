"""fmcompress schedule."""

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from . import app
from . import arguments as opt

schedule_app = typer.Typer(help="Which device does which part of training over slow networks.", no_args_is_help=True)
app.add_typer(schedule_app, name="schedule")

NetworkFile = Annotated[
    Path, typer.Argument(help="YAML or JSON file of delays and bandwidths; see docs/scheduling.md.")
]
WorkloadFile = Annotated[Path, typer.Argument(help="YAML or JSON file of stages, replicas and bytes, or of a model.")]
Model = Annotated[
    Literal["paper", "extended"],
    typer.Option(help="What a step costs. paper: exchanges alone. extended: compute, memory and micro-batches, too."),
]
Seed = Annotated[int, typer.Option(min=0, help="Of the search.")]
Budget = Annotated[float, typer.Option(min=0, help="Seconds for the search.")]
Gradients = Annotated[float | None, typer.Option(help="Times fewer bytes of gradients than WORKLOAD says.")]
Activations = Annotated[float | None, typer.Option(help="Times fewer bytes of activations than WORKLOAD says.")]


@schedule_app.callback()
def options(context: typer.Context) -> None:
    """Which device does which part of training over slow networks."""
    if context.invoked_subcommand != "probe" and int(os.environ.get("RANK", "0")):
        raise typer.Exit


@schedule_app.command()
def plan(
    network: NetworkFile,
    workload: WorkloadFile,
    output: Annotated[Path, typer.Option("--output", "-o", help="Plan to write, as JSON.")],
    plot: opt.Plot = None,
    model: Model = "paper",
    seed: Seed = 0,
    budget: Annotated[float | None, typer.Option(min=0, help="Seconds: 5 by default, 60 with --exact.")] = None,
    exact: Annotated[bool, typer.Option("--exact", help="Prove it with OR-tools: at most 16 devices.")] = False,
    gradient_compression: Gradients = None,
    activation_compression: Activations = None,
    force: opt.Replace = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Find who does what, so that a step takes least, and how far from the best it can be."""
    from ..files import refuse_existing, write_json
    from ..scheduling.exact import exact as prove
    from ..scheduling.search import schedule

    refuse_existing(force, output, plot)
    devices, work = _read(network, workload, gradient_compression, activation_compression)
    with _progress(quiet or json) as progress:
        if exact:
            found = prove(devices, work, model, budget_s=60.0 if budget is None else budget)
        else:
            seconds = 5.0 if budget is None else budget
            found = schedule(devices, work, model=model, seed=seed, budget_s=seconds, progress=progress)
    write_json(output, found.as_dict())
    _show(found, devices, plot, json)


@schedule_app.command()
def replan(
    network: NetworkFile,
    before: Annotated[Path, typer.Argument(help="Plan to change.", metavar="PLAN")],
    output: Annotated[Path, typer.Option("--output", "-o", help="Plan to write, as JSON.")],
    without: Annotated[list[str], typer.Option(help="Device that has left, by name or number; repeat it.")],
    plot: opt.Plot = None,
    force: opt.Replace = False,
    json: opt.Json = False,
) -> None:
    """Go on without devices that have left: all others keep their stage, and so their weights."""
    from ..files import refuse_existing, write_json
    from ..report import err
    from ..scheduling.files import read_network, read_plan_for
    from ..scheduling.replan import kept
    from ..scheduling.replan import replan as without_them

    refuse_existing(force, output, plot)
    devices = read_network(network)
    old = read_plan_for(devices, before)
    new = without_them(old, devices, [devices.number(name) for name in without])
    write_json(output, new.as_dict())
    if not json:
        busy = sum(stage >= 0 for stage in new.stage_of)
        err.print(
            f"{kept(old, new)} of {busy} devices keep their stage; {new.workload.replicas} replicas of "
            f"{old.workload.replicas}, {new.cost_s:.4g} s a step instead of {old.cost_s:.4g}",
            soft_wrap=True,
        )
    _show(new, devices, plot, json)


@schedule_app.command()
def compare(
    network: NetworkFile,
    workload: WorkloadFile,
    random: Annotated[int, typer.Option(min=1, help="Plans to draw at random.")] = 10,
    plot: opt.Plot = None,
    model: Model = "paper",
    seed: Seed = 0,
    budget: Budget = 5.0,
    gradient_compression: Gradients = None,
    activation_compression: Activations = None,
    force: opt.Replace = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Set the plan that is found beside random, contiguous and strided ones, and the exact one if possible."""
    from ..files import refuse_existing
    from ..report import finite, out, print_json
    from ..scheduling.comparison import compare as compared
    from ..scheduling.pictures import plot_compare
    from ..scheduling_tables import compare_table

    refuse_existing(force, None, plot)
    devices, work = _read(network, workload, gradient_compression, activation_compression)
    with _progress(quiet or json) as progress:
        found = compared(devices, work, model=model, draws=random, seed=seed, budget_s=budget, progress=progress)
    if plot:
        plot_compare(found.plans, plot)
    if json:
        print_json(finite(found.as_dict()))
    else:
        out.print(compare_table(found))


@schedule_app.command()
def simulate(
    network: NetworkFile,
    plan: Annotated[Path, typer.Argument(help="Plan of fmcompress schedule plan.")],
    plot: opt.Plot = None,
    delays: Annotated[
        Literal["pipelined", "blocking"],
        typer.Option(help="Whether the next message may follow before one has arrived."),
    ] = "pipelined",
    model: Model = "extended",
    force: opt.Replace = False,
    json: opt.Json = False,
) -> None:
    """Play a step of a plan event by event, and set it beside what the formula counts."""
    from ..files import refuse_existing
    from ..report import out, print_json
    from ..scheduling import simulate as play
    from ..scheduling.files import read_network, read_plan_for
    from ..scheduling.pictures import plot_simulation
    from ..scheduling.plan import recosted
    from ..scheduling_tables import simulation_table

    refuse_existing(force, None, plot)
    devices = read_network(network)
    counted = recosted(read_plan_for(devices, plan), devices, model)
    played = play(devices, counted, delays=delays, model=model)
    if plot:
        plot_simulation(played, counted, plot)
    if json:
        print_json({"simulated": played.as_dict(), "counted": counted.as_dict()["cost"], "counted_s": counted.cost_s})
    else:
        out.print(simulation_table(played, counted))


@schedule_app.command()
def probe(
    output: Annotated[Path, typer.Option("--output", "-o", help="Network to write, as JSON.")],
    large_mb: Annotated[float, typer.Option(min=0.001, help="Of the message that bandwidth is measured with.")] = 8.0,
    repeats: Annotated[int, typer.Option(min=1, help="Of each measurement; the fastest counts.")] = 5,
    region: Annotated[str | None, typer.Option(help="Of this rank, else FMCOMPRESS_REGION, else its host.")] = None,
    device: Annotated[str, typer.Option(help="cpu (gloo) or cuda (nccl).")] = "cpu",
    force: opt.Replace = False,
) -> None:
    """Measure delay and bandwidth between the ranks that torchrun started, one on each device."""
    from ..files import refuse_existing, write_json
    from ..report import err
    from ..scheduling.probe import probe_under_torchrun

    refuse_existing(force, output, None)
    network = probe_under_torchrun(large_bytes=int(large_mb * 1e6), repeats=repeats, region=region, device=device)
    if network is not None:
        write_json(output, network.as_dict())
        err.print(f"{output}: {len(network)} devices", soft_wrap=True, markup=False)


def _read(network, workload, gradient_compression, activation_compression):  # type: ignore[no-untyped-def]
    """The network and the workload of files, compressed as the flags say."""
    from dataclasses import replace

    from ..scheduling.files import read_network, read_workload

    work = read_workload(workload)
    if gradient_compression is not None:
        work = replace(work, gradient_compression=gradient_compression)
    if activation_compression is not None:
        work = replace(work, activation_compression=activation_compression)
    return read_network(network), work


def _progress(quiet):  # type: ignore[no-untyped-def]
    from ..scheduling_tables import SearchProgress

    return SearchProgress(quiet or not sys.stderr.isatty())


def _show(plan, network, plot, json) -> None:  # type: ignore[no-untyped-def]
    """The plan on standard output, and in a picture."""
    from ..report import out, print_json
    from ..scheduling.pictures import plot_plan
    from ..scheduling_tables import plan_table, plan_words

    if plot:
        plot_plan(plan, network, plot)
    if json:
        print_json(plan.as_dict())
    else:
        out.print(plan_table(plan))
        out.print(plan_words(plan), soft_wrap=True, markup=False, highlight=False)
