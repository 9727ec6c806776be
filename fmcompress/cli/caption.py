"""fmcompress caption."""

from pathlib import Path
from typing import Annotated, Any

import typer

from . import app
from . import arguments as shared


@app.command()
def caption(
    images: Annotated[list[Path], typer.Argument(metavar="IMAGE...", help="Images, or folders of images.")],
    encoder: Annotated[Path, typer.Option(help="Folder of a model of images and text that chooses, such as CLIP.")],
    language_model: Annotated[
        str, typer.Option(help="That writes: FOLDER, FOLDER#chat, http(s)://HOST/v1#MODEL, or ANSWERS.jsonl.")
    ],
    clues: Annotated[Path | None, typer.Option(help="Clues that you have: JSON by image; see --write-clues.")] = None,
    vocabulary: Annotated[Path | None, typer.Option(help="Words for tags: .txt, one a line, or .json.")] = None,
    attributes: Annotated[Path | None, typer.Option(help="Words for the crops of objects, such as red.")] = None,
    detector: Annotated[Path | None, typer.Option(help="Folder of a detector; OWL-ViT looks for the tags.")] = None,
    captioner: Annotated[
        Path | None, typer.Option(help="Folder of a model that writes captions, such as BLIP.")
    ] = None,
    tags: Annotated[int, typer.Option(min=1, help="Of an image, at most.")] = 10,
    tag_threshold: Annotated[float | None, typer.Option(help="The lowest cosine of tags and attributes.")] = None,
    objects: Annotated[int, typer.Option(min=1, help="Of an image that the detector finds, at most.")] = 20,
    detector_threshold: Annotated[
        float | None, typer.Option(help="The lowest score of an object; 0.5, of a detector of words 0.1.")
    ] = None,
    caption_objects: Annotated[int, typer.Option(min=0, help="So many of the largest objects get captions.")] = 0,
    name_objects: Annotated[bool, typer.Option("--name-objects", help="Name objects by the vocabulary.")] = False,
    style: Annotated[str, typer.Option(help="Of the prompt: best, or story for small models of prose.")] = "best",
    locate: Annotated[bool, typer.Option("--locate/--no-locate", help="Say where objects are, and how large.")] = True,
    examples: Annotated[Path | None, typer.Option(help='JSON: [{"clues": {...}, "paragraph": "..."}].')] = None,
    candidates: Annotated[int, typer.Option(help="Paragraphs to ask for.")] = 40,
    temperature: Annotated[float, typer.Option(help="Of the language model.")] = 0.8,
    top_p: Annotated[float, typer.Option(help="Of the language model.")] = 1.0,
    max_tokens: Annotated[int, typer.Option(help="Of a candidate.")] = 100,
    seed: Annotated[int, typer.Option(help="Of the language model.")] = 0,
    score: Annotated[str, typer.Option(help="paragraph as a whole, or the mean of its sentences.")] = "paragraph",
    threshold: Annotated[
        float | None, typer.Option(help="The lowest cosine of a sentence; by default from all candidates' sentences.")
    ] = None,
    no_filter: Annotated[bool, typer.Option("--no-filter", help="Keep all sentences.")] = False,
    answers: Annotated[
        Path | None, typer.Option(help="Keep what the language model writes (.jsonl): an interrupted run goes on.")
    ] = None,
    cache: Annotated[Path | None, typer.Option(help="Folder that keeps embeddings.")] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write every intermediate, as .json.")] = None,
    explain: Annotated[Path | None, typer.Option(help="Write a page of pictures, boxes and reasons: .html.")] = None,
    write_clues: Annotated[Path | None, typer.Option(help="Write all clues, to edit and give as --clues.")] = None,
    device: shared.Device = "auto",
    force: shared.Replace = False,
    json: shared.Json = False,
    quiet: shared.Quiet = False,
) -> None:
    """Describe images in a paragraph each: visual clues, a language model, and a check by the image (BEST)."""
    from ..errors import ConfigError
    from ..report import Steps, err, finite, print_json, printable
    from ..report import out as console
    from ..vision_language.visual_clues.given import read_examples
    from ..vision_language.visual_clues.run import Sources, describe_pictures, write_results
    from ..vision_language.visual_clues.synthesis import Settings

    if no_filter and threshold is not None:
        raise ConfigError("--no-filter, --threshold: one leaves out what the other is for. Give one of them.")
    sources = Sources(
        clues, vocabulary, attributes, detector, captioner, tags, tag_threshold, objects, detector_threshold,
        caption_objects, name_objects,
    )  # fmt: skip
    settings = Settings(
        candidates=candidates, temperature=temperature, top_p=top_p, max_tokens=max_tokens, seed=seed, style=style,
        locate=locate, examples=read_examples(examples) if examples else (), score=score, filtered=not no_filter,
        threshold=threshold,
    )  # fmt: skip
    results: dict[str, Any] = {"out": out, "page": explain, "clues": write_clues}
    with Steps("describing", quiet or json) as steps:
        run = describe_pictures(
            images, sources, encoder, language_model, settings, answers=answers, cache=cache, device=device,
            results=results, force=force, progress=steps.at,
        )  # fmt: skip
    write_results(run, **results)
    if not quiet:
        for note in run.told:
            err.print(printable(note), soft_wrap=True, markup=False)
    if json:
        print_json(finite(run.as_dict()))
        return
    for one in run.descriptions:
        console.print(f"{printable(one.image)}\n  {printable(one.paragraph)}", soft_wrap=True, markup=False)
    for path in filter(None, results.values()):
        console.print(printable(f"{path}: written"), soft_wrap=True, markup=False)
