"""What a step of compression costs, and where it pays: the arithmetic; what was measured is made up."""

import pytest
import torch

from fmcompress import ops
from fmcompress.gradients import CocktailConfig
from fmcompress.gradients.op_speeds import OpSpeeds, in_turn, mean_bytes, measure_ops, moved_bytes
from fmcompress.gradients.traffic import traffic


def test_a_step_is_the_sum_of_its_ops_in_proportion_to_the_model():
    seconds = {"copy": 1.0, "compress_gradient_": 2.0, "compress_delta_": 3.0, "compress_mean_": 5.0}
    speeds = OpSpeeds(
        100, 4, 1, {**seconds, "zero_": 7.0, "add_payload_": 11.0, "finite": 13.0}, {"copy": 800, "zero_": 400}
    )
    assert speeds.step("cocktail_hook", 100) == 13 + 2 + 5 + 7 + 11
    assert speeds.step("CocktailSGD", 200) == 2 * (13 + 3 + 5 + 2 * 11)
    assert speeds.step("CocktailSGD, delay=1", 50) == (13 + 3 + 5 + 4 * 11) / 2
    assert speeds.share("zero_") == pytest.approx(0.5 / 7)


def test_at_the_break_even_both_take_as_long():
    facts = traffic([1_000_000], CocktailConfig(), 4)
    dense, compressed = facts.seconds(facts.break_even(0.25))
    assert dense == pytest.approx(compressed + 0.25)
    assert facts.break_even(0.0) == 0
    everything = traffic([1_000_000], CocktailConfig(1.0, 1.0, 32), 4)
    assert everything.break_even(0.25) == 0  # sends more than it saves


@pytest.mark.parametrize("numel", [1, 100, 5_000])
@pytest.mark.parametrize("kept", [0.25, 1.0])
def test_no_op_moves_more_than_there_is(numel, kept):
    config = CocktailConfig(0.5, kept, block=128)
    layout = config.layout(numel)
    payload = ops.compress_gradient_(torch.ones(numel), None, layout)
    moved = moved_bytes(numel, payload, layout)
    lines = 16 * -(-numel // 16)
    assert moved["add_payload_"] <= len(payload) + 8 * max(lines, layout.block)
    assert moved["compress_delta_"] <= moved["compress_gradient_"] == 12 * numel
    assert mean_bytes(numel, layout, 3) <= 3 * len(payload) + moved["copy"]


@pytest.mark.parametrize("workers", [1, 3, 300])
def test_measures_tensors_with_fewer_elements_than_workers(workers):
    speeds = measure_ops(200, CocktailConfig(), workers, runs=1)
    assert speeds.seconds.keys() == speeds.moved.keys()
    assert all(seconds > 0 for seconds in speeds.seconds.values())


def test_runs_in_turn_and_leaves_out_the_first():
    order, rounds = [], []
    in_turn({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2, progress=lambda *n: rounds.append(n))
    assert order == ["a", "b"] * 3
    assert rounds == [(1, 3), (2, 3), (3, 3)]
