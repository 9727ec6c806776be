"""What the tests of the page share: a run in memory of any size, and the parts of a page."""

import json
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

from fmcompress.checkpoint.layout import FACTS, MEASURED
from fmcompress.divergence import Comparison, Quality

KINDS = ("self_attn.q_proj", "self_attn.k_proj", "mlp.up_proj", "mlp.down_proj")
HOSTILE = (
    "model.layers.0.</script><script>alert(1)</script>\"'><img src=x onerror=alert(2)>&amp;\u202e\x1b[2J\ud800.weight"
)


def record(tensor: str, **changes: Any) -> dict[str, Any]:
    fields = {"rows": 64, "cols": 32, "zeros": 1024, "sparsity": 0.5, "damping": 0.01, "dead_columns": 0}
    return {"tensor": tensor, **fields, "tokens": 512, "loss": 1.5, "relative_error": 0.02, **changes}


def records(blocks: int) -> list[dict[str, Any]]:
    names = [f"model.layers.{block}.{kind}.weight" for block in range(blocks) for kind in KINDS]
    return [record(name, relative_error=0.001 * (2 + number % 7)) for number, name in enumerate(names)]


def write_run(folder: Path, layers: list[dict[str, Any]], *, measured: bool = True, **changes: Any) -> Path:
    """A finished run's files, without a checkpoint."""
    folder.mkdir(parents=True)
    weights = sum(layer["rows"] * layer["cols"] for layer in layers)
    facts = {
        "fmcompress": "0", "torch": "2", "native": "loaded, AVX2 kernels", "format": "dense", "notes": [],
        "config": {"method": "sparsegpt", "sparsity": 0.5, "pattern": None, "bits": None, "damping": 0.01},
        "calibration_sequences": 8, "calibration_tokens": 512, "weights": weights, "zeros": weights // 2,
        "bytes_before": 4 * weights, "bytes_after": 2 * weights, "bits_per_weight": 16.0,
        "checkpoint_bytes_before": 5 * weights, "checkpoint_bytes_after": 3 * weights, "layers": layers, **changes,
    }  # fmt: skip
    (folder / FACTS).write_text(json.dumps(facts))
    if measured:
        (folder / MEASURED).write_text("".join(json.dumps(event) + "\n" for event in _events(layers)))
    return folder


def _events(layers: list[dict[str, Any]]) -> list[dict[str, Any]]:
    memory, phases = {"resident_bytes": 500 << 20, "peak_bytes": 600 << 20}, {"factor": 0.1, "solve": 0.2}
    events: list[dict[str, Any]] = [{"at_s": 0.5, "run": {"blocks": 1, "done": 0, "threads": 2}, **memory}]
    for number, layer in enumerate(layers):
        at = {"at_s": 1.0 + number, "block": 0, "layer": layer["tensor"], "seconds": phases}
        events.append({**at, **memory})
    return [*events, {"at_s": 2.0 + len(layers), "block": 0, "finished": True, **memory}]


def quality(model: str, perplexity: float = 20.0, size: int = 1 << 20) -> Quality:
    return Quality(model, perplexity, 3.0, 1.1, 0.01, 0.05, 0.5, 0.9, size, 16.0)


def comparison(*names: str) -> Comparison:
    return Comparison([quality(name, 20.0 + number) for number, name in enumerate(names)], 630, 10, 64)


class Page(HTMLParser):
    """What a browser would find: elements with their attributes, the texts outside of style and script, figures."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text, self.raw, self.title = "", "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"{tag}: an attribute twice"
        self.elements.append((tag, dict(attrs)))
        if tag not in ("meta", "input", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("style", "script"):
            self.raw += data
        elif self.open == ["html", "head", "title"]:
            self.title += data
        else:
            self.text += data

    def count(self, tag: str, **attributes: str) -> int:
        wanted = {key.rstrip("_"): value for key, value in attributes.items()}
        return sum(name == tag and wanted.items() <= found.items() for name, found in self.elements)
