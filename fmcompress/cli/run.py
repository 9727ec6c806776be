"""What prune and quantize do alike, once their options are read."""

from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

from ..config import RunConfig


def run(
    model: Path,
    out: Path,
    choose: Callable[[], RunConfig],
    calibration: Path | None,
    device: str,
    images: Path | None = None,
    *,
    resume: bool,
    force: bool,
    dry_run: bool,
    json: bool,
    quiet: bool,
) -> None:
    """Print the plan, or carry it out under a progress bar and print what came of it; once, whoever torchrun starts."""
    import time

    from ..checkpoint import Checkpoint
    from ..devices import pick_device
    from ..errors import ConfigError
    from ..memory import return_freed_memory
    from ..pipeline import compress_checkpoint, prepare
    from ..ranks import Ranks
    from ..report import RunProgress, err, plan_table, print_json, printable, summary
    from ..report import out as console
    from ..workspace import Workspace

    begin = time.perf_counter()
    return_freed_memory()
    with Ranks.of_environment() as ranks:
        options, target = choose(), ranks.device(pick_device(device))
        speaks, refused = ranks.is_writer, []
        try:
            if ranks.is_writer:  # refuse a bad OUT before minutes of reading
                Workspace(Checkpoint(model), out, resume=resume, force=force)
        except ConfigError as error:
            if not dry_run:
                raise
            refused.append(f"the run itself would be refused: {error}")
        with err.status("reading the model and what calibrates it") if speaks else nullcontext():
            job = prepare(model, options, calibration, target, ranks, images)
        if not dry_run:
            with RunProgress(job.plan.layers, quiet or not speaks, options.damping) as progress:
                facts = compress_checkpoint(job, out, progress, resume=resume, force=force)
    if not speaks:
        return
    if dry_run:
        job.notes += refused
        for note in () if quiet else job.notes:
            err.print(printable(note), soft_wrap=True, markup=False)
        facts = {"out": str(out), **job.plan.as_dict(), "notes": job.notes}
        print_json(facts) if json else console.print(plan_table(job.plan, out))
        return
    facts["seconds"] = time.perf_counter() - begin
    print_json(facts) if json else console.print(summary(facts), soft_wrap=True, markup=False)
