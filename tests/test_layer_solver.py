"""From options to a solved layer: what is handed on from step to step, and from other checkpoints."""

import pytest
import torch

from fmcompress.config import PruneConfig
from fmcompress.layer_solver import solve_with_data
from fmcompress.plan import solve_flops


def solved(weight, hessian, given=None, **options):
    return solve_with_data(PruneConfig(**options), "layer", weight, hessian, 1.0, given)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_of_masks_only_the_zeros_are_taken_over(make_weight, make_hessian, dtype):
    weight, hessian = make_weight(8, 32, dtype), make_hessian(32, torch.float32, dead=(3,))
    generator = torch.Generator().manual_seed(1)
    given = (torch.rand(8, 32, generator=generator) < 0.5).float()
    result = solved(weight, hessian, given, masks="folder").weight
    assert result.dtype == dtype
    assert torch.equal(result != 0, given != 0)
    assert torch.equal(result[:, 3], weight[:, 3] * given[:, 3].to(dtype))  # no input says better
    assert torch.equal(result, solved(weight, hessian, 7 * given.to(dtype), masks="folder").weight)


@pytest.mark.parametrize("method", ["admm", "wanda", "sparsegpt"])
@pytest.mark.parametrize("refit", [False, True])
def test_the_sweep_that_rounds_heeds_its_options(make_weight, make_hessian, method, refit):
    weight, hessian = make_weight(16, 64, torch.float32), make_hessian(64, torch.float32)
    options = {"sparsity": 0.5, "bits": 4, "group_size": 32, "method": method, "refit": refit}
    plain = solved(weight, hessian, **options)
    for more in ({"damping": 0.3}, {"activation_order": True}):
        other = solved(weight, hessian, **options, **more)
        assert other.damping == more.get("damping", 0.01)
        assert not torch.equal(other.weight, plain.weight)


def test_time_spent_twice_in_a_phase_counts_twice(make_weight, make_hessian, monkeypatch):
    from fmcompress.layerwise import result

    ticks = iter(range(1000))
    monkeypatch.setattr(result.time, "perf_counter", lambda: float(next(ticks)))
    weight, hessian = make_weight(4, 16, torch.float32), make_hessian(16, torch.float32)
    seconds = solved(weight, hessian, sparsity=0.5, swap=True).seconds
    assert (seconds["refit"], seconds["swap"]) == (2.0, 1.0)
    assert sum(seconds.values()) == next(ticks) - 4  # all but what passes between four clocks


def test_what_takes_longer_is_planned_to() -> None:
    masks, pruned = {"masks": "folder"}, {"sparsity": 0.5}
    dearer = [
        ({"method": "magnitude", **pruned}, {"method": "magnitude", "refit": True, **pruned}),
        (pruned, {"refit": True, **pruned}),
        ({"refit": True, **pruned}, {"swap": True, **pruned}),
        ({"method": "wanda", **pruned}, {"method": "wanda", "bits": 4, **pruned}),
        (pruned, masks),  # a refit
        (masks, {"bits": 4, **masks}),
        ({"method": "admm", **pruned}, {"method": "admm", "bits": 4, **pruned}),
    ]
    for one, other in dearer:
        assert 0 < solve_flops(64, 256, PruneConfig(**one)) < solve_flops(64, 256, PruneConfig(**other))
