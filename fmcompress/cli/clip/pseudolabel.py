"""fmcompress clip pseudolabel."""

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from .. import arguments as shared
from . import arguments as opt
from . import clip_app

Modality = Literal["text", "image", "multimodal", "linear"]
Paradigm = Literal["ssl", "trzsl", "ul"]
Strategy = Literal["fpl", "ifpl", "grip", "labelled"]
Selection = Literal["column_topk", "exclusive_greedy", "released"]
Weighting = Literal["paper", "released"]


@clip_app.command()
def pseudolabel(
    images: opt.Images,
    prompt: Annotated[Path, typer.Option("--output", "-o", "--out", help="Prompt to write: .safetensors.")],
    modality: Annotated[
        Modality, typer.Option(help="What the trained vectors belong to; linear needs no model.")
    ] = "text",
    paradigm: Annotated[Paradigm, typer.Option(help="Few labels of all classes, many of some, or none.")] = "ul",
    strategy: Annotated[
        Strategy, typer.Option(help="How images become pseudo-labels; labelled: without any.")
    ] = "grip",
    text: opt.Text = None,
    classes: opt.Classes = None,
    template: opt.Template = None,
    model: opt.Model = None,
    cache: opt.Cache = None,
    labels: opt.Labels = None,
    shots: Annotated[int | None, typer.Option(min=1, help="ssl: labels a class that are used; all by default.")] = None,
    split_seed: Annotated[
        int | None, typer.Option(min=0, help="trzsl: hide the labels of 38 % of the classes; published: 500, 0, 200.")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="fpl and ifpl: pseudo-labels a class.")] = 16,
    iterations: Annotated[int, typer.Option(min=1, help="Of ifpl and grip.")] = 10,
    epochs: Annotated[int, typer.Option(min=1, help="Of each iteration.")] = 150,
    step_images: Annotated[int, typer.Option(min=1, help="Images in a step of training.")] = 16,
    lr: Annotated[float | None, typer.Option(help="Highest rate; 0.1 by default, 0.01 for multimodal.")] = None,
    weight_decay: Annotated[float, typer.Option(min=0, help="Of the prompt.")] = 0.1,
    warmup_epochs: Annotated[
        int | None, typer.Option(min=0, help="Over which the rate rises from 0; 5, or all but one of fewer epochs.")
    ] = None,
    vectors: Annotated[int | None, typer.Option(min=1, help="In a tower; 16, or 4 for multimodal.")] = None,
    select: Annotated[Selection, typer.Option(help="Which images stand for a class.")] = "column_topk",
    weighting: Annotated[Weighting, typer.Option(help="How labels and pseudo-labels are weighed.")] = "paper",
    reinit: Annotated[bool, typer.Option("--reinit/--continue", help="Each iteration anew, or from the last.")] = True,
    validation: Annotated[float, typer.Option(min=0, help="Share of pseudo-labels to hold out, below 1.")] = 0.0,
    seed: Annotated[int, typer.Option(min=0, help="Of the prompt, the order of images, and shots.")] = 0,
    normalise: opt.Normalise = False,
    text_output: Annotated[
        Path | None, typer.Option(help="Embeddings of the tuned classes for zeroshot: of text and linear prompts.")
    ] = None,
    predictions: Annotated[Path | None, typer.Option(help="Every image's class, as CSV.")] = None,
    plot: Annotated[Path | None, typer.Option(help="Curve over the iterations: .png, .svg or .pdf.")] = None,
    batch_size: opt.BatchSize = 64,
    device: shared.Device = "auto",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Tune a prompt on images without labels, by the model's own pseudo-labels: FPL, IFPL or GRIP."""
    from ...clip.files import write_embeddings
    from ...clip.inputs import Inputs
    from ...clip.pictures_pseudolabels import plot_pseudolabels
    from ...clip.predictions import write_predictions
    from ...clip.prompt_files import save_prompt
    from ...clip.pseudolabel_config import PseudolabelConfig
    from ...clip.pseudolabel_run import tune
    from ...clip_tables import pseudolabel_table
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...report import Steps, out, print_json

    for path in (prompt, text_output):
        if path and path.suffix != ".safetensors":
            raise ConfigError(f"{path}: expected a name that ends in .safetensors.")
    if text_output and modality in ("image", "multimodal"):
        raise ConfigError(f"--text-output: a prompt of {modality} changes images, too. Leave it out.")
    written = [path for path in (prompt, text_output, predictions) if path]
    if len(set(written)) < len(written):
        raise ConfigError("outputs: two are one file. Give each a name of its own.")
    for path in written:
        refuse_existing(force, path, plot)
    warmup_epochs = min(5, epochs - 1) if warmup_epochs is None else warmup_epochs
    config = PseudolabelConfig(
        paradigm, strategy, k, iterations, epochs, step_images, lr, weight_decay, warmup_epochs, select, weighting,
        reinit, validation, seed,
    )  # fmt: skip
    with opt.embedding(quiet or json) as progress:
        inputs = Inputs(model, cache, device, "float32", batch_size, normalise, progress)
        of_classes = inputs.text(text, classes, template or ())
    with Steps("tuning", quiet or json) as steps:

        def told(number: int, count: int, epoch: int, loss: float) -> None:
            steps.at(number * epochs + epoch + 1, count * epochs, f"iteration {number + 1} of {count}, loss {loss:.3f}")

        def read(done: int, total: int) -> None:
            steps.at(done, total, f"reading images: {done} of {total}")

        inputs.progress = read
        found = tune(
            inputs, images, of_classes, modality, config, labels=labels, shots=shots, split_seed=split_seed,
            vectors=vectors, observer=told, progress=read,
        )  # fmt: skip
    facts: dict[str, Any] = found.as_dict()
    save_prompt(prompt, found.tuned.model, found.tuned.classes, found.images.identity)
    if text_output:
        write_embeddings(text_output, found.text_embeddings())
    if predictions:
        write_predictions(predictions, found.predictions())
    if plot:
        plot_pseudolabels(found.tuned, plot)
    opt.say([*inputs.notes, *found.tuned.notes], quiet)
    if json:
        print_json(facts)
    else:
        out.print(pseudolabel_table(found.tuned))
