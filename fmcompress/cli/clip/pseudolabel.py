"""fmcompress clip pseudolabel."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .. import arguments as opt
from . import clip_app

Modality = Literal["text", "image", "multimodal", "linear"]
Paradigm = Literal["ssl", "trzsl", "ul"]
Strategy = Literal["fpl", "ifpl", "grip", "labelled"]
Selection = Literal["column_topk", "exclusive_greedy", "released"]
Weighting = Literal["paper", "released"]


@clip_app.command()
def pseudolabel(
    images: Annotated[Path, typer.Argument(help="Folder of images, or their embeddings for a prompt of text.")],
    output: Annotated[Path, typer.Option("--output", "-o", "--out", help="Prompt to write: .safetensors.")],
    modality: Annotated[Modality, typer.Option(help="What the trained vectors belong to.")] = "text",
    paradigm: Annotated[Paradigm, typer.Option(help="Few labels of all classes, many of some, or none.")] = "ul",
    strategy: Annotated[Strategy, typer.Option(help="How images become pseudo-labels.")] = "grip",
    model: Annotated[Path | None, typer.Option(help="Folder of the model: CLIP or SigLIP.")] = None,
    classes: Annotated[Path | None, typer.Option(help="Names of the classes: .txt or .json.")] = None,
    text: Annotated[Path | None, typer.Option(help="Embeddings of the classes, instead of names and templates.")] = None,
    template: Annotated[list[str] | None, typer.Option(help="A prompt with {}, or a file of them; repeat it.")] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV of name, label, split; rows of split test are measured.")] = None,
    shots: Annotated[int | None, typer.Option(min=1, help="ssl: labels a class that are used; else all.")] = None,
    split_seed: Annotated[
        int | None, typer.Option(min=0, help="trzsl: hide the labels of 38 % of the classes; published: 500, 0, 200.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="fpl and ifpl: pseudo-labels a class.")] = 16,
    iterations: Annotated[int, typer.Option(min=1, help="ifpl and grip.")] = 10,
    epochs: Annotated[int, typer.Option(min=1, help="Of each iteration.")] = 150,
    batch_size: Annotated[int, typer.Option(min=1, help="Images in a step.")] = 16,
    lr: Annotated[float | None, typer.Option(help="Highest rate; 0.1 by default, 0.01 for multimodal.")] = None,
    weight_decay: Annotated[float, typer.Option(min=0, help="Of the prompt.")] = 0.1,
    warmup_epochs: Annotated[int, typer.Option(min=0, help="Over which the rate rises from 0.")] = 5,
    vectors: Annotated[int | None, typer.Option(min=1, help="In a tower; 16, or 4 for multimodal.")] = None,
    select: Annotated[Selection, typer.Option(help="Which images stand for a class.")] = "column_topk",
    weighting: Annotated[Weighting, typer.Option(help="How labels and pseudo-labels are weighed.")] = "paper",
    reinit: Annotated[bool, typer.Option("--reinit/--continue", help="Each iteration anew, or from the last.")] = True,
    validation: Annotated[float, typer.Option(min=0, max=1, help="Share of pseudo-labels held out.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the prompt, the order of images, and shots.")] = 0,
    text_output: Annotated[Path | None, typer.Option(help="Embeddings of the tuned classes: text, linear.")] = None,
    predictions: Annotated[Path | None, typer.Option(help="CSV of every image's class: name, label, probability.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Curve over the iterations: .png, .svg or .pdf.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder of embeddings that are kept.")] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="Rows of embeddings files to length 1.")] = False,
    device: opt.Device = "auto",
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Tune a prompt on images without labels, by the model's own pseudo-labels: FPL, IFPL or GRIP."""
    from ...clip.pseudolabel_config import PseudolabelConfig
    from ...clip.pseudolabel_run import Files, Source, run
    from ...report import err, out, print_json, pseudolabel_table

    config = PseudolabelConfig(
        paradigm, strategy, k, iterations, epochs, batch_size, lr, weight_decay, warmup_epochs, select, weighting,
        reinit, validation, seed,
    )  # fmt: skip
    source = Source(
        images, modality, model, classes, text, tuple(template or ()), labels, shots, split_seed, vectors, cache,
        normalise, device,
    )  # fmt: skip
    with err.status("reading", refresh_per_second=4) if not (quiet or json) else _Silent() as status:
        tuned, facts = run(source, config, Files(output, text_output, predictions, plot, force), status.update)
    if json:
        print_json(facts)
    else:
        out.print(pseudolabel_table(tuned))
