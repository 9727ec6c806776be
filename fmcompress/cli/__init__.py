"""The command line: one file a command, no logic of its own."""

import sys

import typer

from ..errors import FmcompressError

app = typer.Typer(
    name="fmcompress",
    help="Prune foundation models with native SparseGPT, block by block, also larger than memory.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)

from . import env, evaluate, inspect, prune  # noqa: E402, F401  each adds its command to app


@app.callback()
def options(debug: bool = typer.Option(False, "--debug", help="Show the traceback of an error.")) -> None:
    """Prune foundation models with native SparseGPT, block by block, also larger than memory."""


def main() -> None:
    """Run the command line: exit code 2 for bad input, 1 for a failed run, 130 when interrupted."""
    debug = "--debug" in sys.argv
    if debug:  # wherever it stands, as people add it to the end of a line that failed
        sys.argv = [sys.argv[0], "--debug", *(arg for arg in sys.argv[1:] if arg != "--debug")]
    try:
        app()
    except FmcompressError as error:
        _fail(error, 2, debug)
    except SystemExit as error:
        if error.code == 130:  # Ctrl-C, which typer turns into this code without a word
            _fail(error, 130, debug, "interrupted. Finished blocks are kept: the same command with --resume goes on.")
        raise
    except Exception as error:
        text = f"{type(error).__name__}: {' '.join(str(error).split())[:500]}"
        if isinstance(error, MemoryError) or "allocate memory" in text or "out of memory" in text:
            text = (
                f"out of memory ({text}). Lower --samples or --sequence-length; finished blocks are kept for --resume."
            )
        _fail(error, 1, debug, text)


def _fail(error: BaseException, code: int, debug: bool, text: str | None = None) -> None:
    from rich.markup import escape

    from ..report import err

    if debug:
        raise error
    err.print(f"[red]error: {escape(text or str(error))}[/red]", soft_wrap=True)
    sys.exit(code)
