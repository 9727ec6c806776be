"""fmcompress env."""

from typing import Annotated

import typer

from . import app


@app.command()
def env(json: Annotated[bool, typer.Option("--json", help="As JSON on standard output.")] = False) -> None:
    """What is built, what is available, and why something is not."""
    import importlib.metadata
    import platform

    import torch

    from .. import __version__, _backends, _ops
    from ..report import out, print_json

    versions = {"fmcompress": __version__, "python": platform.python_version(), "torch": torch.__version__}
    for package in ("transformers", "triton", "safetensors", "numpy"):
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = "not installed"
    ops = {op: list(_backends.available(op)) for op in _ops.CHECKS}
    if json:
        print_json(
            {"versions": versions, "threads": torch.get_num_threads(), "backends": _backends.explain(), "ops": ops}
        )
        return
    out.print(" · ".join(f"{name} {version}" for name, version in versions.items()), soft_wrap=True)
    for name, sentence in _backends.explain().items():
        out.print(f"{name:10} {sentence}", soft_wrap=True, markup=False)
    for op, names in ops.items():
        out.print(f"{op:16} {', '.join(names)}", soft_wrap=True)
