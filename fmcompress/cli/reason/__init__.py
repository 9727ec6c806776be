"""fmcompress reason: one file a command. Without one it answers a question."""

import typer

from .. import app

reason_app = typer.Typer(help="Answer a question about statements, by steps that show what they were drawn from.")
app.add_typer(reason_app, name="reason")

from . import (  # noqa: E402  each adds its command
    ask,  # noqa: F401
    evaluate,  # noqa: F401
)
