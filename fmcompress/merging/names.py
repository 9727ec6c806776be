"""Which tensors a merge writes: those that all models have, and duplicates of tied weights once."""

from collections.abc import Sequence

from ..errors import CheckpointError
from .open_models import Source
from .sources import BlockReader

HEADS = {"lm_head", "embed_out", "decoder", "proj_out", "output"}  # modules that are tied to an embedding


def choose_names(sources: Sequence[Source], template: Source, reader: BlockReader) -> tuple[list[str], list[str]]:
    """Names to write, in the template's order, and notes on duplicates that are written once.

    A tensor that only some models have is left out if it is, in each of those, equal to the bit to another one that
    all have. An output head that equals an embedding in all models is left out where config.json ties the two.

    Raises CheckpointError for any other tensor that not all models have.
    """
    common = set.intersection(*(set(one.checkpoint.tensors) for one in sources))
    notes = [_written_as(name, _twin_of_extra(name, common, sources, reader)) for name in _extra(common, sources)]
    if _ties(template):
        for head in sorted(name for name in common if _module(name) in HEADS):
            twin = _twin(head, {name for name in common if _module(name) not in HEADS}, sources, reader)
            if twin is not None:
                common.discard(head)
                notes.append(_written_as(head, twin))
    return [name for name in template.checkpoint.tensors if name in common], notes


def _written_as(name: str, twin: str) -> str:
    return f"{name} is {twin} once more in every model that has it: written once, as {twin}"


def _extra(common: set[str], sources: Sequence[Source]) -> list[str]:
    return sorted(set().union(*(one.checkpoint.tensors for one in sources)) - common)


def _twin_of_extra(name: str, common: set[str], sources: Sequence[Source], reader: BlockReader) -> str:
    holders = [one for one in sources if name in one.checkpoint.tensors]
    twin = _twin(name, common, holders, reader)
    if twin is not None:
        return twin
    first = sources[0]
    if first is holders[0]:
        lacking = next(one for one in sources if name not in one.checkpoint.tensors)
        raise CheckpointError(
            f"{name}: {lacking.label} has no such tensor, and {first.label} has. Only models of the same tensors can "
            "be merged."
        )
    raise CheckpointError(
        f"{name}: {holders[0].label} has this tensor, and {first.label} has not. Only models of the same tensors can "
        "be merged."
    )


def _twin(name: str, among: set[str], holders: Sequence[Source], reader: BlockReader) -> str | None:
    """A tensor that is equal to another one to the bit, in each of these models."""
    for other in sorted(among - {name}):
        if all(_alike(one, name, other) for one in holders) and all(
            reader.equal((one, name), (one, other)) for one in holders
        ):
            return other
    return None


def _alike(source: Source, name: str, other: str) -> bool:
    one, two = source.checkpoint.tensors[name], source.checkpoint.tensors[other]
    return len(one.shape) > 1 and one.shape == two.shape and one.dtype == two.dtype


def _module(name: str) -> str:
    return name.rsplit(".", 2)[-2] if name.endswith(".weight") else ""


def _ties(template: Source) -> bool:
    config = template.config or {}
    text = config.get("text_config")
    return bool(config.get("tie_word_embeddings") or (isinstance(text, dict) and text.get("tie_word_embeddings")))
