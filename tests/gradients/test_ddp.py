"""The DDP hook between real processes."""

import pytest
import torch
from gradients.workers import flat, loss_of, run, toy, train_ddp

EXACT = {"random_fraction": 1.0, "topk_fraction": 1.0, "bits": 32}
NOW = {"start_iteration": 0, "min_numel": 100}


def test_everything_sent_is_dense_training(tmp_path):
    dense = run(train_ddp, 2, tmp_path / "dense", 6, {}, {"start_iteration": 100})
    exact = run(train_ddp, 2, tmp_path / "exact", 6, EXACT, NOW)
    torch.testing.assert_close(exact[0]["flat"], dense[0]["flat"], rtol=0, atol=1e-6)
    assert torch.equal(exact[0]["flat"], exact[1]["flat"])


@pytest.mark.parametrize("dense", [0, 6])  # the checkpoint is written after 4 steps
def test_workers_agree_and_restarts_are_bit_identical(tmp_path, dense):
    args = (8, {}, {**NOW, "start_iteration": dense})
    whole = run(train_ddp, 3, tmp_path / "whole", *args)
    run(train_ddp, 3, tmp_path / "half", *args, str(tmp_path / "saved"))
    resumed = run(train_ddp, 3, tmp_path / "resumed", *args, str(tmp_path / "saved"))
    for first, second in zip(whole, resumed, strict=True):
        assert torch.equal(first["flat"], whole[0]["flat"])
        assert second["losses"] == first["losses"][4:]
        assert torch.equal(first["flat"], second["flat"])
        assert first["state"]["parameters"].keys() == second["state"]["parameters"].keys()
        for name, held in first["state"]["parameters"].items():
            assert held["residual"].any()
            for kind, values in held.items():
                assert torch.equal(values, second["state"]["parameters"][name][kind]), (name, kind)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
def test_any_number_of_workers_also_more_than_blocks(tmp_path, count):
    """The smallest tensors have 3 elements: most shards of them are empty."""
    options = {"start_iteration": 0, "min_numel": 1}
    results = run(train_ddp, count, tmp_path / "run", 6, {}, options)
    assert all(torch.equal(result["flat"], results[0]["flat"]) for result in results)
    exact = run(train_ddp, count, tmp_path / "exact", 6, EXACT, options)
    dense = run(train_ddp, count, tmp_path / "dense", 6, {}, {"start_iteration": 100})
    torch.testing.assert_close(exact[0]["flat"], dense[0]["flat"], rtol=0, atol=1e-6)


def test_one_worker_that_sends_everything_is_plain_sgd(tmp_path):
    (result,) = run(train_ddp, 1, tmp_path / "run", 12, EXACT, {"start_iteration": 4, "min_numel": 1})
    model = toy()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    for step in range(12):
        optimizer.zero_grad()
        loss_of(model, 0, step).backward()
        optimizer.step()
    assert torch.equal(result["flat"], flat(model))


def test_other_buckets_change_nothing(tmp_path):
    """DDP's own rebuild after the first step, and any bucket_cap_mb."""
    narrow = run(train_ddp, 2, tmp_path / "narrow", 6, {}, NOW, None, 0.001)
    wide = run(train_ddp, 2, tmp_path / "wide", 6, {}, NOW, None, 25.0)
    assert torch.equal(narrow[0]["flat"], wide[1]["flat"])
