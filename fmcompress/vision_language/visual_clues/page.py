"""One self-contained HTML page about descriptions: pictures with boxes, clues, candidates, and sentences with why."""

import base64
import io
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from ... import __version__
from ...page.markup import Markup, joined, policy_source, tag
from .clues import Clue, DetectedObject
from .description import Candidate, Description
from .position import area_of, position_of, size_of

LONGEST = 720  # pixels of a picture's longer side
COLOURS = 8  # in the style sheet
GENERATOR = "fmcompress caption"


def page_of(described: Sequence[Description], images: Sequence[Any]) -> str:
    """The whole page.

    images  a file, or Pillow's image, for each description; they are made smaller and become part of the page

    Raises ConfigError for a file that is no image.
    """
    common = files("fmcompress.page").joinpath("page.css").read_text("utf-8")
    style = Markup(common + files("fmcompress.vision_language.visual_clues").joinpath("page.css").read_text("utf-8"))
    policy = f"default-src 'none'; style-src {policy_source(style)}; img-src data:; base-uri 'none'; form-action 'none'"
    title = described[0].image if len(described) == 1 else f"{len(described)} images"
    head = tag(
        "head",
        tag("meta", charset="utf-8"),
        tag("meta", http_equiv="Content-Security-Policy", content=policy),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="generator", content=GENERATOR),
        tag("title", f"{title} · described by fmcompress"),
        tag("style", style),
    )
    parts = [_section(one, image) for one, image in zip(described, images, strict=True)]
    foot = f"Written by fmcompress {__version__}. Scores are cosines of image and text. {_who(described)}"
    main = tag("main", tag("h1", "What is seen, and why"), *parts, tag("footer", foot))
    return f"<!DOCTYPE html>\n{tag('html', head, tag('body', main), lang='en')}\n"


def _who(described: Sequence[Description]) -> str:
    models = dict.fromkeys(str(one.settings.get("language_model", "")) for one in described)
    return f"Language model: {', '.join(filter(None, models))}." if any(models) else ""


def _section(one: Description, image: Any) -> Markup:
    beside = [
        tag("div", tag("p", one.paragraph, class_="paragraph"), class_="panel"),
        tag("div", tag("h3", "Sentences of the chosen candidate"), _threshold(one), _sentences(one), class_="panel"),
        tag("div", tag("h3", "Clues"), _clues(one), class_="panel"),
    ]
    if one.notes:
        notes = tag("ul", *(tag("li", note) for note in one.notes))
        beside.append(tag("div", tag("h3", "Notes"), notes, class_="panel notes"))
    scores = sorted((c.score for c in one.candidates), reverse=True)
    below = [
        tag("summary", f"{len(scores)} candidates, from {scores[0]:.3f} to {scores[-1]:.3f}"),
        tag("ol", *_candidates(one), class_="candidates"),
    ]
    return joined([
        tag("h2", one.image),
        tag("div", tag("figure", _picture(one, image), class_="picture"), tag("div", *beside), class_="image"),
        tag("div", tag("details", *below, open=True), class_="panel"),
        tag("div", tag("details", tag("summary", "The prompt"), _prompt(one.prompt)), class_="panel"),
    ])  # fmt: skip


def _picture(one: Description, image: Any) -> Markup:
    """The picture with its boxes, and names on plates; sizes in the picture's own units."""
    data, width, height = _embedded(image)
    text = max(width, height) / 42
    shapes = [tag("image", href=data, width=width, height=height)]
    order = sorted(range(len(one.clues.objects)), key=lambda at: -area_of(one.clues.objects[at].box))
    shapes += [_boxed(one.clues.objects[at], at, width, height, text) for at in order]  # small ones on top
    about = f"{one.image} with {len(one.clues.objects)} objects"
    return tag("svg", *shapes, viewBox=f"0 0 {width} {height}", role="img", aria_label=about)


def _boxed(one: DetectedObject, number: int, width: int, height: int, text: float) -> Markup:
    left, top, right, bottom = one.box
    x, y = left * width, top * height
    box = {"x": x, "y": y, "width": (right - left) * width, "height": (bottom - top) * height}
    name = one.name.text if len(one.name.text) <= 30 else f"{one.name.text[:29]}…"
    plate = 0.62 * text * len(name) + text  # about as wide as its letters
    up = y if y + 1.5 * text <= height else height - 1.5 * text
    at = max(0.0, min(x, width - plate))
    return tag(
        "g",
        tag("title", _spoken(one)),
        tag("rect", class_="box under", stroke_width=text / 3.2, **box),
        tag("rect", class_="box", stroke_width=text / 6, **box),
        tag("rect", class_="plate", x=at, y=up, width=plate, height=1.5 * text),
        tag("text", name, class_="name", x=at + text / 2, y=up + 1.1 * text, font_size=text),
        class_=f"object s{number % COLOURS}",
    )


def _embedded(image: Any) -> tuple[str, int, int]:
    """A picture as a data URI, with its width and height."""
    from ...clip.batches import as_image

    picture = as_image(image)
    picture.thumbnail((LONGEST, LONGEST))
    written = io.BytesIO()
    picture.save(written, "JPEG", quality=85)
    return f"data:image/jpeg;base64,{base64.b64encode(written.getvalue()).decode()}", picture.width, picture.height


def _clues(one: Description) -> Markup:
    clues = one.clues
    rows = [("tags", [_scored(clue) for clue in clues.tags]), ("captions", [_scored(clue) for clue in clues.captions])]
    rows += [("object", [_object(each)]) for each in clues.objects]
    return tag(
        "dl", *(part for name, told in rows if told for part in (tag("dt", name), tag("dd", *told))), class_="clues"
    )


def _object(one: DetectedObject) -> Markup:
    return tag("span", _spoken(one), *([_score(one.name.score)] if one.name.score is not None else []))


def _spoken(one: DetectedObject) -> str:
    attributes = f" ({', '.join(clue.text for clue in one.attributes)})" if one.attributes else ""
    captions = f": {'; '.join(clue.text for clue in one.captions)}" if one.captions else ""
    return f"{one.name.text}{attributes}, {size_of(one.box)}, {position_of(one.box)}{captions}"


def _scored(clue: Clue) -> Markup:
    return tag("span", clue.text, None if clue.score is None else _score(clue.score))


def _score(score: float) -> Markup:
    return joined([" ", tag("span", f"{score:.3f}", class_="score")])


def _candidates(one: Description) -> list[Markup]:
    """By falling score; bars from the lowest score, as cosines of one image lie near each other."""
    scores = [candidate.score for candidate in one.candidates]
    low, high = min(scores), max(scores)
    order = sorted(range(len(scores)), key=lambda at: (-scores[at], at))
    return [_candidate(one.candidates[at], at == one.chosen, low, high) for at in order]


def _candidate(one: Candidate, chosen: bool, low: float, high: float) -> Markup:
    share = 1.0 if high <= low else 0.06 + 0.94 * (one.score - low) / (high - low)
    bar = tag(
        "svg",
        tag("rect", class_="track", width=100, height=8, rx=2),
        tag("rect", class_="bar", width=100 * share, height=8, rx=2),
        viewBox="0 0 100 8", preserveAspectRatio="none", role="img", aria_label=f"score {one.score:.3f}",
    )  # fmt: skip
    mark = tag("span", " chosen", class_="mark") if chosen else None
    told = tag("div", tag("span", f"{one.score:.4f}", class_="score"), mark, bar)
    return tag("li", told, tag("div", one.text), class_="chosen" if chosen else None)


def _threshold(one: Description) -> Markup:
    told = "Not filtered." if one.threshold is None else f"Kept from a cosine of {one.threshold:.3f} on."
    return tag("p", told, class_="what")


def _sentences(one: Description) -> Markup:
    lines = [
        tag(
            "li",
            tag("span" if each.kept else "del", each.text),
            joined([" ", tag("small", each.reason)]),
            class_=None if each.kept else "dropped",
        )
        for each in one.sentences
    ]
    return tag("ol", *lines, class_="sentences")


def _prompt(text: str) -> Markup:
    """The lines of a prompt; each is escaped by itself, as control characters are spelt out."""
    return tag("pre", joined(text.split("\n"), between="\n"))
