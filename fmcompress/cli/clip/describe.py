"""fmcompress clip describe."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .. import arguments as opt
from . import clip_app

if TYPE_CHECKING:
    from rich.table import Table

    from ...clip.description_run import DescribedImages


@clip_app.command()
def describe(
    images: Annotated[Path, typer.Argument(help="Embeddings (.npy, .safetensors), or a folder of images.")],
    descriptors: Annotated[Path | None, typer.Option(help='JSON: {"class": ["descriptor", ...]}.')] = None,
    language_model: Annotated[
        str | None, typer.Option(help="That is asked for descriptors: FOLDER, http(s)://HOST/v1#MODEL, ANSWERS.jsonl.")
    ] = None,
    classes: Annotated[Path | None, typer.Option(help="Names of classes; without: the images', or all.")] = None,
    model: Annotated[Path | None, typer.Option(help="Folder of the model that embeds.")] = None,
    text: Annotated[Path | None, typer.Option(help="Instead: embeddings whose names are the texts.")] = None,
    labels: Annotated[Path | None, typer.Option(help="CSV: name, label, group. Without: folders are classes.")] = None,
    template: Annotated[str, typer.Option(help="Of a text, with {cls} and {clause}.")] = "{cls}, {clause}",
    names_template: Annotated[str, typer.Option(help="Of names alone, with {}.")] = "a photo of a {}.",
    agg: Annotated[str, typer.Option(help="Of a class's descriptors: mean, max or sum.")] = "mean",
    grammar: Annotated[str, typer.Option(help="fixed, or released as in the paper's code.")] = "fixed",
    renormalize: Annotated[bool, typer.Option("--renormalize", help="Class means of length 1.")] = False,
    empty: Annotated[str, typer.Option(help="Classes without descriptors: error, or name.")] = "error",
    control: Annotated[list[str], typer.Option(help="waffle, swapped, scrambled; several times.")] = ["waffle"],  # noqa: B006
    seeds: Annotated[int, typer.Option(min=1, help="Of each control.")] = 7,
    explain: Annotated[int, typer.Option(min=0, help="Explain so many images.")] = 0,
    top: Annotated[int, typer.Option(min=1, help="Descriptors in an explanation.")] = 5,
    out_descriptors: Annotated[
        Path | None, typer.Option(help="Write the language model's descriptors, class by class; goes on where it was.")
    ] = None,
    out_prompts: Annotated[Path | None, typer.Option(help="Write all texts that must be embedded, and stop.")] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps embeddings.")] = None,
    normalise: Annotated[bool, typer.Option("--normalise", help="Rows of files to length 1.")] = False,
    plot: Annotated[Path | None, typer.Option(help="Draw the accuracy by group: .png, .svg or .pdf.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that are there.")] = False,
    batch_size: Annotated[int, typer.Option(min=1, help="Images or texts at once.")] = 64,
    device: opt.Device = "auto",
    dtype: Annotated[str, typer.Option(help="To compute in: float32, bfloat16, float16.")] = "float32",
    json: opt.Json = False,
    quiet: opt.Quiet = False,
) -> None:
    """Classify by descriptions of the classes, say why, and hold it against random descriptions."""
    from ...clip.description_run import all_texts, choose_classes, describe_images, explain_images
    from ...clip.descriptions import DescriptionClassifier
    from ...clip.files import read_embeddings, read_names
    from ...clip.inputs import Inputs
    from ...clip.known_texts import KnownTexts
    from ...clip.pictures import plot_groups
    from ...errors import ConfigError
    from ...files import refuse_existing, write_text
    from ...report import Steps, err, finite, out, print_json, printable

    refuse_existing(force, out_prompts, plot)
    with Steps("embedding", quiet) as steps:
        inputs = Inputs(
            model, cache, device, dtype, batch_size, normalise,
            progress=lambda done, total: steps.at(done, total, f"{done}/{total}"),
        )  # fmt: skip
        found = inputs.images(images, labels)
        wanted = read_names(classes) if classes else None
        given = _descriptors(descriptors, language_model, wanted or found.classes, out_descriptors, device)
        chosen, notes = choose_classes(given, found, wanted)
        classifier = DescriptionClassifier(chosen, template, agg, grammar, renormalize=renormalize, empty=empty)
        if out_prompts:
            texts = all_texts(classifier, control, seeds, names_template)
            write_text(out_prompts, "".join(f"{text}\n" for text in texts))
            err.print(f"{out_prompts}: {len(texts)} texts", soft_wrap=True, markup=False)
            return
        if text is not None and model is not None and not images.is_dir():
            raise ConfigError("--model, --text: both say what texts are. Give one of them.")
        known = None if text is None else KnownTexts(read_embeddings(text, normalise=normalise), text)
        encode: Any = known or (lambda texts: inputs.embedded_texts(texts).vectors)
        identity = known.found.identity if known else inputs.encoder.identity
        result = describe_images(
            found, classifier, encode,
            identity=identity, controls=control, seeds=seeds, names_template=names_template,
        )  # fmt: skip
        explained = explain_images(found, classifier, result, explain)
    if plot:
        if not result.groups:
            raise ConfigError("--plot: needs labels. Give them with --labels, or images in one folder for each class.")
        plot_groups(result.groups, plot, "Accuracy by group: names alone, and descriptions")
    for note in (*notes, *result.notes, *inputs.notes):
        err.print(note, soft_wrap=True, markup=False)
    called = {row: found.names[row] if found.names else str(row) for row in explained}
    if json:
        print_json(finite({
            "images": str(images), "classes": list(classifier.classes), "texts": len(classifier.texts),
            **classifier.options, **classifier.more, "names_template": names_template,
            "report": result.report and result.report.as_dict(),
            "groups": {name: report.as_dict() for name, report in result.groups.items()},
            "predicted": [classifier.classes[number] for number in result.predicted],
            "explanations": {called[row]: [{**vars(one), "sentence": one.sentence(top)} for one in told]
                             for row, told in explained.items()},
            "notes": [*notes, *result.notes, *inputs.notes],
        }))  # fmt: skip
        return
    if result.report:
        out.print(_table(result))
    for row, told in explained.items():
        out.print(printable(called[row]), soft_wrap=True, markup=False)
        for one in told:
            out.print(f"  {printable(one.sentence(top))}", soft_wrap=True, markup=False)


def _descriptors(path: Path | None, spec: str | None, classes: Any, to: Path | None, device: str) -> Any:
    """Of a file, or of a language model that is asked for the classes."""
    from ...clip.ask_descriptors import ask_for_descriptors
    from ...clip.descriptors import read_descriptors
    from ...errors import ConfigError
    from ...language_model import language_model
    from ...report import err

    if (path is None) == (spec is None):
        raise ConfigError("--descriptors, --language-model: expected one of them. Give a file, or who writes one.")
    if path is not None:
        if to is not None:
            raise ConfigError("--out-descriptors: goes with --language-model. Leave it out.")
        return read_descriptors(path)
    if not classes:
        raise ConfigError("--language-model: which classes to ask for is unknown. Name them with --classes.")
    if to is not None and not to.parent.is_dir():
        raise ConfigError(f"{to}: there is no folder {to.parent}. Make it first.")
    asked = ask_for_descriptors(language_model(str(spec), device=device), classes, to)
    refused = sum(map(len, asked.refused.values()))
    if refused:
        err.print(f"{refused} lines of the language model were no descriptors", soft_wrap=True, markup=False)
    return asked.descriptors


def _table(result: "DescribedImages") -> "Table":
    from rich.table import Table

    report = result.report
    assert report is not None
    table = Table(box=None, pad_edge=False)
    table.add_column(f"{report.rows} images")
    for title in ("accuracy", "worst group"):
        table.add_column(title, justify="right")
    worst = {name: f"{100 * groups.worst:.1f} %" for name, groups in result.groups.items()}
    table.add_row("names alone", f"{100 * report.names:.1f} %", worst.get("names", "-"))
    table.add_row("descriptors", f"{100 * report.described:.1f} %", worst.get("descriptors", "-"))
    for one in report.controls:
        seeds = len(one.accuracies)
        table.add_row(f"control: {one.kind} ({seeds} seeds)", f"{100 * one.mean:.1f} ± {100 * one.sd:.1f} %", "-")
    return table
