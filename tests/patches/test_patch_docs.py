"""What README and docs tell of the measured patches is what was measured."""

import json
from typing import Any

import pytest
from helpers import ROOT


@pytest.fixture(scope="module")
def measured() -> dict[str, dict[str, Any]]:
    cases = json.loads((ROOT / "examples" / "patch" / "results.json").read_text())["cases"]
    return {one["case"]: {patch["patch"]: patch for patch in one["patches"]} for one in cases}


def test_the_table_of_the_docs_is_what_was_measured(measured: dict[str, dict[str, Any]]) -> None:
    lines = (ROOT / "docs" / "patches.md").read_text().splitlines()
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")]
    case, seen = "", 0
    for name, patch, share, lost, perplexity in rows[2:]:
        case = name.partition(" (")[0] or case
        found = measured[case][patch]
        assert share == f"{100 * found['share']:.1f} %"
        told = 100 * (found["lost_of_change"] or 0)
        assert float(lost.removesuffix(" %")) == pytest.approx(told, rel=0.005)
        assert perplexity == f"{found['perplexity']:.{len(perplexity.partition('.')[2])}f}"
        seen += 1
    assert seen == 7 * len(measured)


def test_the_readme_tells_what_was_measured(measured: dict[str, dict[str, Any]]) -> None:
    text = (ROOT / "README.md").read_text()
    share = {case: f"{100 * found['lossless']['share']:.1f} %" for case, found in measured.items()}
    assert f"one block changed takes {share['one block, float32']} of the dense bytes" in text
    assert f"small steps in bfloat16 {share['small steps, bfloat16']}" in text
    rounded, exact = (measured["all weights, bfloat16"][kind] for kind in ("4 bits", "lossless"))
    assert f"{share['all weights, bfloat16']} without loss and {100 * rounded['share']:.1f} % in 4 bits" in text
    assert f"lose {100 * rounded['lost_of_change']:.1f} % of the change" in text
    assert f"({rounded['perplexity']:.3f} against {exact['perplexity']:.3f})" in text
