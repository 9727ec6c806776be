"""CocktailSGD between real processes."""

import pytest
import torch
from gradients.workers import flat, loss_of, run, toy, train_sgd

EXACT = {"random_fraction": 1.0, "topk_fraction": 1.0, "bits": 32}


def test_one_worker_that_sends_everything_is_plain_sgd(tmp_path):
    (result,) = run(train_sgd, 1, tmp_path / "run", 12, EXACT, {"start_iteration": 0})
    model = toy(0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.05, momentum=0.5)
    for step in range(12):
        optimizer.zero_grad()
        loss_of(model, 0, step).backward()
        optimizer.step()
    torch.testing.assert_close(result["flat"], flat(model), rtol=0, atol=1e-6)


@pytest.mark.parametrize(("count", "delay"), [(1, 1), (2, 0), (3, 1), (4, 0), (5, 1)])
def test_shared_copies_are_equal_after_every_step_and_the_loss_falls(tmp_path, count, delay):
    steps = 60 if count < 4 else 8
    results = run(train_sgd, count, tmp_path / "run", steps, {}, {"start_iteration": 2, "delay": delay})
    assert all(result["same"] for result in results)
    assert all(torch.equal(result["flat"], results[0]["flat"]) for result in results)
    losses = torch.tensor([result["losses"] for result in results]).mean(0)
    assert losses.isfinite().all()
    if steps == 60:
        assert losses[-10:].mean() < 0.9 * losses[:10].mean()


@pytest.mark.parametrize("delay", [0, 1])
def test_reruns_and_restarts_are_bit_identical(tmp_path, delay):
    args = (10, {}, {"start_iteration": 2, "delay": delay})
    whole = run(train_sgd, 2, tmp_path / "whole", *args)
    run(train_sgd, 2, tmp_path / "half", *args, str(tmp_path / "saved"))
    resumed = run(train_sgd, 2, tmp_path / "resumed", *args, str(tmp_path / "saved"))
    for first, second in zip(whole, resumed, strict=True):
        assert second["losses"] == first["losses"][5:]
        for name in ("local", "shared", "server"):
            assert torch.equal(first["state"][name], second["state"][name]), name
        assert torch.equal(first["flat"], second["flat"])
