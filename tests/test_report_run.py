"""What `fmcompress report` reads of a run, finished or going on, and that it believes no file."""

import json
import math
from pathlib import Path

import pytest
from helpers import folder_bytes
from report_cases import Page, quality, record, records, write_run

from fmcompress.checkpoint.layout import FACTS, MEASURED
from fmcompress.errors import CheckpointError, ConfigError
from fmcompress.journal import FILE
from fmcompress.page import page_of, read_comparison, read_run
from fmcompress.page.chart import Axis
from fmcompress.page.run import Layer
from fmcompress.page.tables import method_of


@pytest.mark.parametrize(
    ("tensor", "block", "kind"),
    [
        ("model.layers.11.self_attn.q_proj.weight", 11, "self_attn.q_proj"),
        ("transformer.h.3.mlp.c_fc.weight", 3, "mlp.c_fc"),
        ("model.layers.2.mlp.experts.17.up_proj.weight", 2, "mlp.experts.*.up_proj"),
        ("encoder.proj.weight", 0, "encoder.proj"),
        ("3.weight", 3, "*"),
        ("a.99999999999.weight", 0, "a.*"),
        ("", 0, ""),
    ],
)
def test_blocks_and_kinds_by_name(tensor: str, block: int, kind: str) -> None:
    layer = Layer(**record(tensor))
    assert (layer.block, layer.kind) == (block, kind)


DAMAGES: dict[str, tuple[str, str]] = {
    "no JSON": ("{", "no JSON"),
    "a list": ("[]", "is not as fmcompress writes it"),
    "layers": ('{"config": {}, "layers": 3}', "layers"),
    "negative": (json.dumps({"config": {}, "layers": [record("a", rows=-1)]}), "rows"),
    "huge": (json.dumps({"config": {}, "layers": [record("a", rows=10**30)]}), "rows"),
    "infinite": (json.dumps({"config": {}, "layers": [record("a", sparsity=math.inf)]}), "sparsity"),
    "notes": (json.dumps({"config": {}, "layers": [], "notes": [1]}), "notes"),
    "deep": ("[" * 100_000, "no JSON"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_facts_are_refused(tmp_path: Path, damage: str) -> None:
    text, message = DAMAGES[damage]
    (tmp_path / FACTS).write_text(text)
    with pytest.raises(CheckpointError, match=message) as caught:
        read_run(tmp_path)
    assert "\n" not in str(caught.value)


def test_damaged_measurements(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "out", records(1))
    whole = (folder / MEASURED).read_text()
    (folder / MEASURED).write_text(whole + "[1]\nnonsense\n{\n")
    assert len(read_run(folder).layer_seconds) == 4
    (folder / MEASURED).write_text(whole + '{"at_s": -1}\n')
    with pytest.raises(CheckpointError, match="at_s"):
        read_run(folder)
    (folder / MEASURED).write_text('{"at_s": 1, "layer": "before any start"}\n')
    assert read_run(folder).sessions == []


def test_a_run_that_is_going_on(tmp_path: Path) -> None:
    """OUT or OUT.partial; a line that is half written is left alone, as its writer is alive."""
    partial = write_run(tmp_path / "out.partial", records(1))
    (partial / FACTS).unlink()
    begin = {"fmcompress": "0", "option method": "wanda", "option sparsity": 0.5, "threads": 2}
    lines = [begin, {"block": 0, "layers": records(1)}]
    (partial / FILE).write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"block": 1, "la')
    before = folder_bytes(partial)
    for folder in (tmp_path / "out", partial):
        run = read_run(folder)
        assert not run.finished
        assert (len(run.facts.layers), run.facts.weights, run.facts.zeros) == (4, 4 * 2048, 4 * 1024)
        assert method_of(run) == "wanda 50 %"
        assert run.blocks == (1, 1)
    assert folder_bytes(partial) == before
    seen = Page(page_of([read_run(partial)]))
    assert "This run has not finished: 1 of 1 blocks." in seen.text
    assert seen.count("progress") == 1
    (partial / FILE).write_text("")
    with pytest.raises(ConfigError, match="has only begun"):
        read_run(partial)


@pytest.mark.parametrize(("low", "high"), [(0, 1), (0, 1e-9), (3, 3.001), (-0.5, 0.5), (0, 1e18), (-0.5, 999_999.5)])
@pytest.mark.parametrize("whole", [True, False])
def test_linear_ticks(low: float, high: float, whole: bool) -> None:
    ticks = Axis(low, high, "", whole=whole).ticks()
    assert len(ticks) <= 9
    assert all(low - 1e-6 * (high - low) <= tick <= high + 1e-6 * (high - low) for tick in ticks)
    assert not whole or all(tick == round(tick) for tick in ticks)
    assert whole or len(ticks) >= 3


@pytest.mark.parametrize(("low", "high"), [(1e-3, 1), (0.9, 1.1), (2, 7), (1e-12, 1e12), (4.01, 4.9)])
def test_log_ticks(low: float, high: float) -> None:
    axis = Axis(low, high, "", log=True)
    assert 2 <= len(axis.ticks()) <= 30
    assert all(0 <= axis.share(tick) <= 1 for tick in axis.ticks())


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        '{"models": 3}',
        '{"models": [1]}',
        '{"models": [{}], "windows": 1}',
        '{"perplexity": 3.0}',
        "{",
        "[" * 10**5,
    ],
)
def test_other_results_are_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "results.json").write_text(text)
    with pytest.raises(ConfigError, match="holds no comparison"):
        read_comparison(tmp_path / "results.json")


def test_infinite_perplexity_is_not_drawn(tmp_path: Path) -> None:
    told = {"models": [{**vars(quality("a")), "perplexity": None}, vars(quality("b"))]}
    (tmp_path / "results.json").write_text(
        json.dumps({**told, "predicted_tokens": 1, "windows": 1, "sequence_length": 2})
    )
    read = read_comparison(tmp_path / "results.json")
    assert math.isinf(read.models[0].perplexity)
    assert Page(page_of([read_run(write_run(tmp_path / "out", records(1)))], read)).count("svg") == 6
