"""The command line: one file a command, no logic of its own."""

import os
import sys

import typer

from ..errors import CommunicationError, FmcompressError, Interrupted, in_one_line

RESUMED = ("prune", "quantize")  # runs that go on where they were interrupted
SHARED = (*RESUMED, "schedule")  # what several processes of torchrun do together

app = typer.Typer(
    name="fmcompress",
    help="Prune and quantize foundation models with native kernels, block by block, also larger than memory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

from . import (  # noqa: E402  each adds its command
    allocate,  # noqa: F401
    barrier,  # noqa: F401
    bench,  # noqa: F401
    caption,  # noqa: F401
    clip,  # noqa: F401
    diff,  # noqa: F401
    distill,  # noqa: F401
    env,  # noqa: F401
    evaluate,  # noqa: F401
    generate,  # noqa: F401
    gradients,  # noqa: F401
    inspect,  # noqa: F401
    lm_eval,  # noqa: F401
    merge,  # noqa: F401
    omnivl,  # noqa: F401
    patch,  # noqa: F401
    prune,  # noqa: F401
    quantize,  # noqa: F401
    reason,  # noqa: F401
    recover,  # noqa: F401
    report,  # noqa: F401
    schedule,  # noqa: F401
    soup,  # noqa: F401
    spipe,  # noqa: F401
    theory,  # noqa: F401
    unpack,  # noqa: F401
)


def _version(wanted: bool) -> None:
    if wanted:
        from .. import __version__

        print(f"fmcompress {__version__}")
        raise typer.Exit


@app.callback()
def options(
    context: typer.Context,
    debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error."),
    version: bool = typer.Option(False, "--version", is_eager=True, callback=_version, help="Print the version."),
) -> None:
    """Prune and quantize foundation models with native kernels, block by block, also larger than memory."""
    command = context.invoked_subcommand
    if int(os.environ.get("WORLD_SIZE", "1")) > 1 and command not in SHARED:
        if int(os.environ.get("RANK", "0")):
            raise typer.Exit
        sys.stderr.write(f"{command} runs in one process: the others that torchrun started have nothing to do\n")


def main() -> None:
    """Run the command line: exit code 2 for bad input, 1 for a failed run, 130 when interrupted."""
    debug = "--debug" in sys.argv
    if debug:  # wherever it stands, as people add it to the end of a line that failed
        sys.argv = [sys.argv[0], "--debug", *(arg for arg in sys.argv[1:] if arg != "--debug")]
    try:
        app()
    except Interrupted as error:
        _fail(error, 130, debug)
    except FmcompressError as error:
        _fail(error, 1 if isinstance(error, CommunicationError) else 2, debug)
    except SystemExit as error:
        if error.code == 130:  # Ctrl-C, which typer turns into this code without a word
            runs = set(RESUMED) & set(sys.argv)
            kept = " Finished blocks are kept: the same command with --resume goes on." if runs else ""
            _fail(error, 130, debug, f"interrupted.{kept}")
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {in_one_line(error, 500)}"
        if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
            text = f"out of memory ({text}). Lower --samples or --sequence-length."
        _fail(error, 1, debug, text)


def _fail(error: BaseException, code: int, debug: bool, text: str | None = None) -> None:
    if debug:
        raise error
    try:
        from rich.text import Text

        from ..report import err, printable
    except Exception:  # Ctrl-C while torch was loading, which cannot be loaded twice
        sys.stderr.write(f"error: {text or error}\n")
        sys.exit(code)
    err.print(Text(f"error: {printable(text or str(error))}", style="red"), soft_wrap=True)
    sys.exit(code)
