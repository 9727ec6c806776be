"""Traces from JSON that a stranger may have written: every field is checked before it is used."""

import json
import math
from collections.abc import Callable
from typing import Any, NoReturn, TypeVar

from ..errors import PayloadError, TraceError, in_one_line
from .trace import Trace, TraceStep

MOST_BYTES = 64 << 20
FIELDS = {"context", "question", "choices", "steps", "answer", "state", "reason", "support", "scores"}
OF_STEP = {"selection", "inference", "score"}
Item = TypeVar("Item")


def read_trace(text: str | bytes) -> Trace:
    """A trace of Trace.to_json(), checked by Trace.validate().

    Raises PayloadError for what is no such JSON, TraceError for a trace that does not hold.
    """
    if len(text) > MOST_BYTES:
        raise PayloadError(f"trace: expected at most {MOST_BYTES:,} bytes of JSON, got {len(text):,}.")
    try:
        found = json.loads(text, parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        raise PayloadError(f"trace: expected JSON ({in_one_line(error, 120)}).") from None
    fields = _fields("trace", found, FIELDS)
    trace = Trace(
        context=_list("context", fields["context"], _text),
        question=_text("question", fields["question"]),
        steps=_list("steps", fields["steps"], _step),
        answer=_text("answer", fields["answer"]),
        state=_text("state", fields["state"]),
        reason=_text("reason", fields["reason"]),
        choices=_list("choices", fields["choices"], _text),
        scores=_list("scores", fields["scores"], _scored),
    )
    trace.validate()
    if _list("support", fields["support"], _number) != trace.support():
        raise TraceError(f"support: expected {list(trace.support())}, which follows from the steps.")
    return trace


def _step(what: str, value: Any) -> TraceStep:
    fields = _fields(what, value, OF_STEP, {"value"})
    return TraceStep(
        _list(f"{what}: selection", fields["selection"], _number),
        _text(f"{what}: inference", fields["inference"]),
        _score(f"{what}: score", fields["score"]),
        _score(f"{what}: value", fields["value"]) if "value" in fields else None,
    )


def _scored(what: str, value: Any) -> tuple[str, float]:
    if not isinstance(value, list) or len(value) != 2:
        _refuse(what, "a text and its score", value)
    return _text(what, value[0]), _score(what, value[1])


def _fields(what: str, value: Any, names: set[str], optional: set[str] = frozenset()) -> dict[str, Any]:  # type: ignore[assignment]
    if not isinstance(value, dict) or not names <= value.keys() <= names | optional:
        _refuse(what, f"an object of {', '.join(sorted(names))}", value)
    return dict(value)


def _list(what: str, value: Any, item: Callable[[str, Any], Item]) -> tuple[Item, ...]:
    if not isinstance(value, list):
        _refuse(what, "a list", value)
    return tuple(item(f"{what} {number}", one) for number, one in enumerate(value, 1))


def _text(what: str, value: Any) -> str:
    if not isinstance(value, str):
        _refuse(what, "a text", value)
    return str(value)


def _number(what: str, value: Any) -> int:
    if type(value) is not int:
        _refuse(what, "a whole number", value)
    return int(value)


def _score(what: str, value: Any) -> float:
    if value is None:
        return -math.inf
    try:
        score = float(value) if type(value) in (int, float) else math.nan
    except OverflowError:  # a whole number of hundreds of digits
        score = math.inf
    if not math.isfinite(score):
        _refuse(what, "a number or null", value)
    return score


def _refuse(what: str, wanted: str, value: Any) -> NoReturn:
    raise PayloadError(f"{what}: expected {wanted}, got {in_one_line(repr(value), 80)}.")


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no JSON")


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a name stands twice in an object")
    return found
