"""The DDP hook between real processes."""

import torch
from gradients.workers import run, train_ddp

EXACT = {"random_fraction": 1.0, "topk_fraction": 1.0, "bits": 32}
NOW = {"start_iteration": 0, "min_numel": 100}


def test_everything_sent_is_dense_training(tmp_path):
    dense = run(train_ddp, 2, tmp_path / "dense", 6, {}, {"start_iteration": 100})
    exact = run(train_ddp, 2, tmp_path / "exact", 6, EXACT, NOW)
    torch.testing.assert_close(exact[0]["flat"], dense[0]["flat"], rtol=0, atol=1e-6)
    assert torch.equal(exact[0]["flat"], exact[1]["flat"])


def test_workers_agree_and_restarts_are_bit_identical(tmp_path):
    args = (8, {}, NOW)
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


def test_other_buckets_change_nothing(tmp_path):
    """DDP's own rebuild after the first step, and any bucket_cap_mb."""
    narrow = run(train_ddp, 2, tmp_path / "narrow", 6, {}, NOW, None, 0.001)
    wide = run(train_ddp, 2, tmp_path / "wide", 6, {}, NOW, None, 25.0)
    assert torch.equal(narrow[0]["flat"], wide[1]["flat"])
