"""fmcompress omnivl retrieve."""

from pathlib import Path
from typing import Annotated, Any

import typer

from .. import arguments as shared
from . import arguments as opt
from . import omnivl_app


@omnivl_app.command()
def retrieve(
    model: opt.Model,
    media: opt.Media,
    query: Annotated[
        list[str] | None, typer.Option("--query", "-q", help="Text to find the best by; repeat it.")
    ] = None,
    top: Annotated[int, typer.Option(min=1, help="Images and videos to name for each query.")] = 5,
    rerank: Annotated[
        int, typer.Option(min=0, help="Of the best so many are looked at again, by the alignment decoder.")
    ] = 0,
    out: opt.Out = None,
    plot: shared.Plot = None,
    batch_size: opt.BatchSize = 16,
    device: shared.Device = "auto",
    dtype: opt.Dtype = "float32",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Find images and videos by texts; with a manifest and no query, measure recall in both directions."""
    from dataclasses import asdict

    from ...errors import ConfigError
    from ...files import refuse_existing
    from ...report import out as console
    from ...vision_language.omnivl.pictures import plot_recalls, recall_table
    from ...vision_language.omnivl.retrieval import both_recalls, score
    from ...vision_language.omnivl.sources import crossed, find
    from ..watch import watched

    refuse_existing(force, out, plot)
    notes: list[str] = []
    found = find(media, notes.append)
    if not query and not found.pairs:
        raise ConfigError("--query: there is none. Give it, or a manifest with a text for each image or video.")
    if query and plot:
        raise ConfigError("--plot: draws recalls, which are measured without --query. Leave one of them out.")
    if query:
        texts, items, right = list(dict.fromkeys(query)), list(dict.fromkeys(found.media)), None
    else:
        texts, items, right = crossed(found.pairs)
        notes += found.notes
    ready = opt.loaded(model, device, dtype, batch_size)
    with watched("looking", quiet or json) as progress:
        scores = score(ready, texts, items, rerank=rerank, progress=progress)
    notes += ready.notes
    opt.say(notes, quiet)
    if right is None:
        told, lines = _best(scores.text_to_media, texts, [str(item.path) for item in items], top)
        opt.tell(lines, {"queries": told, "rerank": rerank, "notes": notes}, out, json)
        return
    recalls = both_recalls(scores, right)
    if plot:
        plot_recalls(recalls, Path(plot))
    facts = {name: asdict(one) for name, one in recalls.items()}
    opt.tell([], {**facts, "texts": len(texts), "media": len(items), "rerank": rerank, "notes": notes}, out, json)
    if not json:
        console.print(recall_table(recalls))


def _best(scores: Any, texts: list[str], paths: list[str], top: int) -> tuple[list[dict[str, Any]], list[str]]:
    """Of each text what is found, as facts and in lines."""
    told, lines = [], []
    for text, row in zip(texts, scores, strict=True):
        some = [(paths[item], float(row[item])) for item in (-row).argsort(kind="stable")[:top].tolist()]
        told.append({"query": text, "found": [{"path": path, "score": score} for path, score in some]})
        lines += [f"{text}: {path} {score:.4f}" for path, score in some]
    return told, lines
