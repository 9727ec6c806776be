"""OWL: the share of outliers against plain NumPy, and the sparsities that follow from it."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from helpers import CPU, make_checkpoint, make_text
from hypothesis import given, settings
from hypothesis import strategies as st

from fmcompress.allocation.owl import OUTLIER, allocate_by_outliers, outlier_share, owl_shares
from fmcompress.config import PruneConfig
from fmcompress.errors import ConfigError
from fmcompress.pipeline import prepare

quick = settings(derandomize=True, deadline=None, max_examples=100, database=None)


def test_outliers_are_counted_over_the_whole_block() -> None:
    chance = np.random.default_rng(0)
    weights = [chance.standard_normal(shape) ** 3 for shape in ((8, 16), (24, 8))]
    norms = [chance.random(cols) * scale for cols, scale in ((16, 1.0), (8, 10.0))]
    scores = np.concatenate([(abs(w) * n).ravel() for w, n in zip(weights, norms, strict=True)])
    expected = float((scores > OUTLIER * scores.mean()).mean())
    alone = [float((abs(w) * n > OUTLIER * (abs(w) * n).mean()).mean()) for w, n in zip(weights, norms, strict=True)]
    got = outlier_share([torch.from_numpy(w) for w in weights], [torch.from_numpy(n) for n in norms])
    assert got == pytest.approx(expected, abs=1e-12)
    assert got > 0
    assert got != pytest.approx(np.average(alone, weights=[w.size for w in weights]))


def test_a_block_without_weights_has_no_outliers() -> None:
    assert outlier_share([], []) == 0


def test_shares_as_the_paper_computes_them() -> None:
    """Density between 0 and 2 * spread by min-max, then its mean moved to 1 - S."""
    outliers, weights = {"a": 0.01, "b": 0.05, "c": 0.02}, {"a": 100, "b": 100, "c": 100}
    values = np.array(list(outliers.values()))
    density = (values - values.min()) / (values.max() - values.min()) * 2 * 0.08
    density = density - density.mean() + 0.3
    assert list(owl_shares(outliers, weights, 0.7, 0.08).values()) == pytest.approx(list(1 - density), abs=1e-12)


@quick
@given(
    st.lists(st.tuples(st.floats(0, 1), st.integers(1, 10_000)), min_size=2, max_size=30),
    st.floats(0.3, 0.7),
    st.floats(0, 0.1),
)
def test_more_outliers_never_cost_weights_and_the_mean_stays(
    blocks: list[tuple[float, int]], sparsity: float, spread: float
) -> None:
    outliers = {str(number): share for number, (share, _) in enumerate(blocks)}
    weights = {str(number): count for number, (_, count) in enumerate(blocks)}
    shares = owl_shares(outliers, weights, sparsity, spread)
    total = sum(weights.values())
    assert sum(shares[name] * weights[name] for name in shares) / total == pytest.approx(sparsity, abs=1e-9)
    ordered = sorted(shares, key=outliers.__getitem__)
    assert all(shares[a] >= shares[b] - 1e-12 for a, b in pairwise(ordered))
    if min(outliers.values()) < max(outliers.values()):
        assert max(shares.values()) - min(shares.values()) == pytest.approx(2 * spread, abs=1e-9)


def test_equal_blocks_stay_equal() -> None:
    assert owl_shares({"a": 0.1, "b": 0.1}, {"a": 1, "b": 2}, 0.7, 0.08) == {"a": 0.7, "b": 0.7}


def test_a_spread_that_leaves_no_weights_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"spread 0.2: b would need a sparsity of 1\.1.*lower --spread"):
        owl_shares({"a": 0.2, "b": 0.1}, {"a": 1, "b": 1}, 0.9, 0.2)


def test_of_a_model(tmp_path: Path) -> None:
    """Against the inputs of each layer of the whole dense model, seen by hooks."""
    from transformers import AutoModelForCausalLM

    make_checkpoint(tmp_path / "model", blocks=3)
    job = prepare(
        tmp_path / "model",
        PruneConfig(sparsity=0.6, sequence_length=32, samples=4),
        make_text(tmp_path / "text.txt", 4_000),
        CPU,
    )
    seen = list[tuple[int, int]]()
    found = allocate_by_outliers(job, 0.05, lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "model")
    scores: dict[int, list[np.ndarray]] = {}
    for name, module in model.model.layers.named_modules():
        if isinstance(module, torch.nn.Linear):
            index = int(name.split(".")[0])
            module.register_forward_hook(
                lambda module, args, _, index=index: scores.setdefault(index, []).append(
                    (module.weight.abs() * args[0].flatten(0, 1).square().mean(0).sqrt()).detach().numpy().ravel()
                )
            )
    with torch.no_grad():
        model(job.windows)
    for index, block in scores.items():
        whole = np.concatenate(block)
        assert found.found["outliers"][f"model.layers.{index}"] == pytest.approx(
            (whole > 5 * whole.mean()).mean(), abs=3e-4
        )
    by_block = {index: found.layers[f"model.layers.{index}.mlp.up_proj.weight"] for index in scores}
    fewest = min(scores, key=lambda index: found.found["outliers"][f"model.layers.{index}"])
    assert by_block[fewest] == max(by_block.values()) > 0.6 > min(by_block.values())
