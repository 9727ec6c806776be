"""CocktailConfig, Compressor and payloads in one process."""

import pickle
import struct

import pytest
import torch
from gradients.workers import run

from fmcompress import ops
from fmcompress.errors import ConfigError, PayloadError
from fmcompress.gradients import CocktailConfig, CocktailState, Compressor, PayloadHeader
from fmcompress.gradients.collectives import Workers
from fmcompress.gradients.compressed_gradient import CompressedGradient, average_
from fmcompress.gradients.sharded_mean import ShardedMean, shards_of
from fmcompress.gradients.traffic import parse_number, traffic

SMALL = CocktailConfig(random_fraction=0.5, topk_fraction=0.25, block=128)


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def test_ratios_count_every_byte():
    config = CocktailConfig()
    assert config.ratio() >= 88
    assert config.bits_per_parameter == pytest.approx(16 / config.ratio())
    assert config.ratio("fp32") == pytest.approx(2 * config.ratio())
    assert CocktailConfig(topk_fraction=0.08).ratio() >= 117
    for numel in (1, 127, 5000, 1_000_003):
        payload = Compressor(config).compress(drawn(numel), Compressor(config).init_state(torch.empty(numel)))
        assert len(payload) == config.payload_bytes(numel)
        assert config.bits_per_element(numel) == 8 * len(payload) / numel


@pytest.mark.parametrize("fraction", [0.1, 0.25, 0.4, 0.5, 1.0])
def test_the_share_that_is_sampled_is_the_one_asked_for(fraction):
    for numel in (40_000, 10_000_019):
        layout = CocktailConfig(random_fraction=fraction).layout(numel)
        assert layout.sampled * layout.block / numel == pytest.approx(fraction, rel=0.2 if numel < 1e6 else 0.01)


def test_what_is_sent_and_what_is_kept_are_the_gradient():
    compressor, gradient = Compressor(SMALL), drawn(37, 61)
    state = compressor.init_state(gradient)
    total, sent = torch.zeros_like(gradient), torch.zeros(gradient.numel())
    for step in range(30):
        own = drawn(37, 61, seed=step)
        total += own
        compressor.decompress_into_(sent, compressor.compress(own, state))
    torch.testing.assert_close(sent + state["residual"], total.view(-1), rtol=0, atol=1e-4)
    assert state["step"] == 30


def test_a_saved_state_goes_on_bit_for_bit(tmp_path):
    compressor = Compressor(SMALL)
    state = compressor.init_state(drawn(5000), stream=3)
    for step in range(3):
        compressor.compress(drawn(5000, seed=step), state)
    torch.save(state, tmp_path / "state.pt")
    again = torch.load(tmp_path / "state.pt")  # weights_only: numbers and tensors
    assert torch.equal(compressor.compress(drawn(5000), state), compressor.compress(drawn(5000), again))


def test_without_error_feedback_nothing_is_kept():
    compressor = Compressor(CocktailConfig(error_feedback=False))
    state = compressor.init_state(drawn(5000))
    first = compressor.compress(drawn(5000), state)
    assert state["residual"] is None
    assert len(compressor.decompress(first)) == 5000


def test_not_finite():
    compressor, gradient = Compressor(SMALL), drawn(3000)
    state = compressor.init_state(gradient)
    compressor.compress(gradient, state)
    before = state["residual"].clone()
    gradient[2999] = torch.inf
    payload = compressor.compress(gradient, state)
    assert not PayloadHeader.parse(payload).finite
    assert compressor.decompress(payload).isnan().all()
    assert torch.equal(state["residual"], before)


def test_every_damaged_byte_is_noticed():
    compressor = Compressor(SMALL)
    payload = compressor.compress(drawn(700), compressor.init_state(drawn(700)))
    header = PayloadHeader.parse(payload)
    assert header.numel == 700
    assert header.layout == SMALL.layout(700)
    for i in range(len(payload)):
        damaged = payload.clone()
        damaged[i] ^= 1 << i % 8
        with pytest.raises(PayloadError):
            compressor.decompress(damaged)
    for length in (0, 1, 63, 64, 68, len(payload) - 4, len(payload) - 1):
        with pytest.raises(PayloadError):
            compressor.decompress(payload[:length].clone())


def test_a_forged_payload_is_refused_without_touching_anything():
    """With the right checksum: the masks of blocks, and sizes that no memory holds."""
    compressor, out = Compressor(SMALL), torch.zeros(700)
    payload = compressor.compress(drawn(700), compressor.init_state(drawn(700)))
    forged = payload.clone()
    forged[64:80] = 255  # the first block's mask
    forged[60:64] = torch.tensor(list(struct.pack("<I", int(ops.payload_checksum(forged)))), dtype=torch.uint8)
    with pytest.raises(PayloadError, match="bits in every block"):
        compressor.decompress_into_(out, forged)
    assert not out.any()
    for numel in (2**63, 2**40, 0):
        forged = payload.clone()
        forged[8:16] = torch.tensor(list(struct.pack("<Q", numel)), dtype=torch.uint8)
        forged[60:64] = torch.tensor(list(struct.pack("<I", int(ops.payload_checksum(forged)))), dtype=torch.uint8)
        with pytest.raises(PayloadError):
            compressor.decompress(forged)
    with pytest.raises(PayloadError, match="more than max_numel = 699"):
        compressor.decompress(payload, max_numel=699)
    with pytest.raises(PayloadError, match="another tensor's"):
        compressor.decompress_into_(torch.zeros(701), payload)


BAD = {
    "random_fraction": [0, 1.5, -1, "0.1"],
    "topk_fraction": [0, 2],
    "bits": [0, 9, 16, 4.0],
    "block": [100, 64, 1 << 14],
    "group_size": [0, 1.5],
    "quantizer": ["other"],
    "residual_dtype": [torch.float16],
    "seed": [-1, 1 << 63, 0.5],
}


@pytest.mark.parametrize("name", BAD)
def test_bad_options_in_one_line(name):
    for value in BAD[name]:
        with pytest.raises(ConfigError) as caught:
            CocktailConfig(**{name: value})
        assert name in str(caught.value)
        assert "\n" not in str(caught.value)


def test_another_tensors_state_is_refused():
    compressor = Compressor()
    with pytest.raises(ConfigError, match="belongs to a tensor of 5 elements, got 6"):
        compressor.compress(drawn(6), compressor.init_state(drawn(5)))


@pytest.mark.parametrize(("numel", "workers"), [(1, 3), (128, 2), (129, 2), (1000, 5), (70_000, 3)])
def test_shards_cover_everything_once(numel, workers):
    shards = shards_of(numel, workers)
    assert len(shards) == workers
    assert [i for shard in shards for i in range(shard.start, shard.stop)] == list(range(numel))


def count_bytes(rank: int, count: int) -> int:
    config, numels = CocktailConfig(), [70_000, 5000]
    workers = Workers()
    large = [
        (CompressedGradient(ShardedMean(numel, config, workers, torch.device("cpu"), i)), drawn(numel, seed=rank))
        for i, numel in enumerate(numels)
    ]
    average_(workers, large, 0)
    workers.ordered_mean(drawn(300))
    return workers.bytes_sent


def test_traffic_is_what_is_really_sent(tmp_path):
    expected = traffic([70_000, 5000, 300], CocktailConfig(), 3).compressed_bytes
    assert run(count_bytes, 3, tmp_path / "run") == [expected] * 3


def test_traffic_of_large_models():
    facts = traffic([1_300_000_000], CocktailConfig(), 8)
    assert facts.ratio == pytest.approx(CocktailConfig().ratio(), rel=1e-3)
    dense, compressed = facts.seconds(500e6)
    assert dense == pytest.approx(2 * 7 / 8 * 1.3e9 * 16 / 500e6)
    assert dense / compressed == pytest.approx(facts.ratio)
    assert parse_number("1.3B") == 1.3e9
    for text in ("", "B", "nan", "-1", "0", "1e400", "ten"):
        with pytest.raises(ConfigError):
            parse_number(text)


def test_a_state_of_the_hook_is_not_pickled():
    with pytest.raises(TypeError, match="Save its state_dict"):
        pickle.dumps(CocktailState([]))
