"""fmcompress clip describe."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import arguments as shared
from . import arguments as opt
from . import clip_app


@clip_app.command()
def describe(
    images: opt.Images,
    descriptors: Annotated[Path | None, typer.Option(help='JSON: {"class": ["descriptor", ...]}.')] = None,
    language_model: Annotated[
        str | None, typer.Option(help="That is asked for descriptors: FOLDER, http(s)://HOST/v1#MODEL, ANSWERS.jsonl.")
    ] = None,
    classes: opt.Classes = None,
    model: opt.Model = None,
    text: Annotated[
        Path | None, typer.Option(help="Embeddings whose names are the texts, in the place of a model.")
    ] = None,
    cache: opt.Cache = None,
    labels: opt.Labels = None,
    split: opt.Split = None,
    template: Annotated[str, typer.Option(help="Of a text, with {cls} and {clause}.")] = "{cls}, {clause}",
    names_template: Annotated[str, typer.Option(help="Of names alone, with {}.")] = "a photo of a {}.",
    agg: Annotated[str, typer.Option(help="Of a class's descriptors: mean, max or sum.")] = "mean",
    grammar: Annotated[str, typer.Option(help="fixed, or released as in the paper's code.")] = "fixed",
    renormalize: Annotated[bool, typer.Option("--renormalize", help="Class means of length 1.")] = False,
    empty: Annotated[str, typer.Option(help="Classes without descriptors: error, or name.")] = "error",
    control: Annotated[
        list[str] | None, typer.Option(help="waffle, swapped or scrambled; repeat it. waffle by default.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Of each control.")] = 7,
    explain: Annotated[int, typer.Option(min=0, help="Explain so many images.")] = 0,
    top: Annotated[int, typer.Option(min=1, help="Descriptors in an explanation.")] = 5,
    out_descriptors: Annotated[
        Path | None, typer.Option(help="Write the language model's descriptors, class by class; goes on where it was.")
    ] = None,
    out_prompts: Annotated[
        Path | None, typer.Option(help="Write all texts that must be embedded, as .json, and stop.")
    ] = None,
    normalise: opt.Normalise = False,
    plot: shared.Plot = None,
    batch_size: opt.BatchSize = 64,
    device: shared.Device = "auto",
    dtype: opt.Dtype = "float32",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Classify by descriptions of the classes, say why, and hold it against random descriptions."""
    from ...clip.description_run import all_texts, choose_classes, describe_images, explain_images
    from ...clip.descriptions import DescriptionClassifier
    from ...clip.evaluation import rows_of
    from ...clip.files import read_embeddings, read_names
    from ...clip.inputs import Inputs, find_images
    from ...clip.known_texts import KnownTexts
    from ...clip.pictures import plot_groups
    from ...clip_tables import accuracy_table, control_words
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...report import finite, out, print_json, printable

    refuse_existing(force, out_prompts, plot)
    if out_prompts and out_prompts.suffix != ".json":
        raise ConfigError(f"{out_prompts}: expected a name that ends in .json to write texts to.")
    measured: dict[str, Any] = {
        "controls": [*dict.fromkeys(["waffle", *(control or [])])],
        "seeds": seeds,
        "names_template": names_template,
    }
    with opt.embedding(quiet or json) as progress:
        inputs = Inputs(model, cache, device, dtype, batch_size, normalise, progress)
        if out_prompts and images.is_dir():  # there may be no model yet
            of_images, found = find_images(images)[3], None
        else:
            found = rows_of(inputs.images(images, labels), split)[0]
            of_images = found.classes
        wanted = read_names(classes) if classes else None
        given = _descriptors(descriptors, language_model, wanted or of_images, out_descriptors, device)
        chosen, notes = choose_classes(given, of_images, wanted)
        classifier = DescriptionClassifier(chosen, template, agg, grammar, renormalize=renormalize, empty=empty)
        if out_prompts or found is None:
            _write_prompts(out_prompts, all_texts(classifier, **measured), notes, quiet)
            return
        known = None if text is None else KnownTexts(read_embeddings(text, normalise=normalise), text)
        encode: Any = known or (lambda texts: inputs.embedded_texts(texts).vectors)
        identity = known.found.identity if known else inputs.encoder.identity
        result = describe_images(found, classifier, encode, identity=identity, **measured)
        explained = explain_images(found, classifier, result, explain)
    if plot:
        if not result.groups:
            raise ConfigError("--plot: draws accuracies, and there are no labels. Give them with --labels.")
        plot_groups(result.groups, plot, "Accuracy by group: names alone, and descriptions")
    notes += [*result.notes, *inputs.notes]
    opt.say(notes, quiet)
    called = {row: found.names[row] if found.names else str(row) for row in explained}
    if json:
        print_json(finite({
            "images": str(images), "classes": list(classifier.classes), "texts": len(classifier.texts),
            **classifier.options, **classifier.more, "names_template": names_template,
            "report": result.report and result.report.as_dict(),
            "groups": {name: report.as_dict() for name, report in result.groups.items()},
            "predicted": [classifier.classes[number] for number in result.predicted],
            "explanations": [{"image": called[row], **vars(one), "sentence": one.sentence(top)}
                             for row, told in explained.items() for one in told],
            "notes": notes,
        }))  # fmt: skip
        return
    if result.report:
        out.print(accuracy_table(result.groups))
        for line in control_words(result.report):
            out.print(line, soft_wrap=True, markup=False)
    for row, told in explained.items():
        sentences = (f"\n  {printable(one.sentence(top))}" for one in told)
        out.print(printable(called[row]) + "".join(sentences), soft_wrap=True, markup=False)


def _write_prompts(path: Any, texts: list[str], notes: list[str], quiet: bool) -> None:
    from ...files import write_json

    write_json(path, texts)
    how = "Embed them with fmcompress clip embed --template '{}', and give the result as --text"
    opt.say([*notes, f"{path}: {len(texts)} texts. {how}"], quiet)


def _descriptors(path: Path | None, spec: str | None, classes: Any, to: Path | None, device: str) -> Any:
    """Of a file, or of a language model that is asked for the classes."""
    from ...clip.ask_descriptors import ask_for_descriptors
    from ...clip.descriptors import read_descriptors
    from ...errors import ConfigError
    from ...language_model import language_model

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
        opt.say([f"{refused} lines of the language model were no descriptors"])
    return asked.descriptors
