"""fmcompress omnivl classify."""

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from .. import arguments as shared
from . import arguments as opt
from . import omnivl_app


@omnivl_app.command()
def classify(
    model: Annotated[Path, typer.Argument(help="Folder of an OmniVL model, or of what --fine-tune wrote.")],
    media: opt.Media,
    classes: Annotated[
        Path | None, typer.Option(help="Names of the classes: .txt, one a line, or .json; those of a manifest else.")
    ] = None,
    template: Annotated[list[str] | None, typer.Option(help="Prompt with a {} for the class; repeat it.")] = None,
    probe: Annotated[
        bool, typer.Option("--probe", help="Fit a linear classifier on embeddings of split train; measure on test.")
    ] = False,
    fine_tune: Annotated[
        Path | None, typer.Option("--fine-tune", help="Folder to write a classifier to, trained on split train.")
    ] = None,
    epochs: Annotated[int, typer.Option(min=1, help="Of --fine-tune at most; it stops by split val.")] = 20,
    learning_rate: Annotated[float, typer.Option(help="Of --fine-tune.")] = 1e-4,
    seed: Annotated[int, typer.Option(help="Of --probe and --fine-tune.")] = 0,
    out: opt.Out = None,
    batch_size: opt.BatchSize = 16,
    device: shared.Device = "auto",
    dtype: opt.Dtype = "float32",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Name the class of images, or the action in videos; with labels, say how often that is right."""
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...vision_language.omnivl.fine_tuning import FineTuning
    from ...vision_language.omnivl.sources import find
    from ..watch import watched

    refuse_existing(force, out, None)
    if probe and fine_tune:
        raise ConfigError("--probe: trains a classifier, and so does --fine-tune. Leave one of them out.")
    if (probe or fine_tune) and (classes or template):
        raise ConfigError("--classes, --template: the labels of the manifest name what is trained. Leave them out.")
    notes: list[str] = []
    found, facts = find(media, notes.append), dict[str, Any]()
    given = {"device": device, "batch_size": batch_size}
    if fine_tune:
        options = FineTuning(epochs=epochs, learning_rate=learning_rate, batch_size=batch_size, seed=seed)
        facts = _fine_tuned(model, fine_tune, found, options, device, quiet or json)
        model, found = fine_tune, found.some("test")
    done: Any = None
    if found.media:
        with watched("looking", quiet or json) as progress:
            if probe:
                done, found = _probed(opt.loaded(model, device, dtype, batch_size), found, seed, progress)
            else:
                notes += found.notes
                done = _classified(model, found, _names(classes, found), template or (), progress, dtype, given)
    _tell(done, found, facts, notes, out, json, quiet)


def _classified(
    model: Path, found: Any, names: Sequence[str], template: Sequence[str], progress: Any, dtype: str, given: Any
) -> Any:
    """By the classifier in a folder, or by the names of classes."""
    from ...errors import ConfigError
    from ...formats import open_checkpoint
    from ...vision_language.omnivl.classification import zero_shot
    from ...vision_language.omnivl.fine_tuning import VisualClassifier
    from ..watch import quiet_transformers

    quiet_transformers()
    if model.is_dir() and open_checkpoint(model).config.get("model_type") == "omnivl_vision":
        return VisualClassifier(model, dtype=dtype, **given).classify(found.media, progress)
    if not names:
        raise ConfigError("--classes: there are none. Give a list, or a manifest with a label for each.")
    return zero_shot(opt.loaded(model, dtype=dtype, **given), found.media, names, templates=template, progress=progress)


def _names(classes: Path | None, found: Any) -> Sequence[str]:
    from ...clip.lists import read_names
    from ...pairs import class_names

    return class_names(found.pairs) if classes is None else read_names(classes)


def _training(found: Any) -> Any:
    """What a manifest has to learn from: split train, or all without a split. Raises ConfigError without labels."""
    from ...errors import ConfigError
    from ...vision_language.omnivl.sources import Found

    train = found.some("train") if any(pair.split for pair in found.pairs) else Found(found.media, found.pairs)
    if not train.pairs or None in train.labels:
        raise ConfigError("labels: expected a manifest whose lines of split train all have a label.")
    return train


def _probed(model: Any, found: Any, seed: int, progress: Any) -> tuple[Any, Any]:
    from ...errors import ConfigError
    from ...vision_language.omnivl.classification import classify_by_probe, probe

    train, test = _training(found), found.some("test")
    if not test.media:
        raise ConfigError('--probe: expected lines of split "test" to classify, got none. Mark some.')
    head, classes = probe(model, train.media, train.labels, seed=seed, progress=progress)
    return classify_by_probe(model, head, classes, test.media, progress), test


def _fine_tuned(model: Path, out: Path, found: Any, options: Any, device: str, quiet: bool) -> dict[str, Any]:
    from ...report import Steps
    from ...vision_language.omnivl.fine_tuning import fine_tune
    from ..watch import quiet_transformers

    quiet_transformers()
    train, val = _training(found), found.some("val")
    with Steps("fine-tuning", quiet) as steps:
        done = fine_tune(
            model, out, train.media, train.labels, val=(val.media, val.labels) if val.media else None,
            options=options, device=device,
            progress=lambda d, n, loss: steps.at(d, n, f"step {d}/{n} · loss {loss:.4f}"),
        )  # fmt: skip
    accuracy = done.accuracies[done.best_epoch - 1]
    return {"out": str(out), "epoch": done.best_epoch, "epochs": len(done.losses), "validation_accuracy": accuracy}


def _tell(
    done: Any, found: Any, facts: dict[str, Any], notes: list[str], out: Path | None, json: bool, quiet: bool
) -> None:
    opt.say(notes, quiet)
    lines, told, accuracy = [], [], None
    if facts:
        lines = [
            f"{facts['out']}: epoch {facts['epoch']} of {facts['epochs']}, "
            f"{100 * facts['validation_accuracy']:.1f} % of validation right"
        ]
    if done is not None:
        accuracy = done.accuracy(found.labels)
        told = [
            {"path": str(one.path), "class": name, "score": float(scores.max())}
            for one, name, scores in zip(found.media, done.names, done.scores, strict=True)
        ]
        lines += [f"{one['path']}: {one['class']}" for one in told] if accuracy is None or not facts else []
        known = sum(label is not None for label in found.labels)
        lines += [] if accuracy is None else [f"right: {100 * accuracy:.1f} % of {known}"]
    opt.tell(lines, {**facts, "classes": told, "accuracy": accuracy, "notes": notes}, out, json)
