"""The note that a model card gets: that these are not the weights that it describes, and how they are stored."""

from pathlib import Path
from typing import Any

from .layout import FACTS, MERGE_FACTS
from .writer import sync

HEADLINE = "## Compressed with fmcompress"
MERGED = "## Merged with fmcompress"
STORED = {  # by format: what whoever reads the card must know to load it
    "packed": (
        "They are stored packed: `fmcompress generate` and `fmcompress.runtime.load` run them, transformers alone does "
        "not, and `fmcompress unpack` makes them dense again."
    ),
    "compressed-tensors": "They are stored quantized, in the format of compressed-tensors.",
}
TOLD = ("method", "masks", "refit", "swap", "reconstruct", "sparsity", "pattern", "bits", "group_size")
ASYMMETRIC = " transformers needs `quantization_config=CompressedTensorsConfig(dequantize=True)` to load them."
DENSE_AGAIN = "They are dense again: `fmcompress unpack` wrote these files."


def append_to_card(source: Path, card: Path, facts: dict[str, Any]) -> None:
    """Write a card with the note of a run, where the source has one.

    The source's card is what is added to, so that a kill repeats nothing and a second compression has its own note.
    """
    text = _read(source)
    if not text:
        return
    config = facts["config"]
    done = {key: config[key] for key in TOLD if config.get(key)}
    if "masks" in done:  # no method has looked for them, and a folder's name tells a reader nothing
        done = {"masks": "of another checkpoint", **{key: done[key] for key in done if key not in ("method", "masks")}}
    listed = ", ".join(f"{key} {value}" for key, value in done.items() if key != "group_size" or config["bits"])
    again = HEADLINE in text and "\n#" not in text.rpartition(HEADLINE)[2]  # else it would stand under another headline
    lines = [f"The weights here were changed by fmcompress {facts['fmcompress']} ({listed})."]
    lines[0] += " What stands above describes the model before that."
    if facts["format"] in STORED:
        asymmetric = facts["format"] == "compressed-tensors" and not config["symmetric"]
        lines.append(STORED[facts["format"]] + (ASYMMETRIC if asymmetric else ""))
    lines.append(f"`{FACTS}` has the details of the last change.")
    headline = "" if again else f"{HEADLINE}\n\n"
    _write(card, f"{text.rstrip()}\n\n{headline}" + "\n".join(lines) + "\n")


def note_recovered(source: Path, card: Path, facts: dict[str, Any]) -> None:
    """Write a card that tells of a recovery, where the source has one. See append_to_card."""
    text = _read(source)
    if text and facts["best_step"]:
        told = facts["perplexity"]
        line = (
            f"Then fmcompress recover let the weights that are not pruned learn for {facts['best_step']} steps: "
            f"perplexity on held-out text went from {told['before']:.4g} to {told['after']:.4g}."
        )
        headline = "" if HEADLINE in text else f"{HEADLINE}\n\n"
        _write(card, f"{text.rstrip()}\n\n{headline}{line}\n`fmcompress-training.json` has the details of that.\n")


def note_merged(source: Path, card: Path, facts: dict[str, Any]) -> None:
    """Write a card that tells of a merge, where the source has one. See append_to_card."""
    text = _read(source)
    if text:
        names = ", ".join(one["model"] for one in facts["sources"])
        _write(
            card,
            f"{text.rstrip()}\n\n{MERGED}\n\nThe weights here were merged by fmcompress {facts['fmcompress']} "
            f"({facts['merge']['merge_method']} of {names}). What stands above describes {facts['template']}.\n"
            f"`{MERGE_FACTS}` has the details.\n",
        )


def note_dense_again(source: Path, card: Path) -> None:
    """Write a card whose last note tells of dense weights, where the source's has a note of a run."""
    before, headline, notes = _read(source).rpartition(HEADLINE)
    lines = notes.split("\n")
    told = [number for number, line in enumerate(lines) if line.startswith(tuple(STORED.values()))]
    if told:
        lines[told[-1]] = DENSE_AGAIN
        _write(card, before + headline + "\n".join(lines))


def _read(path: Path) -> str:
    return path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""


def _write(path: Path, text: str) -> None:
    with path.open("w", encoding="utf-8", errors="surrogateescape") as file:
        file.write(text)
    sync(path)
