"""fmcompress omnivl answer."""

from pathlib import Path
from typing import Annotated

import typer

from .. import arguments as shared
from . import arguments as opt
from . import omnivl_app


@omnivl_app.command()
def answer(
    model: opt.Model,
    media: opt.Media,
    question: Annotated[
        str | None, typer.Option("--question", "-q", help="About each of them; a manifest may have its own.")
    ] = None,
    answers: Annotated[
        str | None, typer.Option(help="What may be answered: a file, .txt one a line or .json, or a list: yes,no.")
    ] = None,
    beams: Annotated[int, typer.Option(help="Of an answer that is written freely; 1 is greedy.")] = 1,
    max_tokens: Annotated[int, typer.Option(help="Of an answer that is written freely.")] = 10,
    out: opt.Out = None,
    batch_size: opt.BatchSize = 16,
    device: shared.Device = "auto",
    dtype: opt.Dtype = "float32",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Answer questions about images and videos; with a manifest of answers, say how often that is right."""
    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...vision_language.omnivl.answering import answer as answered
    from ...vision_language.omnivl.answering import notes_of, right_answers
    from ...vision_language.omnivl.sources import find
    from ..watch import watched

    refuse_existing(force, out, None)
    notes: list[str] = []
    found = find(media, notes.append)
    asked = [question or pair.question for pair in found.pairs] or [question] * len(found.media)
    if None in asked or not all(str(one).strip() for one in asked):
        raise ConfigError("--question: there is none. Give it, or a manifest whose lines have a question.")
    choices = _choices(answers)
    ready = opt.loaded(model, device, dtype, batch_size)
    with watched("answering", quiet or json) as progress:
        given = answered(
            ready, found.media, [str(one) for one in asked], answers=choices, beams=beams,
            max_tokens=max_tokens, progress=progress,
        )  # fmt: skip
    share = None if question else right_answers(given, [pair.answer for pair in found.pairs])
    notes += [*(found.notes if share is not None else []), *notes_of(ready), *ready.notes]
    opt.say(notes, quiet)
    told = [
        {"path": str(one.path), "question": said, "answer": got.text, "scores": list(got.scores)}
        for one, said, got in zip(found.media, asked, given, strict=True)
    ]
    lines = [f"{one['path']}: {one['answer']}" for one in told]
    lines += [] if share is None else [f"right: {100 * share:.1f} % of {len(given)}"]
    opt.tell(lines, {"answers": told, "right": share, "notes": notes}, out, json)


def _choices(given: str | None) -> list[str]:
    """Answers of a file, or of a list with commas."""
    from ...clip.lists import read_names
    from ...errors import ConfigError

    if given is None:
        return []
    if Path(given).suffix in (".txt", ".json"):
        return list(read_names(given))
    choices = [one.strip() for one in given.split(",") if one.strip()]
    if not choices:
        raise ConfigError(f"--answers: expected answers between commas, or a file of them, got {given!r}.")
    return choices
