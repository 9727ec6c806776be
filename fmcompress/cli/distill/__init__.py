"""fmcompress distill: one file a command."""

import typer

from .. import app

distill_app = typer.Typer(
    help="Distilling step-by-step: a small student learns a teacher's answers and its reasons.", no_args_is_help=True
)
app.add_typer(distill_app, name="distill")

from . import (  # noqa: E402  each adds its command
    evaluate,  # noqa: F401
    logits,  # noqa: F401
    rationales,  # noqa: F401
    train,  # noqa: F401
)
