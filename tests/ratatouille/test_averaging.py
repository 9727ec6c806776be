"""Averages go by name, in float64 with one rounding; what must not be averaged is refused."""

import pytest
import torch
from torch import nn

from fmcompress.errors import ConfigError
from fmcompress.ratatouille import Ratatouille, average
from fmcompress.ratatouille.weights import featuriser, grafted


def some(seed, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return {
        "a": torch.randn(7, 5, generator=generator).to(dtype), "b": torch.randn(7, 5, generator=generator).to(dtype),
        "count": torch.tensor(4), "scale": torch.randn((), generator=generator).to(dtype),
    }  # fmt: skip


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16, torch.float64])
def test_names_count_and_order_does_not(dtype):
    models = [some(0, dtype), dict(reversed(some(1, dtype).items())), some(2, dtype)]
    found = average(models, [0.5, 0.25, 0.25])
    for name in ("a", "b", "scale"):
        wanted = 0.5 * models[0][name].double() + 0.25 * models[1][name].double() + 0.25 * models[2][name].double()
        assert torch.equal(found[name], wanted.to(dtype))
    assert found["count"] == 4


@pytest.mark.parametrize("count", [1, 2, 3, 7, 10])
def test_a_model_averaged_with_itself_is_itself(count):
    for dtype in (torch.float32, torch.float16, torch.bfloat16):
        model = some(3, dtype)
        assert all(torch.equal(found, model[name]) for name, found in average([model] * count).items())


def test_the_average_of_linear_models_is_their_ensemble():
    """End to end: outputs of averaged weights are the mean of outputs, to rounding, where models are linear."""
    generator = torch.Generator().manual_seed(0)
    inputs = torch.randn(100, 20, generator=generator, dtype=torch.float64)
    layers = [nn.Linear(20, 3, dtype=torch.float64) for _ in range(4)]
    for layer in layers:
        for parameter in layer.parameters():
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    merged = nn.Linear(20, 3, dtype=torch.float64)
    merged.load_state_dict(average([layer.state_dict() for layer in layers]))
    torch.testing.assert_close(
        merged(inputs), torch.stack([layer(inputs) for layer in layers]).mean(0), rtol=0, atol=1e-14
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"count": torch.tensor(5)}, r"count: expected equal torch.int64 in all models"),
        ({"a": torch.zeros(5, 7)}, r"model 1: a: expected torch.float32 \[7, 5\]"),
        ({"a": torch.zeros(7, 5).half()}, "model 1: a: expected torch.float32"),
        ({"c": torch.zeros(1)}, "model 1: has a strange tensor 'c'"),
        ({"a": torch.full((7, 5), torch.inf)}, "a: 35 entries of the average are inf or NaN"),
    ],
)
def test_what_cannot_be_averaged_is_named(change, message):
    with pytest.raises(ConfigError, match=message) as raised:
        average([some(0), some(1) | change])
    assert "\n" not in str(raised.value)


def test_shares_must_sum_to_one():
    for shares in ([0.5], [0.5, 0.6], [torch.nan, 1.0]):
        with pytest.raises(ConfigError, match="shares: expected 2 that sum to 1"):
            average([some(0), some(1)], shares)
    with pytest.raises(ConfigError, match="at least one"):
        average([])


def normed(mean):
    layer = nn.BatchNorm1d(2)
    layer.running_mean.fill_(mean)
    layer.num_batches_tracked.fill_(int(mean))
    return {f"body.{name}": tensor.clone() for name, tensor in layer.state_dict().items()} | {"head.w": torch.ones(1)}


def test_batchnorm_must_be_frozen_or_computed_anew():
    assert average([normed(1), normed(1)])["body.running_mean"][0] == 1
    with pytest.raises(ConfigError, match=r"body.running_mean: BatchNorm's statistics differ"):
        average([normed(1), normed(3)])
    assert average([normed(1), normed(3)], statistics=True)["body.running_mean"][0] == 2


def test_a_recipe_computes_statistics_anew_where_it_is_told_how():
    def train(weights, job):
        if job.kind == "target":
            weights["body.running_mean"] += job.number
        return weights | {"head.w": torch.ones(1)}

    def cook(**options):
        recipe = Ratatouille(normed(1), "head", ["one"], train, lambda weights: 0.0, runs=2, **options)
        return recipe.cook("ratatouille")["ratatouille"].weights

    with pytest.raises(ConfigError, match=r"or give `recompute`"):
        cook()
    anew = cook(recompute=lambda weights: {**weights, "body.running_mean": torch.full((2,), 9.0)})
    assert anew["body.running_mean"].tolist() == [9, 9]


def test_heads_are_told_by_module_not_by_letters():
    weights = {"head.w": torch.ones(1), "headless.w": torch.ones(1), "body.head.w": torch.ones(1)}
    assert featuriser(weights, "head").keys() == {"headless.w", "body.head.w"}
    other = {name: tensor + 1 for name, tensor in weights.items()} | {"head.more": torch.ones(1)}
    assert {name: t.item() for name, t in grafted(weights, other, "head").items()} == {
        "headless.w": 1, "body.head.w": 1, "head.w": 2, "head.more": 1,
    }  # fmt: skip
