"""fmcompress omnivl caption."""

from typing import Annotated

import typer

from .. import arguments as shared
from . import arguments as opt
from . import omnivl_app


@omnivl_app.command()
def caption(
    model: opt.Model,
    media: opt.Media,
    prompt: Annotated[str, typer.Option(help="What each caption begins with.")] = "",
    beams: Annotated[int, typer.Option(help="Texts that are followed at once; 1 is greedy.")] = 1,
    temperature: Annotated[float, typer.Option(help="Above 0: draw tokens instead of taking the likeliest.")] = 0.0,
    top_p: Annotated[float, typer.Option(help="Draw from the likeliest tokens of so much mass together.")] = 0.9,
    seed: Annotated[int, typer.Option(help="Of what is drawn.")] = 0,
    max_tokens: Annotated[int, typer.Option(help="Of a caption.")] = 30,
    out: opt.Out = None,
    batch_size: opt.BatchSize = 16,
    device: shared.Device = "auto",
    dtype: opt.Dtype = "float32",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Say what is seen in images and videos."""
    from ...files import refuse_existing
    from ...vision_language.omnivl.captioning import write_captions
    from ...vision_language.omnivl.sources import find
    from ..watch import watched

    refuse_existing(force, out, None)
    notes: list[str] = []
    found = find(media, notes.append)
    ready = opt.loaded(model, device, dtype, batch_size)
    with watched("describing", quiet or json) as progress:
        captions = write_captions(
            ready, found.media, prompt=prompt, beams=beams, temperature=temperature, top_p=top_p, seed=seed,
            max_tokens=max_tokens, progress=progress,
        )  # fmt: skip
    notes += ready.notes
    opt.say(notes, quiet)
    told = [
        {"path": str(one.path), "video": one.video, "caption": text}
        for one, text in zip(found.media, captions, strict=True)
    ]
    lines = [f"{one.path}: {text}" for one, text in zip(found.media, captions, strict=True)]
    opt.tell(lines, {"captions": told, "notes": notes}, out, json)
