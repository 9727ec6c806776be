"""fmcompress spipe."""

from pathlib import Path
from typing import Annotated

import typer

from . import app
from . import arguments as shared


@app.command()
def spipe(
    predicted: Annotated[
        Path, typer.Argument(help="JSON: image -> text or scene graph, such as descriptions.json of caption.")
    ],
    gold: Annotated[Path, typer.Argument(help="JSON: image -> human graph, or Visual Genome's scene_graphs.json.")],
    synonyms: Annotated[Path | None, typer.Option(help="JSON: lists of words that mean the same.")] = None,
    factual: Annotated[
        bool, typer.Option("--factual", help="Parse texts with the package FactualSceneGraph, not with our rules.")
    ] = False,
    json: shared.Json = False,
) -> None:
    """How well descriptions tell what human scene graphs say: precision, recall and F1 over their tuples (SPIPE)."""
    from ..report import err, out, print_json, printable
    from ..spipe_tables import spipe_table
    from ..vision_language.visual_clues import SceneGraphParser
    from ..vision_language.visual_clues import spipe as measured
    from ..vision_language.visual_clues.graph_files import in_both, read_graphs, read_synonyms
    from ..vision_language.visual_clues.spipe import mean_of

    parser: SceneGraphParser | None = None
    if factual:
        from ..vision_language.visual_clues.factual_parser import FactualParser

        parser = FactualParser()
    same = read_synonyms(synonyms) if synonyms else None
    human = read_graphs(gold)
    both, notes = in_both(read_graphs(predicted, parser, texts=True), human)
    found = {image: measured(told, wanted, same) for image, (told, wanted) in both.items()}
    for note in notes:
        err.print(printable(note), soft_wrap=True, markup=False)
    if json:
        images = {image: one.as_dict() for image, one in found.items()}
        print_json({"images": images, "mean": mean_of(list(found.values())), "notes": notes})
        return
    out.print(spipe_table(found))
