"""HTML and SVG elements from Python values: whatever is not markup already is escaped."""

import base64
import hashlib
from collections.abc import Iterable
from html import escape

from ..report import printable

VOID = {"meta", "input"}


class Markup(str):
    """Text that is markup already."""


def tag(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element.

    children    Markup goes in as it is, None is left out, everything else is escaped, control characters spelt out
    attributes  class_ loses its underscore, others become hyphens; None and False are left out, True has no value
    """
    given = {key: value for key, value in attributes.items() if value is not None and value is not False}
    fields = "".join(f" {_name(key)}{_value(value)}" for key, value in given.items())
    if name in VOID:
        return Markup(f"<{name}{fields}>")
    return Markup(f"<{name}{fields}>{joined(children)}</{name}>")


def joined(parts: Iterable[object], between: str = "") -> Markup:
    """Several pieces of markup or text after each other."""
    return Markup(between.join(_escaped(part) for part in parts if part is not None))


def policy_source(text: str) -> str:
    """How a Content-Security-Policy allows one style sheet or script: by its hash."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _escaped(part: object) -> str:
    return part if isinstance(part, Markup) else escape(printable(str(part)), quote=False)


def _name(key: str) -> str:
    return key.rstrip("_").replace("_", "-")


def _value(value: object) -> str:
    if value is True:
        return ""
    text = f"{value:.2f}".rstrip("0").rstrip(".") if isinstance(value, float) else str(value)
    return f'="{escape(printable(text))}"'
