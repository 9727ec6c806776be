"""fmcompress omnivl train."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from .. import arguments as shared
from . import omnivl_app


@omnivl_app.command()
def train(
    pairs: Annotated[
        Path,
        typer.Argument(
            help='Manifest, .jsonl: {"image" or "video": path, "text", "label", or "question" and "answer"}.'
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder of the model to write; appears when all is done.")],
    size: Annotated[
        Literal["tiny", "small", "base"] | None,
        typer.Option(help="Of a new model; base is ViT-B/16 and BERT-base. tiny by default."),
    ] = None,
    vision_init: Annotated[Path | None, typer.Option(help="Folder of a ViT to begin with.")] = None,
    text_init: Annotated[Path | None, typer.Option(help="Folder of a BERT to begin with, and its tokenizer.")] = None,
    start: Annotated[Path | None, typer.Option("--from", help="Folder of an OmniVL model to go on with.")] = None,
    image_steps: Annotated[int | None, typer.Option(help="Of images alone, first; 1000, or 0 without images.")] = None,
    joint_steps: Annotated[int | None, typer.Option(help="Of images and videos; 1000, or 0 without videos.")] = None,
    video_share: Annotated[float | None, typer.Option(help="Of the batches of joint steps; default 0.5.")] = None,
    frames: Annotated[int | None, typer.Option(help="Of each video, evenly spaced; 8 for a new model.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Images or videos in a step; default 64.")] = None,
    learning_rate: Annotated[
        float | None, typer.Option(help="The highest; 1e-3 for tiny, 5e-4 for small, 1e-4 for base.")
    ] = None,
    contrast: Annotated[
        Literal["univlc", "plain"] | None, typer.Option(help="univlc (default) knows labels; plain does not.")
    ] = None,
    momentum: Annotated[
        float | None,
        typer.Option(
            help="Of the second model that embeddings are compared to; 0.995 for base or with a bank, else 0: none."
        ),
    ] = None,
    bank: Annotated[
        int | None, typer.Option(help="Embeddings kept of steps before; 1024 with a second model, 0 without one.")
    ] = None,
    decoder_rows: Annotated[
        int | None, typer.Option(help="Items of a step that decoders learn from, to save time; all by default.")
    ] = None,
    seed: Annotated[int | None, typer.Option(help="Of a new model and of the order; default 0.")] = None,
    save_every: Annotated[int | None, typer.Option(help="Steps between checkpoints; default 200.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Losses as a picture, drawn anew at each checkpoint: .png.")] = None,
    config: shared.ConfigFile = None,
    device: shared.Device = "auto",
    resume: shared.Resume = False,
    force: shared.Force = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Train OmniVL on images, videos and what is said of them: images first, then both."""
    from ...drawing import require_picture
    from ...options import resolve
    from ...report import out as console
    from ...report import print_json
    from ...vision_language.omnivl.options import TrainOptions
    from ...vision_language.omnivl.run import run_training
    from ..watch import TrainingProgress, quiet_transformers
    from .watch import summary, told_of

    if plot:
        require_picture(plot)  # before hours of work
    options = resolve(
        TrainOptions, config, size=size, vision_init=_name(vision_init), text_init=_name(text_init),
        image_steps=image_steps, joint_steps=joint_steps, video_share=video_share, frames=frames,
        batch_size=batch_size, learning_rate=learning_rate, contrast=contrast, momentum=momentum, bank=bank, seed=seed,
        decoder_rows=decoder_rows, save_every=save_every, **{"from": _name(start)},
    )  # fmt: skip
    quiet_transformers()
    with TrainingProgress(quiet, told_of) as progress:
        facts = run_training(pairs, out, options, progress, device=device, plot=plot, resume=resume, force=force)
    print_json(facts) if json else console.print(summary(facts), soft_wrap=True, markup=False)


def _name(path: Path | None) -> str | None:
    return None if path is None else str(path)
