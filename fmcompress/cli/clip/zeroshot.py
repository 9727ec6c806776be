"""fmcompress clip zeroshot."""

from typing import Annotated

import typer

from .. import arguments as shared
from . import arguments as opt
from . import clip_app


@clip_app.command()
def zeroshot(
    images: opt.Images,
    text: opt.Text = None,
    classes: opt.Classes = None,
    template: opt.Template = None,
    model: opt.Model = None,
    cache: opt.Cache = None,
    labels: opt.Labels = None,
    train_labels: opt.TrainLabels = None,
    split: opt.Split = None,
    top_k: Annotated[int, typer.Option(min=1, help="Classes to name for each image.")] = 1,
    normalise: opt.Normalise = False,
    out: opt.Out = None,
    plot: shared.Plot = None,
    batch_size: opt.BatchSize = 64,
    device: shared.Device = "auto",
    dtype: opt.Dtype = "float32",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Name the class of each image by its nearest text; with labels, how often that is right, by group."""
    from ...clip.evaluation import zero_shot_evaluation
    from ...clip.inputs import Inputs, read_template_options
    from ...clip.pictures import plot_groups
    from ...clip.predictions import write_predictions
    from ...clip_tables import accuracy_table, groups_table, zero_shot_words
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...report import out as console
    from ...report import print_json

    refuse_existing(force, out, plot)
    if template and text:
        raise ConfigError("--template: is for --classes, which are embedded. Leave it out beside --text.")
    with opt.embedding(quiet or json) as progress:
        inputs = Inputs(model, cache, device, dtype, batch_size, normalise, progress)
        of_classes = inputs.text(text, classes, template or ())
        of_images = inputs.images(images, labels)
    found = zero_shot_evaluation(of_images, of_classes, split=split, k=top_k, train_labels=train_labels)
    if plot and found.report is None:
        raise ConfigError("--plot: draws accuracies, and there are no labels. Give them with --labels.")
    if out:
        write_predictions(out, found.predictions)
    if plot and found.report:
        plot_groups({"zero-shot": found.report}, plot)
    opt.say([*inputs.notes, *found.notes], quiet)
    prompts = None if text else read_template_options(template or ())
    if json:
        print_json({**found.as_dict(), "templates": prompts if isinstance(prompts, list) else None})
        return
    if found.report:
        console.print(accuracy_table({"zero-shot": found.report}))
        console.print(groups_table({"zero-shot": found.report}))
    console.print(zero_shot_words(found, prompts), soft_wrap=True, markup=False)
