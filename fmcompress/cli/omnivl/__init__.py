"""fmcompress omnivl: one file a command."""

import typer

from .. import app

omnivl_app = typer.Typer(help="OmniVL: one model of images, videos and texts. Train and use it.", no_args_is_help=True)
app.add_typer(omnivl_app, name="omnivl")

from . import (  # noqa: E402  each adds its command
    answer,  # noqa: F401
    caption,  # noqa: F401
    classify,  # noqa: F401
    retrieve,  # noqa: F401
    train,  # noqa: F401
)
