"""fmcompress clip: one file a command."""

import typer

from .. import app

clip_app = typer.Typer(help="Zero-shot models of images and text: measure, improve, make robust.", no_args_is_help=True)
app.add_typer(clip_app, name="clip")

from . import (  # noqa: E402  each adds its command
    adapter,  # noqa: F401
    compare,  # noqa: F401
    describe,  # noqa: F401
    embed,  # noqa: F401
    groups,  # noqa: F401
    pseudolabel,  # noqa: F401
    roboshot,  # noqa: F401
    zeroshot,  # noqa: F401
)
